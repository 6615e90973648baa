"""Headlines of ratings, targets and results: what counts is where a figure or a rating goes."""

from __future__ import annotations

from tbcache.scoring.rules.amount import CURRENCIES, LEADS, Amount, read_amount
from tbcache.scoring.rules.burden import BURDENS
from tbcache.scoring.rules.reading import UNDERSTOOD, Reading

_RATINGS = {
    **dict.fromkeys("sell underperform underweight reduce".split(), 0),
    **dict.fromkeys("hold neutral equal-weight equalweight in-line perform weight market-perform".split(), 1),
    **dict.fromkeys("buy outperform overweight accumulate add positive".split(), 2),
}
_STEPS = ("market", "sector", "peer", "equal", "strong", "conviction")
_BEFORE_RATINGS = frozenset((*_RATINGS, *_STEPS, "a", "an"))
_UP = frozenset("raised raises raise upgraded upgrades upgrade lifted lifts upped ups boosted boosts".split())
_DOWN = frozenset(
    "cut cuts lowered lowers lower downgraded downgrades downgrade trimmed trims reduced reduces dropped "
    "slashed slashes".split()
)
_CHANGES = _UP | _DOWN
_MOVES = (
    _CHANGES
    | frozenset(
        "rose rises rise grew grows fell falls fall up down increased increases increase decreased "
        "decreases decline declined declines widened widens narrowed narrows jumped jumps dropped drops "
        "climbed climbs slid slipped surged doubled halved improved swung price-target-raised".split()
    )
    | {
        "price target raised",
        "price target cut",
        "loss narrowed",
        "loss narrows",
        "loss widened",
        "loss widens",
    }
)
_METRICS = frozenset(
    "target pt eps revenue revenues sales profit income earnings guidance outlook forecast margin margins "
    "dividend price loss losses costs cost expenses debt deficit estimate subscribers deliveries ebit ebitda "
    "flow equity value return result results orders intake backlog bookings volume volumes shipments traffic "
    "turnover".split()
)
_BENCHMARKS = frozenset(
    "est ests estimate estimates estimated exp expected consensus forecast expectations cons ago earlier "
    "prior previous".split()
)
_VERSUS = frozenset(("vs", "versus", "compared", "against"))
TRIGGERS = _VERSUS | {"to"}
#: Without one of these nothing is compared.
_COMPARED = _VERSUS | _RATINGS.keys() | {"from"}


def read_headlines(reading: Reading, valences: list[float]) -> list[float]:
    """Rate "from" and "to", and a result beside its estimate, by the order of the two."""
    if _COMPARED.isdisjoint(reading.words):
        return valences
    places = [i for i, word in enumerate(reading.words) if word in TRIGGERS and _may_compare(reading, i)]
    if not places:
        return valences
    valences = list(valences)
    for i in places:
        read = _read_to if reading.words[i] == "to" else _read_result
        read(reading, i, valences)
    return valences


def _may_compare(reading: Reading, i: int) -> bool:
    """False for most: what stands behind a "to" is a verb as a rule."""
    if i + 1 == len(reading.words):
        return False
    word = reading.words[i + 1]
    return reading.words[i] != "to" or not word.isalpha() or word in _BEFORE_RATINGS or word in LEADS


def _read_to(reading: Reading, i: int, valences: list[float]) -> None:
    if reading.words[i + 1] in _BEFORE_RATINGS:
        _read_rating(reading, i, valences)
    else:
        _read_move(reading, i, valences)


def _read_rating(reading: Reading, i: int, valences: list[float]) -> None:
    """Rate "to hold from buy", "from buy to hold", or "cut to hold"."""
    new, moved = _rating(reading, i), reading.find(reading.before(i, 6), _CHANGES)
    if new is None or moved is None:
        return
    from_ = reading.find((*reading.after(i, 4), *reading.before(i, 4)), ("from",))
    old = None if from_ is None else _rating(reading, from_)
    change = (1 if reading.words[moved] in _UP else -1) if old is None else new[0] - old[0]
    for place in (moved, new[1], *(() if old is None else (old[1],))):
        valences[place] = 0.0
    valences[i] = UNDERSTOOD * ((change > 0) - (change < 0))


