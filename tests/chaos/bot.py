"""A bot: fetches, queues and sends requests of its own, in threads, until SIGTERM.

python -m tests.chaos.bot RECORD SEED SIMULATOR
Whatever it meets is written down, errors by their type.
"""

from __future__ import annotations

import http.client
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tbcache import Outcome, enqueue, get_provider, get_rate_limiter, get_settings, get_usage_monitor
from tbcache.io.log import configure_logging
from tests.chaos.record import Record

SOURCES = ("twitter", "reddit", "news", "options", "stocktwits")
SYMBOLS = tuple(f"{first}{second}{third}" for first in "ABCD" for second in "MNOP" for third in "XYZ")
HOURS = (1, 6, 24)
#: A path of each source for requests of the bot's own; what it answers does not matter.
OWN_PATH = "/{source}/own"
RESULT_SECONDS = 25.0
FETCH_SECONDS = 8.0
SLOT_SECONDS = 2.0


class Bot:
    """Five loops, each a thread with its own dice."""

    def __init__(self, record: Record, seed: str, simulator: str) -> None:
        self._record = record
        self._seed = seed
        self._address = urlsplit(simulator).netloc
        self._stopped = threading.Event()

    def run(self) -> None:
        """Work until SIGTERM."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        loops = (self.fetch, self.fetch, self.ask, self.queue, self.queue, self.own)
        threads = [
            threading.Thread(target=self._loop, args=(act, random.Random(f"{self._seed}:{number}")))
            for number, act in enumerate(loops)
        ]
        for thread in threads:
            thread.start()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        self._stopped.set()
        for thread in threads:
            thread.join()

    def fetch(self, dice: random.Random) -> None:
        source, symbol, hours = _what(dice)
        outcome = get_provider(source).fetch(symbol, hours, patience=FETCH_SECONDS)
        self._note("fetch", outcome)

    def ask(self, dice: random.Random) -> None:
        """The call that promises to raise nothing."""
        source, symbol, hours = _what(dice)
        try:
            found = get_provider(source).get_sentiment(symbol, hours)
            self._record.write(do="get_sentiment", source=source, what="none" if found is None else "some")
        except BaseException as error:
            self._record.write(do="get_sentiment", what="raised", error=_name(error), text=str(error))

    def queue(self, dice: random.Random) -> None:
        source, symbol, hours = _what(dice)
        handle = enqueue(source, symbol, hours)
        job = {"source": source, "job": handle.job_id, "symbol": symbol, "hours": hours}
        self._record.write(do="accepted", is_new=handle.is_new, **job)
        try:
            outcome = handle.result(timeout=RESULT_SECONDS)
        except Exception as error:
            self._record.write(do="ended", what="error", error=_name(error), text=str(error), **job)
            return
        self._record.write(do="ended", what=outcome.origin, **job)
        self._note("result", outcome)

    def own(self, dice: random.Random) -> None:
        """A request of the bot's own, under a slot."""
        source = dice.choice(SOURCES)
        with get_rate_limiter(source).slot(max_wait=SLOT_SECONDS):
            self._send(source)
        self._record.write(do="slot", source=source, what="sent")

    def _send(self, source: str) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=5.0)
        try:
            connection.request("GET", OWN_PATH.format(source=source), headers={"User-Agent": self._seed})
            connection.getresponse().read()
        except OSError as error:
            self._record.write(do="slot", source=source, what="unsent", text=str(error))
        finally:
            connection.close()

    def _note(self, do: str, outcome: Outcome) -> None:
        request = outcome.request
        self._record.write(
            do=do,
            source=request.source,
            symbol=request.symbol,
            hours=request.hours,
            what=outcome.origin,
            as_of=outcome.as_of.timestamp(),
            failed=outcome.error.kind if outcome.error else None,
        )

    def _loop(self, act: Callable[[random.Random], None], dice: random.Random) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                act(dice)
            except BaseException as error:
                seconds = round(time.monotonic() - began, 3)
                name = act.__name__
                self._record.write(
                    do=name, what="raised", error=_name(error), text=str(error), seconds=seconds
                )
            self._stopped.wait(dice.uniform(0.02, 0.3))


def _what(dice: random.Random) -> tuple[str, str, int]:
    return dice.choice(SOURCES), dice.choice(SYMBOLS), dice.choice(HOURS)


def _name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def main(path: Path, seed: str, simulator: str) -> None:
    configure_logging(get_settings().log_level, get_settings().log_format)
    Bot(Record(path), seed, simulator).run()
    get_usage_monitor().leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
