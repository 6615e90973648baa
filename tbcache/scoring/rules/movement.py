"""What becomes of a thing that is good or bad itself: the end of a sell-off is good news."""

from __future__ import annotations

from tbcache.scoring.rules.burden import BURDENS
from tbcache.scoring.rules.reading import NEGATED, UNDERSTOOD, Reading

_BAD = (
    BURDENS
    | frozenset(
        "selloff sell-off crash bleeding slide correction downtrend downturn slump slowdown lawsuit "
        "lawsuits probe probes investigation investigations fears worries concerns risk risks panic pain "
        "recession headwinds weakness carnage turmoil uncertainty overhang strike crisis trouble troubles "
        "selling pressure capitulation shutdown short-selling scandal worst ban bans sanctions "
        "restrictions complaint dispute disputes bankruptcy drawdown bear-market stagflation "
        "volatility".split()
    )
    | {"bear market", "clinical hold", "bad news", "antitrust case", "class action", "trading halt"}
    | {"margin pressure", "cost pressures", "trade war", "price war", "supply glut", "losing streak"}
)
_GOOD = frozenset(
    "rally rallies run uptrend rebound recovery bounce growth momentum demand party upside boom runup "
    "run-up hype euphoria tailwind tailwinds rise surge buying advantage strength optimism comeback buyback "
    "buybacks dividend dividends confidence profitability efficiency".split()
) | {"bull market", "bull run", "winning streak", "gaining streak", "pump", "good news", "best", "gains"}
_THINGS = {**dict.fromkeys(_BAD, -1), **dict.fromkeys(_GOOD, 1)}
_LESS = """
    fell falls falling dropped drops dropping declined declines declining shrank shrinks shrinking shrunk
    narrowed narrows narrowing eased eases easing cooled cools cooling slowed slows slowing decreased
    decreases decreasing plunged plunges plunging tumbled tumbles tumbling slid slides sliding subsided
    subsides subsiding faded fades fading vanished vanishing gone over ended ends ending stopped stops
    stopping stop end done finished halved dismissed resolved settled avoided averted contained overblown
    exaggerated unfounded overdone dead stalled stalls stalling fizzled fizzles fizzling failed fails failing
    weakened weakens weakening exhausted evaporated evaporating collapsed collapsing lifted abated abating
    behind down lower forgotten priced dropped recovered recouped dwindle dwindles dwindled dwindling
    diminish diminishes diminished diminishing dissipate dissipates dissipated dissipating wane wanes waned
    waning ebb ebbs ebbed ebbing receded receding shrink decrease decline moderates moderated moderating
"""
_MORE = """
    rose rises rising grew grows growing surged surges surging jumped jumps jumping climbed climbs climbing
    soared soars soaring widened widens widening ballooned balloons ballooning mounted mounts mounting
    tripled doubled accelerated accelerates accelerating worsened worsens worsening spiked spikes spiking
    increased increases increasing deepened deepens deepening intensified intensifies intensifying resumed
    resumes up higher exploded exploding begins began continues continued come coming ahead looms building
    builds built swell swells swelled swelling lingers linger persist persists persisted returns loom
"""
_MOVES = {**dict.fromkeys(_LESS.split(), -1), **dict.fromkeys(_MORE.split(), 1)}
#: "Shrugs off the probe".
_OFF = (
    "shake shakes shook shaking shrug shrugs shrugged shrugging head heads headed heading fend fends fended "
    "fending".split()
)
#: Words before a thing that say that there is less of it, or more; some are moves of it, some are not.
_AMOUNTS = {
    **dict.fromkeys(
        "less fewer lower smaller reduced narrower shrinking falling declining easing cooling slowing "
        "fading minimal slower weaker cuts cut cutting reduces reduce reducing lowers lowering slashes "
        "slashed slashing trims trimmed trimming narrows narrowed narrowing eases eased ease ends ended "
        "ending halt halts halted halting snap snaps snapped stops stopped stop shrinks shrank avoids "
        "avoided avoid averts dodges "
        "dodged dismisses pays repays paid repaid lifts lifted removes removed rejects rejected dismissed "
        "drops dropped settles settled resolves resolved erases erased erase pares pared recoups recouped "
        "recovers recovered recovering reverses reversed wipes wiped suspends suspended suspending scraps "
        "scrapped cancels cancelled canceled shelves axes".split(),
        -1,
    ),
    **dict.fromkeys(
        ("give back", "gives back", "gave back", "giving back", "made back", "wiped out", "wipes out"), -1
    ),
    **dict.fromkeys((f"{verb} off" for verb in _OFF), -1),
    **dict.fromkeys(
        "higher bigger larger record rising growing mounting widening surging soaring increasing heavy "
        "huge massive steep steeper ballooning deepening worsening wider raises deeper soaring extends "
        "extended accelerating strong stronger revive revives revived stoke stokes stoked fuel fuels "
        "fueled raising".split(),
        1,
    ),
}
_ARTICLES = frozenset(
    "the a an its their his her our my this that all most some of net more much off down".split()
)
#: Between a thing and what becomes of it there is no other that it could become of.
_BARRIERS = frozenset(
    "as when and or with after before amid despite on to into than if that who which for by from shares "
    "share stock stocks price prices market markets profit profits revenue sales income earnings margin "
    "margins i we they it he investors traders company".split()
)
_PREPOSITIONS = frozenset(("over", "behind", "up", "down", "ahead", "lower", "higher", "end", "stop", "done"))
_BEING = frozenset(("is", "are", "was", "were", "almost", "finally"))
_AFTERWARDS = frozenset(
    "now soon already for us them me yet again today finally sharply slightly folks guys in".split()
)
#: Things that are verbs as well, where none of the others stands before them.
_VERBS = frozenset("slide rise surge crash slump rally rebound bounce rallies run selling gains".split())
_BEFORE_NOUNS = _ARTICLES | _AMOUNTS.keys()
_CHANGES = frozenset((*_MOVES, *_AMOUNTS))
TRIGGERS = frozenset(_THINGS)


