"""The bugs that are planted: four breaks of the limit that were found by hand, and likely ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

OWN, CLOCK = "tbcache.limiter.process_window:ProcessWindow", "tbcache.store.clock:ServerClock"
SLOTS = "tbcache.limiter.slot_record:SlotRecord"
CONSUMER = "tbcache.queue.consumer:PacingConsumer"


@dataclass(frozen=True, slots=True)
class Change:
    """``where`` is the name of a Lua file (``take.lua``), or a function (``package.module:Class.method``)."""

    where: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bug:
    """``needs``: what a world must have that shows it (see :meth:`Plan.has`). ``is_of_clock``: it is sought
    in worlds whose clock is set again and again."""

    name: str
    change: Change
    needs: tuple[str, ...] = ()
    is_of_clock: bool = False


def _bug(name: str, where: str, old: str, new: str, *needs: str) -> Bug:
    return Bug(name, Change(where, old, new), needs)


_CUT = (
    "cut off|cut all off|cut off while all are hungry|cut off and kill|cut off in a burst|spend|"
    "lose beside one that is cut off|freeze the server|restart the server|storm"
)
_LOST = "lose all|lose beside one that is cut off|go back"
_CLEARED = "clear|clear values|hide in a load"
_SHARED = "fetch the same|ask a function|freeze in a load|cancel"
_QUEUED = "enqueue|enqueue and wait|prewarm|freeze in a job|schedulers"
_VALUE = "load a value|hide in a load"


_BY_HAND = (
    _bug(
        "an answer other than a beat's does not count as heard",
        f"{SLOTS}.answered",
        "self._last_seen_at = io.now()",
        "self._last_seen_at = io.now() if name == 'beat' else self._last_seen_at",
    ),
    _bug(
        "after a loss two processes that are named alike count as one",
        "restore.lua",
        "if returned >= awaited then",
        "if returned >= awaited - 1 then",
        _LOST,
    ),
    _bug(
        "the share of one that was killed as it went on alone is given away at once",
        "leave.lua",
        "if not is_clean and",
        "if false and",
        "kill|cut off and kill",
    ),
    _bug(
        "an upstream's words are taken for codes",
        "tbcache.fetch.pipeline:_limited",
        'wait.why == "budget"',
        '"budget" in wait.reason',
        "refuse",
    ),
)
_WINDOW = (
    _bug(
        "a slot is stamped at the decision",
        "window.lua",
        "local stamp = int(start + held)",
        "local stamp = int(start)",
    ),
    _bug(
        "a settled load gives its slot back",
        "settle.lua",
        "    commit(slots, now, id, cost)",
        "    release(slots, id, cost)",
    ),
    _bug(
        "a look counts one too few",
        "window.lua",
        "local over = found.used + cost - count",
        "local over = found.used + cost - count - 1",
    ),
    _bug(
        "a closed source is open",
        "window.lua",
        "if window.closed_until > now then",
        "if false then",
        "refuse",
    ),
    _bug(
        "what comes free is promised to two",
        "window.lua",
        "return math.min(stamp, now) + span, stamp <= now",
        "return now, true",
    ),
)
_SHARING = (
    _bug(
        "a share is what would be fair",
        "beat.lua",
        "share = math.max(0, math.min(fair, 1 - given))",
        "share = fair",
    ),
    _bug("allowances overlap", "beat.lua", "free - others)", "free)"),
    _bug(
        "nothing is kept for the absent",
        "member.lua",
        "table.insert(members.absent, share)",
        "local _ = share",
    ),
    _bug(
        "an allowance is not kept from others",
        "member.lua",
        "allowances = allowances + math.max(0, ",
        "allowances = allowances + 0 * math.max(0, ",
    ),
    _bug(
        "an ask whose answer was lost was not heard",
        f"{SLOTS}.lose",
        "until if is_answer_lost else -math.inf",
        "-math.inf",
    ),
    _bug(
        "what leaves while others may use it is at once ours again",
        f"{OWN}._wait",
        "[noticed + window if at <= noticed else at for at in before]",
        "before",
    ),
    _bug(
        "a promise is kept whoever is absent",
        "tbcache.limiter.promise:Promises.are_kept",
        "return io.now() - self._all_present_at <= PROMISE_SECONDS",
        "return True",
    ),
)
_LOSS = (
    _bug(
        "a loss of data is not noticed",
        "epoch.lua",
        "        if seen_epoch then\n            lose(window.state, now, seen_epoch)",
        "        if false then\n            lose(window.state, now, seen_epoch)",
        "lose all|lose beside one that is cut off",
    ),
    _bug(
        "a return to an older state is not noticed",
        "epoch.lua",
        "elseif seen_epoch and are_lost or seen_us > (last_seen or 0) and not is_forgotten then",
        "elseif seen_epoch and are_lost then",
        "go back",
    ),
    _bug(
        "what was sent alone is not put back",
        "restore.lua",
        "for i = 1, #taken, 2 do",
        "for i = 1, 0, 2 do",
        _CUT,
    ),
    _bug(
        "a clock that jumped changes nothing",
        f"{CLOCK}._compare",
        "if known is None or gap <= self.timeout:",
        "if True:",
        "set the clock",
    ),
    replace(
        _bug(
            "a loss that is noted after the clock was set back is long made good",
            "lose.lua",
            "lost_at > now and now - step_us or now - later",
            "now - step_us",
            "come back with another clock",
        ),
        is_of_clock=True,
    ),
    replace(
        _bug(
            "a clock that is put right again is not mended",
            "lose.lua",
            "stepped_at >= now - ago_us and stepped_at <= now",
            "stepped_at >= now - ago_us",
            "set the clock for a while",
        ),
        is_of_clock=True,
    ),
    replace(
        _bug(
            "a thread knows an epoch, and goes by the time of before",
            "tbcache.limiter.restoration:Restoration.restore",
            "self._store.clock.go_back(found.now, asked_at, source)",
            "None",
            "set the clock at any time",
        ),
        is_of_clock=True,
    ),
)
_LOADS = (
    _bug(
        "a dead lease's value is stored",
        "settle.lua",
        "local is_ours = load[1] == token",
        "local is_ours = true",
        _SHARED,
    ),
    _bug(
        "a lease does not keep others from loading",
        "admit.lua",
        "if ends_at > now and load[1] ~= id and not is_heir then",
        "if false then",
        _SHARED,
    ),
    _bug(
        "a value from before a clear is given out",
        "admit.lua",
        "if found and cleared > 0 and birth_of(found) < cleared then",
        "if false then",
        _CLEARED,
        _SHARED,
    ),
    _bug(
        "a value is born when it is stored",
        "settle.lua",
        "load[4] or UNCLEARED",
        "'8000000000000000'",
        _CLEARED,
        _SHARED,
    ),
)
_JOBS = (
    _bug(
        "a job is said to be done as it is handed out",
        f"{CONSUMER}._read",
        "                return HeldJob(message.copy",
        '                self._end(claim, Finish("done"))\n                return HeldJob(message.copy',
        _QUEUED,
    ),
    _bug(
        "whoever had a job may say what became of it",
        "finish.lua",
        "if not is_claimed or what ~= 'done' and",
        "if what ~= 'done' and",
        "freeze in a job",
    ),
    _bug(
        "a job that is put off is in no list",
        "finish.lua",
        "put_off(id, now + tonumber(delay))",
        "",
        _QUEUED,
    ),
    _bug(
        "the same fetch is queued twice", "enqueue.lua", "    if not words then", "    if true then", _QUEUED
    ),
    _bug(
        "claims are not renewed",
        "dequeue.lua",
        "redis.call('ZADD', claims, 'XX', 'CH', int(now + claim_us), claim) == 1",
        "false",
        "workers",
        _QUEUED,
    ),
)

_VALUES = (
    _bug(
        "a value whose load began before a clear is kept",
        "end_load.lua",
        "if load[2] == generation and value ~= '' then",
        "if value ~= '' then",
        _CLEARED,
        _VALUE,
    ),
    _bug(
        "the lease of a value does not keep others from loading it",
        "begin_load.lua",
        "if load[1] and left > 0 and left < KEPT_MS * 1000 then",
        "if false then",
        _VALUE,
    ),
    _bug(
        "a value that was deleted while it was being loaded is kept",
        "tbcache.cache.core:Cache.delete",
        "await self._entries.remove([key]) > 0",
        "await self.store.command('UNLINK', self.store.keys.entry(key)) > 0",
        "delete a value|hide in a load",
    ),
    _bug(
        "who asks after a delete waits for what was being loaded before",
        "tbcache.cache.core:Cache.__init__",
        "memory.on_removal(self._single_flight.end)",
        "pass",
        "delete a value|hide in a load",
    ),
)

_MONEY = (
    _bug(
        "a purse is all that is left", "purse.lua", "math.min(share * left, left - others)", "left", "budget"
    ),
    _bug(
        "what is kept for absent processes is spent by others",
        "budget.lua",
        "local reserved = purses_of(window, purses_key, now)",
        "local reserved = 0",
        "budget",
    ),
    _bug(
        "what was paid without Redis is not told",
        "tbcache.admission.figure:Figures.count_bill",
        "self._monitor.bill(name, due)",
        "pass",
        "budget",
    ),
)

_TASKS = (
    _bug(
        "a cancelled task keeps the slot that it asked for",
        "tbcache.admission.sliding_window:SlidingWindow._ask",
        'if mode == "take" and is_cancelled(error):',
        "if False:",
        "loops",
    ),
    _bug(
        "a cancelled fetch keeps its slot and its lease",
        "tbcache.admission.admission:Admission.admit",
        "io.world().undo(functools.partial(self._take_back, ask, token))",
        "pass",
        "loops",
    ),
    _bug(
        "a load that its loop's end cancels keeps its lease",
        "tbcache.cache.key_lease:KeyLeases._ask",
        'world().undo(lambda: self._end(KeyLease(key, name), b"", 1))',
        "pass",
        "loops",
        _VALUE,
    ),
)

BUGS = (*_BY_HAND, *_WINDOW, *_SHARING, *_LOSS, *_LOADS, *_JOBS, *_VALUES, *_MONEY, *_TASKS)
