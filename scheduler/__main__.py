"""The scheduler process: ``python -m scheduler``."""

from __future__ import annotations

import signal
import sys

from tbcache.cache import get_cache_manager
from tbcache.fleet.alert import Watch
from tbcache.fleet.market import market_of
from tbcache.io import utc_now
from tbcache.io.log import configure_logging, get_logger, log_what_breaks
from tbcache.models.error import TbcacheError
from tbcache.models.extra import need
from tbcache.monitoring import Workload, get_usage_monitor
from tbcache.queue import get_queue
from tbcache.settings import get_settings, get_sources, shortages
from tbcache.settings.telemetry import tracing
from tbcache.store import get_store
from tbcache.store.start import await_server

from .deepening import Deepening
from .leader import TICK_SECONDS, Leader
from .prewarm import Prewarm

log = get_logger("tbcache.scheduler")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    # The signals are blocked in every thread, and sigwait takes them. With a handler the wake-up can be lost,
    # as the kernel may deliver the signal to a thread that is not waiting for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        need("the scheduler", "apscheduler")
        settings = get_settings()
        configure_logging(settings.log_level, settings.log_format, settings.secrets, settings.log_file)
        log_what_breaks()
        market = market_of(settings.market)
        if not await_server(get_store(), _say, lambda: bool(signal.sigpending() & set(STOP_SIGNALS))):
            return 0
    except TbcacheError as error:
        _say(str(error))
        return 3 if isinstance(error, ConnectionError) else 2
    store, monitor = get_store(), get_usage_monitor()
    leader = Leader(store, monitor.worker, [*get_sources(settings)])
    prewarm = Prewarm(store, get_queue(), settings, monitor, market)
    deepening = Deepening(store, get_queue(), settings, monitor)

    # It is imported here, because it comes with an extra: need() says in one line that it is missing.
    from apscheduler.schedulers.background import BackgroundScheduler

    each_tick = {"seconds": TICK_SECONDS, "coalesce": True, "max_instances": 1}
    jobs = BackgroundScheduler(timezone="UTC")
    work = prewarm.run, deepening.run
    jobs.add_job(leader.work, "interval", work, id="pre-warm", next_run_time=utc_now(), **each_tick)
    jobs.add_job(get_cache_manager().resume, "interval", id="sweep", **each_tick)

    def workload() -> Workload:
        return Workload(fires={job.id: job.next_run_time for job in jobs.get_jobs() if job.next_run_time})

    for line in shortages(settings):
        log.warning("capacity.short", reason=line)
    watch = Watch.of_process(settings)
    with tracing("scheduler"):
        watch.start()
        jobs.start()
        monitor.keep_beating("scheduler", workload)
        signal.sigwait(STOP_SIGNALS)
        watch.stop()
        jobs.shutdown(wait=True)
        leader.resign()
        monitor.leave()
        store.close()
    return 0


def _say(message: str) -> None:
    print(f"tbcache scheduler: {message}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
