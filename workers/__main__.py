"""One worker process: ``python -m workers [SOURCE ...] [--threads N]``."""

from __future__ import annotations

import argparse
import signal
import sys

import dramatiq

from tbcache.fetch.outbox import get_repository
from tbcache.io.log import configure_logging, log_what_breaks
from tbcache.models.error import TbcacheError, UnknownSource
from tbcache.models.extra import DO_NOT_KEEP, need_database
from tbcache.settings import get_settings
from tbcache.settings.telemetry import tracing
from tbcache.store import get_store
from tbcache.store.start import await_server

from .health import ThreadWatch

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
IDLE_MS = 500


def main() -> int:
    """Run until SIGTERM or SIGINT, then drain: jobs in hand are finished, others go back."""
    parser = argparse.ArgumentParser(prog="workers", description=__doc__)
    parser.add_argument("sources", nargs="*", metavar="SOURCE")
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    # Blocked in every thread and taken by sigwait: a handler's wake-up can be lost, as when the
    # kernel hands the signal to a thread that is not waiting for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        settings = get_settings()
        configure_logging(settings.log_level, settings.log_format, settings.secrets, settings.log_file)
        log_what_breaks()
        if not await_server(get_store(), _say, lambda: bool(signal.sigpending() & set(STOP_SIGNALS))):
            return 0
        if settings.persist:
            need_database(DO_NOT_KEEP)
            get_repository()
        with tracing("worker"):
            return _run(options.sources, options.threads, settings.stop_seconds)
    except TbcacheError as error:
        _say(str(error))
        return 3 if isinstance(error, ConnectionError) else 2


def _run(sources: list[str], threads: int, stop_seconds: float) -> int:
    from . import broker

    for name in sources:
        if name not in broker.sources:
            raise UnknownSource(name, broker.sources)
    # As dramatiq's command does in each of its processes: its time limits begin then.
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(
        broker, queues=set(sources) or None, worker_threads=threads, worker_timeout=IDLE_MS
    )
    worker.start()
    watch = ThreadWatch(worker)
    watch.start()
    signal.sigwait(STOP_SIGNALS)
    watch.stop()
    worker.stop(timeout=round(stop_seconds * 1000))
    broker.store.close()
    return 0 if watch.is_well else 1


def _say(message: str) -> None:
    print(f"tbcache worker: {message}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
