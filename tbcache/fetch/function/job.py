"""A call of a function, as a job of the pipeline."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tbcache.admission import Admission, Grant, Merge, Merged, Settled, Settlement
from tbcache.fetch import Attempt, Derived, Loaded, TooLate
from tbcache.fetch.function.refusal import is_unsent, refusal, refused_by
from tbcache.fetch.function.value import Timed, Values
from tbcache.fetch.met import met_by
from tbcache.io import now
from tbcache.io.log import get_logger
from tbcache.models.error import UpstreamError
from tbcache.models.price import NOTHING
from tbcache.settings import Source
from tbcache.store.memory import Encoded

log = get_logger("tbcache.fetch.function")

T = TypeVar("T")

#: Calls the function. It is given the moment (monotonic) by which the call has to be over, and ends it then
#: if it can.
Call = Callable[[float], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call, named by the key under which its value is cached."""

    source: str
    key: str


class FunctionJob(Generic[T]):
    """A call with its arguments. ``raised`` is the exception that the function raised, if it did."""

    def __init__(
        self,
        source: Source,
        name: str,
        key: str,
        values: Values[T],
        call: Call,
        admission: Admission,
    ) -> None:
        self.source = source
        self.request = CallRequest(source.name, key)
        self.raised: Exception | None = None
        self._name = name
        self._values = values
        self._call = call
        self._admission = admission

    @property
    def names(self) -> Mapping[str, str]:
        return {"function": self._name}

    def read(self, payload: bytes) -> Timed[T]:
        return self._values.decode(payload)

    def kept(self, value: Timed[T], payload: bytes) -> Encoded:
        return Encoded(payload)

    async def derive(self, packed: bytes) -> Derived[Timed[T]] | None:
        return None

    async def merge(self, merge: Merge) -> Merged | None:
        return None

    async def load(self, attempt: Attempt) -> Loaded[Timed[T]]:
        if not self._admission.may_send(attempt.grant):
            raise TooLate
        payload = self._values.encode(await self._ask(attempt), self._admission.now)
        settlement = Settlement(payload=payload, pages=attempt.sent, bill=attempt.bill)
        # The caller gets the value as all others will read it: decoded, and an object of its own.
        return Loaded(self._values.decode(payload), attempt.grant, settlement)

    def settled(self, loaded: Loaded[Timed[T]], where: Settled) -> None:
        return

    async def _ask(self, attempt: Attempt) -> Any:
        """What the function returns. Until it has, the bill is uncertain: the call may cost what a request
        costs.
        """
        attempt.sent, attempt.bill = attempt.sent + 1, self.source.price.uncertain
        handled = sys.exception()
        try:
            returned = await self._call(attempt.grant.send_by)
        except Exception as error:
            self.raised = error
            if is_unsent(error):
                attempt.bill = NOTHING
            refused = self._refused(attempt, refusal(self.source.name, self._name, error, handled))
            if refused is error:
                raise  # `from` would make the exception the cause of itself.
            raise refused from error
        finally:
            self._look_at_the_clock(attempt.grant)
        if (answer := refused_by(self.source.name, returned)) is not None:
            raise self._refused(attempt, answer)
        attempt.bill = self.source.price.bill(())
        return returned

    def _refused(self, attempt: Attempt, error: UpstreamError) -> UpstreamError:
        """``error``. Where it is an answer of the upstream, nothing is billed for the call."""
        if error.status and not error.is_unanswered:
            attempt.bill = NOTHING
        return error

    def _look_at_the_clock(self, grant: Grant) -> None:
        """Log where the call has outlasted the hold of its slot: what it sent then counts in no window."""
        if (late := now() - grant.send_by) > 0:
            log.warning("fetch.overran", source=self.source.name, function=self._name, seconds=round(late, 3))


def as_raised(job: FunctionJob[Any], error: UpstreamError) -> Exception:
    """The failure as the caller of the function knows it: the function's exception, if it raised one."""
    return error if job.raised is None else met_by(job.source.name, job.raised)
