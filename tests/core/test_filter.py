"""Which of many jobs, or of many dead letters, are meant."""

from __future__ import annotations

import pytest

from tbcache.fleet import DeadFilter, JobFilter
from tbcache.models.error import InvalidRequest


@pytest.mark.parametrize("kind", [JobFilter, DeadFilter])
@pytest.mark.parametrize("name", ["symbol", "job_id", "caller"])
def test_a_variable_without_a_value_does_not_mean_all(
    kind: type[JobFilter] | type[DeadFilter], name: str
) -> None:
    """``purge --symbol "$SYMBOL"`` in a script purged a whole queue."""
    with pytest.raises(InvalidRequest, match=f"the {name} to look for is empty"):
        kind(**{name: ""})


def test_what_is_meant_is_said_in_words() -> None:
    """A line of the audit has to say of which jobs it is."""
    some = JobFilter(symbol="AAPL", caller="desk")
    assert (str(some), some.is_all) == ("symbol=AAPL caller=desk", False)
    assert (str(DeadFilter()), DeadFilter().is_all) == ("", True)
