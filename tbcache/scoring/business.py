"""Whether a report is about business at all: "Tiger Woods wins" is no news of any market."""

from __future__ import annotations

from collections.abc import Sequence

from tbcache.scoring.mention import names_any
from tbcache.scoring.rules.burden import BURDENS

_MARKETS = """
    share shares stock stocks shareholder shareholders holder holders investor investors investment
    investments invest equity equities bond bonds treasuries fund funds etf etfs index indexes dow nasdaq
    nyse s&p futures market markets price prices priced pricing trading trade trades trader traders tariff
    tariffs sector rating ratings analyst analysts target upgrade upgraded upgrades downgrade downgraded
    downgrades buy sell hold outperform underperform overweight underweight bulls bears short shorts
    option options ipo offering spac crypto cryptocurrency cryptocurrencies bitcoin ethereum coin coins
    token tokens oil crude gas gold silver copper lithium steel wheat corn opec barrel barrels shale
    currency dollar euro yen pound forex rally rallies selloff sell-off buying selling bought sold chart
    charts support resistance breakout base curling squeeze overbought oversold vwap average metric
    fundamentals balance multiple lows highs bounce buyers sellers insider insiders uptrend downtrend
    momentum float premarket institutions whales pullback correction breakdown upside downside valuation
    portfolio broker brokerage hedge wall rebound rebounds slump slumps tumble tumbles tumbled rout
    outperformance
"""
_RESULTS = """
    profit profits profitability profitable loss losses sales sale selling revenue revenues turnover
    earnings eps ebit ebitda income margin margins result results returns guidance outlook forecast
    forecasts estimate estimates expectations dividend dividends payout buyback buybacks repurchase
    quarter quarterly q1 q2 q3 q4 h1 h2 fiscal half-year annual net operating pre-tax pretax cash debt
    debts credit loan loans cost costs expense expenses tax spending savings deficit surplus budget
    million billion trillion mln mn bn eur usd gbp euros dollars percent pct chapter bankruptcy insolvency
    default writedown impairment
"""
_COMPANIES = """
    company companies company's firm firms group group's inc corp corporation ltd plc oyj oy ag nv llc ceo
    cfo coo chief executive executives chairman founder board business businesses industry industries
    industrial commercial customer customers client clients consumer consumers product products production
    capacity output plant plants factory factories mill mine refinery facility facilities warehouse
    inventory inventories order orders backlog contract contracts tender deal deals agreement merger merge
    acquisition acquire acquires acquired takeover bid stake stakes venture partnership partner supply
    supplier suppliers demand volume volumes shipment shipments deliveries delivery export exports import
    imports retailer retailers retail maker makers producer producers manufacturer manufacturing lender
    lenders insurer insurers utility miner miners airline airlines carrier carmaker carmakers automaker
    automakers drugmaker chipmaker homebuilder builder landlord operator developer bank banks bank's
    banking store stores outlets brand brands subsidiary unit division assets restructuring layoffs jobs
    job workers employees staff workforce strike union unions lawsuit recall recalls patent trial trials
    fda drug vaccine approval antitrust subscribers users passengers traffic advertising software chip
    chips platform network technology cloud service services operations builders permits headcount traffic
    paper startup competitor competitors rival rivals competition launch licence license project
"""
_ECONOMY = """
    economy economies economic economist economists gdp inflation cpi ppi unemployment employment payrolls
    recession fed fed's ecb boj boe central rates rate yields yield stimulus growth housing mortgage
    mortgages manufacturing pmi confidence exporters
"""
_BUSINESS = BURDENS | frozenset(
    (*_MARKETS.split(), *_RESULTS.split(), *_COMPANIES.split(), *_ECONOMY.split())
)


def is_of_business(text: str, words: Sequence[str]) -> bool:
    """Whether ``text`` names a market, a company or money; ``words`` are its words in lower case."""
    return "$" in text or "%" in text or not _BUSINESS.isdisjoint(words) or names_any(text)
