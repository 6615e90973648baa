"""The bugs that are planted: four breaks of the limit that were found by hand, and likely ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

OWN, CLOCK = "tbcache.limiter.process_window:ProcessWindow", "tbcache.store.clock:ServerClock"
SLOTS = "tbcache.limiter.slot_record:SlotRecord"
INTAKE = "tbcache.queue.intake:Intake"


@dataclass(frozen=True, slots=True)
class Change:
    """``where`` is the name of a Lua file (``take.lua``), or a function (``package.module:Class.method``)."""

    where: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bug:
    """``needs``: what a world must have that shows it (see :meth:`Plan.has`); ``kind``: of which kind are the
    worlds in which it is sought."""

    name: str
    change: Change
    needs: tuple[str, ...] = ()
    kind: str = ""


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
        "    commit(slots, math.max(now, asked_us), id, cost)",
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
        "gone_at if self._earliest_stamp(name, now) <= soonest else self._leaving(name, window, now)",
        "self._leaving(name, window, now)",
    ),
    _bug(
        "what others have under way is not waited for without Redis",
        f"{OWN}._wait",
        "noticed + self._hold * SLOWEST + window",
        "noticed + window",
        "cut off beside what is under way",
    ),
    _bug(
        "one that has given its part back goes by it",
        f"{OWN}.leave",
        "self._allowances, self._is_left = None, True",
        "pass",
        "leave and go on",
    ),
    _bug(
        "a promise is kept whoever is absent",
        "tbcache.limiter.promise:Promises.is_kept",
        "return io.now() <= self._present_until and since >= self._unbroken_since",
        "return True",
    ),
    _bug(
        "what leaves by Redis's stamp alone is one's own",
        f"{OWN}._wait",
        "if self._earliest_stamp(name, now) <= soonest",
        "if self._leaving(name, window, now) <= noticed",
        "cut off as what was answered late leaves",
    ),
    _bug(
        "a promise is kept though one that was absent is back",
        "tbcache.limiter.promise:Promises.is_kept",
        " and since >= self._unbroken_since",
        "",
        "be back as a promise begins",
    ),
)
_LOSS = (
    _bug(
        "a promised slot is used though Redis has lost who is absent",
        "beat.lua",
        "local present_us = is_whole and present_for(window, now) or 0",
        "local present_us = present_for(window, now)",
        "lose while all are hungry",
    ),
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
        f"{CLOCK}.compare",
        "if known is None or gap <= self.timeout:",
        "if True:",
        "set the clock",
    ),
    _bug(
        "after a loss a source stays shut for longer than what was sent counts",
        "epoch.lua",
        "local latest = lost_at + span + hold",
        "local latest = lost_at + 5 * span + hold",
        _LOST,
    ),
    replace(
        _bug(
            "a loss that is noted after the clock was set back is long made good",
            "lose.lua",
            "moment_of_loss(stored[3]) > now and now - step_us or now - later",
            "now - step_us",
            "notice a step at once",
        ),
        kind="clock",
    ),
    replace(
        _bug(
            "a clock that is put right again is not mended",
            "lose.lua",
            "stepped_at >= now - ago_us and stepped_at <= now",
            "stepped_at >= now - ago_us",
            "set the clock back beyond a step",
        ),
        kind="clock",
    ),
    replace(
        _bug(
            "what a clock that was set back has stamped is granted",
            "late.lua",
            " or now < 2 * asked_us - deadline_us",
            "",
            "set the clock back for a moment",
        ),
        kind="clock",
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
        f"{INTAKE}.read",
        "            return self._due(job)",
        '            self._end(claim, Finish("done"))\n            return self._due(job)',
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
        "local is_renewed = redis.call('ZADD', claims, 'XX', 'CH', int(now + claim_us), claim) == 1",
        "local is_renewed = true",
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
        "local reserved = purses_of(window, purses_key, now, budget)",
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
        "if ask.slot and is_cancelled(error):",
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


def _in_queue(name: str, where: str, old: str, new: str, *needs: str) -> Bug:
    return replace(_bug(name, where, old, new, *needs), kind="queue")


_LEADERS = (
    _in_queue(
        "a leader that another has followed queues what it had begun",
        "enqueue.lua",
        "local later = token > 0 and later_token(fence, token) or 0",
        "local later = 0",
        "stop the leader",
    ),
    _in_queue("a lease that another holds is taken", "lead.lua", "holder ~= name", "false", "schedulers"),
    _in_queue(
        "a lease that is taken anew has the token of before",
        "lead.lua",
        "math.max(server_time(), above + 1)",
        "above + 1",
        "stop the leader",
    ),
)
_WATCHERS = (
    _in_queue(
        "what one found that watches the fleet no more is kept",
        "incident.lua",
        "if tonumber(held) ~= token then",
        "if false then",
        "stop the leader",
    ),
    _in_queue(
        "one that watches the fleet no more goes on with the lease of another",
        "lead.lua",
        "if holder and holder ~= name then\n    return 0",
        "if holder and holder ~= name then\n    return int(tonumber(token))",
        "schedulers",
    ),
)
_PRESENCE = (
    _in_queue(
        "the claims of a worker that is there lapse",
        "dequeue.lua",
        "is_known and there[i + 1] > 0 and until_us + present_us > now",
        "false",
        "freeze in a job",
    ),
    _in_queue(
        "claims lapse at once where nobody can know who is there",
        "dequeue.lua",
        "or not is_known and until_us + claim_us > now",
        "",
        "freeze in a job",
    ),
)
_VERBS = (
    _in_queue(
        "a job that a worker has is cancelled, and the worker is not told",
        "cancel.lua",
        "        state = 'stopping'\n        revoke(id, now)",
        "        state = 'stopping'",
        "cancel a job",
    ),
    _in_queue(
        "a job that is promoted goes to its turn",
        "promote.lua",
        "put_in_front(id)\nnotify_worker()",
        "put_in(id, server_time())\nnotify_worker()",
        "promote a job",
    ),
    _in_queue(
        "a dead letter that is queued again is dead all the same",
        "enqueue.lua",
        "if not exhume(id) then",
        "if not redis.call('ZSCORE', dead, id) then",
        "requeue the dead",
    ),
    _in_queue(
        "dead letters that are forgotten are there",
        "purge.lua",
        "many + (exhume(id) and 1 or 0)",
        "many + 1",
        "forget the dead",
    ),
)
_UNIQUE = (
    _in_queue(
        "an ask for what is new joins a job that began before",
        "enqueue.lua",
        "return its_after > 0 and begun >= after * 1000000",
        "return true",
        "ask for what is new",
    ),
    _in_queue(
        "a job that waits is not told that what is new is wanted",
        "enqueue.lua",
        "if needed > 0 or after > 0 then",
        "if needed > 0 and after == 0 then",
        "ask for what is new",
    ),
    _in_queue(
        "a job for what is new is done with what there was",
        "tbcache.queue.middleware:JobMiddleware.after_process_message",
        'if is_old and message.kwargs.get("after"):',
        "if False:",
        "ask for what is new",
    ),
    _in_queue(
        "the job that waits for another of its fetch is forgotten",
        "queue.lua",
        "            promote(key, found[2], now)",
        "            local _ = found[2]",
        "ask for what is new",
    ),
    _in_queue(
        "a pre-warm whose time is past is loaded",
        "tbcache.queue.middleware:JobMiddleware.before_process_message",
        "if (until := _valid_until(message)) and broker.store.clock.today.timestamp() > until:",
        "if False:",
        "prewarm for a while",
    ),
    _in_queue(
        "what is put off begins at once",
        "finish.lua",
        "put_off(id, now + tonumber(delay))",
        "put_off(id, now)",
        "send",
    ),
    _in_queue(
        "a request that nobody can answer holds its slot",
        "tbcache.queue.middleware:finish_of",
        'Finish("dead", result, is_begun=False, reason=reason)',
        'Finish("dead", result, reason=reason)',
        "enqueue what nobody knows",
    ),
)


def _at_rest(name: str, where: str, old: str, new: str, *needs: str) -> Bug:
    return replace(_bug(name, where, old, new, *needs), kind="rest")


_REST = (
    _at_rest(
        "one that rests takes itself for absent as early as others",
        f"{OWN}.silence",
        "return self._silence",
        "return min(self._silence, 0.45)",
    ),
    _at_rest(
        "one that rests does not know for how long it may be silent",
        f"{OWN}.ask_for_silence",
        "max(self._silence, seconds)",
        "self._silence",
    ),
)
_HISTORY = (
    _at_rest(
        "a minute is kept as it is when somebody counts again",
        "minute.lua",
        "if redis.call('HEXISTS', minutes, int(minute)) == 1 then",
        "if false then",
        "note",
    ),
    _at_rest(
        "what is counted is told as often as it is sent",
        "count.lua",
        "if not redis.call('SET', batch, '1', 'NX', 'EX', 86400) then",
        "if false then",
        "note",
    ),
    _at_rest(
        "a day is over, and what was counted last in it is forgotten",
        "tbcache.store.mark:Marks._between",
        "return less(self._totals.get(before.day, Counter()), before.sums) + _counts(after.sums)",
        "return _counts(after.sums)",
        "to_midnight",
    ),
)


def _in_turn(name: str, where: str, old: str, new: str) -> Bug:
    return replace(_bug(name, where, old, new), kind="fair")


_CALLERS = (
    _in_turn(
        "the weights of callers do not count",
        "place.lua",
        "finish = place + stride",
        "finish = place + 1000000",
    ),
    _in_turn(
        "who has used up little comes before all who wait",
        "queue.lua",
        "        redis.call('ZADD', tags_of(lane), 'GT', int(place), '')",
        "        local _ = place",
    ),
    _in_turn(
        "the jobs that come together are a single one's on the account of their caller",
        "place.lua",
        "place = math.max(time + STEP, caller ~= '' and finish or 0)",
        "place = place + STEP",
    ),
)


_STOPPED = (
    _in_queue(
        "the worker of a job that is cancelled is not told",
        "dequeue.lua",
        "revoked[#revoked + 1] = claim",
        "",
        "cancel what runs",
    ),
    _in_queue(
        "a worker that is told that its job is cancelled goes on with it",
        "tbcache.queue.cancel:JobsInHand.cancel",
        "raise_thread_exception(job.thread, Cancelled)",
        "pass",
        "cancel what runs",
    ),
    _in_queue(
        "the slot of a job that is cancelled is free before it has stopped",
        "dequeue.lua",
        "if used > 0 and (is_renewed or pacing.still_held(slots, now, claim)) then",
        "if used > 0 and is_renewed then",
        "outlast a slot",
    ),
    _in_queue(
        "the slot of a job that Redis has lost is free before it is over",
        "dequeue.lua",
        "if used > 0 and (is_renewed or pacing.still_held(slots, now, claim)) then",
        "if used > 0 and redis.call('ZMSCORE', claims, claim, claim .. REVOKED)[1] then",
        "outlast a slot",
    ),
    _in_queue(
        "the slot of a job that runs for long is held no longer than a lease",
        "dequeue.lua",
        "pacing.extend(slots, now + hold_us, claim, used)",
        "local _ = hold_us",
        "call",
    ),
)
_FAILURES = (
    _in_queue(
        "a try that comes again is a failure of its caller's",
        "tbcache.fetch.pipeline:Pipeline.travel",
        'if not (ask.is_of_queue and comes_again(error, is_awaited=ask.lane != "prewarm")):',
        "if True:",
        "refuse",
    ),
    _in_queue(
        "a job that fails is counted as dead each time",
        "tbcache.queue.end:Ends._say",
        'if has_failed and what == "dead":',
        "if has_failed:",
        "refuse",
    ),
)


def _operated(name: str, where: str, old: str, new: str, *needs: str) -> Bug:
    return replace(_bug(name, where, old, new, *needs), kind="operated")


_ORDERS = (
    _operated(
        "who has read an older file goes by that",
        "tbcache.fleet.standing:Standing._remember",
        "known.since < said.since",
        "known.since != said.since",
        _LOST,
    ),
    _operated(
        "who has read what stands forgets it with Redis",
        "tbcache.fleet.standing:Standing.look",
        "self._remember(thing, said)",
        "pass",
        _LOST,
    ),
    _operated(
        "what is taken back leaves nothing",
        "order.lua",
        "if is_written then",
        "if what == 'resume' then redis.call('HDEL', state, 'order') end\nif is_written then",
        _LOST,
    ),
)
_ASKERS = (
    _operated(
        "whoever waits for a promised slot cannot hang up",
        "tbcache.fetch.pipeline:Pipeline._load",
        "        await self._await_start(grant)\n        tell_load()",
        "        tell_load()\n        await self._await_start(grant)",
        "hang up",
    ),
    _operated(
        "whoever hangs up keeps the slot that he was promised",
        "tbcache.fetch.pipeline:Pipeline._await_start",
        "world().undo(functools.partial(self.admission.settle, grant, Settlement()))",
        "pass",
        "hang up",
    ),
)
_SET = "set a limit"
_BOUNDS = (
    _operated(
        "a limit that an operator has set is not in force",
        "fleet.lua",
        "local limits = parse_limits(bound_of(state_key) or '')",
        "local limits = {}",
        _SET,
    ),
    _operated(
        "whoever goes on without Redis does so by his own limits",
        f"{OWN}.receive",
        "allotment.limits or self.configured",
        "self.configured",
        _SET,
    ),
    _operated(
        "a source that is paused goes on",
        "window.lua",
        "window.order = stored[6], stored[7], stored[8]",
        "window.order = stored[6], stored[7], false",
        "pause",
    ),
    _operated(
        "a queue that is drained accepts what is new",
        "enqueue.lua",
        "stopped_by(redis.call('HGET', state, 'order'), not is_follow_up)",
        "stopped_by(redis.call('HGET', state, 'order'), false)",
        "drain",
    ),
    _operated(
        "a queue that is drained accepts a message",
        "send.lua",
        "string.sub(order, 1, 5) == 'drain' then",
        "string.sub(order, 1, 5) == 'never' then",
        "drain",
        "call",
    ),
)

BUGS = (
    *(*_BY_HAND, *_WINDOW, *_SHARING, *_LOSS, *_LOADS, *_JOBS, *_VALUES, *_MONEY, *_TASKS),
    *(*_LEADERS, *_WATCHERS, *_PRESENCE, *_VERBS, *_UNIQUE, *_REST, *_HISTORY, *_CALLERS, *_ORDERS),
    *(*_STOPPED, *_FAILURES, *_ASKERS, *_BOUNDS),
)
