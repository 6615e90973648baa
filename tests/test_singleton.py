"""What there is one of in a process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tbcache.io.singleton import singleton
from tbcache.store import Store, get_store


def test_threads_that_ask_first_at_once_get_one_object() -> None:
    """Two stores in one process would each take the whole of its part of a limit."""
    all_here, made = Barrier(4), list[object]()

    @singleton
    def get() -> object:
        made.append(object())
        return made[-1]

    def ask(_: int) -> object:
        all_here.wait(30)
        return get()

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(ask, range(4)))
    assert found == set(made)
    assert len(made) == 1


def test_what_it_does_not_take_is_named() -> None:
    """Of a list it said no more than that it is unhashable."""

    @singleton
    def get(name: str = "") -> list[str]:
        return [name]

    with pytest.raises(TypeError, match="unexpected keyword argument 'middleware'"):
        get(middleware=[])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unhashable"):
        get([])  # type: ignore[arg-type]
    assert get() is get()


def test_what_a_process_has_one_of_is_made_so() -> None:
    """Each of these keeps connections, threads or figures of its own."""
    from tbcache import cache, fetch, monitoring, providers, queue, rate_limiter
    from tbcache.fetch import outbox

    getters = [
        get_store,
        cache.get_cache_manager,
        monitoring.get_usage_monitor,
        fetch.get_pipeline,
        providers.get_provider,
        queue.get_queue,
        rate_limiter.get_rate_limiter,
        outbox.get_outbox,
        outbox.get_repository,
    ]
    assert all(isinstance(one, singleton) for one in getters)
    assert isinstance(get_store(), Store)