def read_movements(reading: Reading, valences: list[float]) -> list[float]:
    """Rate a thing by whether there is more or less of it."""
    if _CHANGES.isdisjoint(reading.words):
        return valences
    valences = list(valences)
    for i in [i for i, word in enumerate(reading.words) if word in _THINGS]:
        if not _moves_itself(reading, i):
            _rate_thing(reading, i, valences)
    return valences


def _moves_itself(reading: Reading, i: int) -> bool:
    """Whether the word is what becomes of another: "shares slide", "they rise", and not "the slide"."""
    if reading.words[i] not in _VERBS or reading.next_word(i) in ("is", "was"):
        return False
    return reading.last_word(i) not in _BEFORE_NOUNS


def _rate_thing(reading: Reading, i: int, valences: list[float]) -> None:
    at, move = _move(reading, i) or _amount(reading, i) or (i, 0)
    if not move:
        return
    for j in range(min(i, at), max(i, at) + 1):
        valences[j] = 0.0
    figure = UNDERSTOOD * _THINGS[reading.words[i]] * move
    valences[at] = figure * (NEGATED if _is_negated(reading, i, at) else 1.0)


def _is_negated(reading: Reading, i: int, at: int) -> bool:
    return reading.is_negated(at) or (at < i and reading.is_negated(i))


def _move(reading: Reading, i: int) -> tuple[int, int] | None:
    """The place of what becomes of the thing at ``i``, and whether that is more (1) or less (-1)."""
    for j in reading.after(i, 5):
        word = reading.words[j]
        if word in _MOVES and _is_move(reading, j):
            return j, _MOVES[word]
        if word in _BARRIERS or word in _THINGS:
            return None
    return None


def _is_move(reading: Reading, j: int) -> bool:
    """False for a preposition: "growth over the next year", "risks behind the plan"."""
    if reading.words[j] not in _PREPOSITIONS:
        return True
    behind = reading.next_word(j)
    if reading.words[j] in ("behind", "over", "done") and reading.last_word(j) in _BEING:
        return True
    return not behind or behind in _AFTERWARDS or (reading.words[j] in ("up", "down") and behind[0].isdigit())


def _amount(reading: Reading, i: int) -> tuple[int, int] | None:
    """The same where it stands before the thing: "lower costs", "cuts its debt"."""
    for j in reading.before(i, 4):
        word = reading.words[j]
        if word in _AMOUNTS:
            return j, _AMOUNTS[word]
        if word in _BARRIERS:
            return None
        if word not in _ARTICLES and j < i - 2:
            return None
    return None
