"""What is bad news the more there is of it: a fall in it is good news."""

from __future__ import annotations

BURDENS = frozenset(
    "loss losses deficit deficits cost costs expense expenses inflation cpi ppi charge charges layoffs "
    "debt debts debtload leverage churn claims unemployment joblessness writedown writedowns write-downs "
    "impairment impairments outflows defaults delinquencies bankruptcies damage dilution burn miss tariffs "
    "tariff delay delays provisions shortfall shortages redemptions withdrawals cancellations complaints "
    "defects chargeoffs charge-offs vacancies".split()
) | {"cash burn", "job cuts", "loan losses", "credit losses", "bad loans"}
