"""How often a process tells the fleet that it uses a source, and under which names."""

from __future__ import annotations

import os

import pytest

from tbcache import get_rate_limiter, get_usage_monitor
from tbcache.admission import registration
from tbcache.admission.registration import Registration
from tbcache.store import get_store
from tests.server import Server


def test_the_fleet_is_told_once_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slot that is taken asks whether it is due, and it costs a call to Redis."""
    told: list[str] = []
    register = Registration(lambda: told.append("told"))
    assert register.is_due
    register()
    assert not register.is_due
    monkeypatch.setattr(registration, "REGISTER_SECONDS", 0.0)
    assert register.is_due
    assert told == ["told"]


def test_who_could_not_be_registered_is_due_again() -> None:
    """There may be room for its name by then."""

    def refuse() -> None:
        raise registration.too_many("mine")

    register = Registration(refuse)
    with pytest.raises(registration.InvalidRequest):
        register()
    assert register.is_due


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pytest itself has threads
def test_a_forked_child_is_registered_anew() -> None:
    """It is another process of the fleet."""
    register = Registration(lambda: None)
    register()
    child = os.fork()
    if child == 0:
        os._exit(0 if register.is_due else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not register.is_due


def test_a_configured_source_takes_up_no_room_for_names(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for a hundred others."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    get_rate_limiter("reddit").check_rate_limit()
    assert not get_usage_monitor().names.is_registered("reddit")
    assert not get_store().client.exists(get_store().keys.names)
    get_usage_monitor().leave()


def test_a_source_is_marked_by_the_minute_before_anything_is_counted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of the last minutes are differences: what comes before the first mark is in none."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")
    # A beat would do so as well, some time later.
    monkeypatch.setattr(get_usage_monitor(), "keep_beating", lambda role: None)
    registration.registering("reddit")()
    assert get_store().client.hlen(get_store().keys.minutes("reddit")) == 1