def _rating(reading: Reading, i: int) -> tuple[float, int] | None:
    """The rating behind the word at ``i``, and its place."""
    at = reading.find(reading.after(i, 2), _RATINGS)
    if at is None or (at == i + 2 and reading.words[i + 1] not in (*_STEPS, "a", "an")):
        return None
    is_strongest = reading.words[at - 1] in ("strong", "conviction")
    return _RATINGS[reading.words[at]] + (0.5 if is_strongest else 0), at


def _read_move(reading: Reading, i: int, valences: list[float]) -> None:
    """Rate "to 3 from 5" and "from 5 to 3"."""
    new = read_amount(reading.tokens, reading.words, i + 1)
    if new is None:
        return
    from_ = reading.find(
        (*range(new.end, min(new.end + 2, len(reading.words))), *reading.before(i, 4)), ("from",)
    )
    old = None if from_ is None else read_amount(reading.tokens, reading.words, from_ + 1)
    if old is not None and from_ is not None and not (new.may_be_year and old.may_be_year):
        _rate(reading, min(i, from_), old, new, valences)


def _read_result(reading: Reading, i: int, valences: list[float]) -> None:
    """Rate "EPS $1.20 vs $1.10 expected", and "a loss of 0.15 compared with 0.26" a year before."""
    real = next((a for j in (i - 1, i - 2, i - 3) if j >= 0 and (a := _ends(reading, j, i))), None)
    behind = range(i + 1, min(i + 7, len(reading.words)))
    found = next(((j, a) for j in behind if (a := read_amount(reading.tokens, reading.words, j))), None)
    if real is None or (real.may_be_year and found is not None and not found[1].may_be_year):
        real = _last_amount(reading, i)
    if real is None or found is None:
        return
    at, guess = found
    # "A profit of 3 versus a loss of 5."
    is_loss = _names_loss(reading, range(i + 1, at))
    if (
        not is_loss
        and reading.find(reading.after(i, 7), _BENCHMARKS) is None
        and not _is_of_results(reading, i)
    ):
        return
    turned = is_loss and not _names_loss(reading, _before(reading, i))
    _rate(reading, i, guess._replace(figure=-guess.figure) if turned else guess, real, valences)
    for j in range(i + 1, at):
        valences[j] = 0.0


def _before(reading: Reading, i: int) -> range:
    """The places of up to 20 words of its sentence before the one at ``i``, nearest first: a comma stands
    before "compared with".
    """
    return range(i - 1, max(i - 20, reading.sentence(i).start) - 1, -1)


def _last_amount(reading: Reading, i: int) -> Amount | None:
    """The amount of money or the share before the word at ``i`` where its time stands between the two: "2.1m
    for the first nine months of 2008 versus".
    """
    for j in _before(reading, i):
        amount = read_amount(reading.tokens, reading.words, j)
        if amount is not None and not amount.may_be_year:
            return amount if amount.is_money else None
    return None


def _names_loss(reading: Reading, places: range) -> bool:
    return any(_bare(reading.words[j]) in ("loss", "losses", "negative") for j in places)


def _is_of_results(reading: Reading, i: int) -> bool:
    """Whether the clause before the one that compares names what a company earns or loses."""
    return any(_bare(reading.words[j]) in _METRICS for j in _before(reading, i))


def _bare(word: str) -> str:
    """The last word of a phrase, which is what it is about: "operating profit"."""
    return word.rpartition(" ")[2]


def _ends(reading: Reading, j: int, end: int) -> Amount | None:
    """The amount that begins at ``j`` and ends before ``end``, a currency between the two or not."""
    amount = read_amount(reading.tokens, reading.words, j)
    if amount is None or amount.end == end:
        return amount
    return amount if amount.end == end - 1 and reading.words[end - 1] in CURRENCIES else None


def _rate(reading: Reading, i: int, old: Amount, new: Amount, valences: list[float]) -> None:
    near = (i, *_before(reading, i))
    named = [_bare(reading.words[j]) for j in near]
    is_moved = any(reading.words[j] in _MOVES for j in near)
    if not (is_moved or any(word in _METRICS for word in named)) or old.figure == new.figure:
        return
    burdens = any(_bare(reading.words[j]) in BURDENS or reading.words[j].startswith("loss ") for j in near)
    rises = (new.figure > old.figure) != burdens
    for j in near:
        if reading.words[j] in _MOVES or _bare(reading.words[j]) in _METRICS:
            valences[j] = 0.0
    valences[i] = UNDERSTOOD if rises else -UNDERSTOOD
