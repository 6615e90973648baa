"""What Redis has told of one stay of a process in the fleet says nothing of the next."""

from __future__ import annotations

from tbcache.limiter.allotment import Allotment
from tbcache.limiter.epoch import Epochs
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.stay import Stays
from tbcache.models import Limit
from tbcache.store.wire import Seen

EPOCH = "one"


def begin_again(stays: Stays) -> object:
    with stays.leaving():
        assert not stays.begin()
    assert stays.begin()
    return stays.current


def test_one_begins_only_when_all_have_left() -> None:
    """Two threads leave at the same moment, and one is done before the other."""
    stays = Stays()
    with stays.leaving():
        with stays.leaving():
            pass
        assert stays.current is None
        assert not stays.begin()
    assert stays.begin()


def test_who_is_there_already_begins_no_other() -> None:
    stays = Stays()
    stay = stays.current
    assert stays.begin()
    assert stays.current is stay


def test_a_child_of_one_that_leaves_is_there() -> None:
    """It never joined: what its parent was about to do is never over there."""
    stays = Stays()
    with stays.leaving():
        stays.renew()
        assert stays.current is not None
        assert not stays.has_left
        assert stays.begin()


def test_what_comes_of_the_last_stay_gives_nothing() -> None:
    stays = Stays()
    first = stays.current
    second = begin_again(stays)
    stays.receive(first)
    assert stays.has_left
    stays.receive(second)
    assert not stays.has_left


def test_a_part_of_one_source_is_none_of_another() -> None:
    """It had a part of both as it left, and Redis goes before the second is given back."""
    stays = Stays()
    first, second = (ProcessWindow(stays=stays) for _ in range(2))
    with stays.leaving():
        first.leave()
        second.leave()
    assert stays.begin()
    first.receive(Allotment(0.5, 0.5, {}, (Limit(6, 2.0),), 2, 0.0), first.report()[1])
    assert (first.has_left, second.has_left) == (False, True)
    assert second.mine(Limit(6, 2.0)) == 0


def test_what_was_replied_before_is_not_said_again() -> None:
    stays = Stays()
    epochs, first = Epochs(stays), stays.current
    epochs.set("news", Seen(EPOCH, 5), 0.0, first)
    assert epochs.known("news") == str(Seen(EPOCH, 5))
    second = begin_again(stays)
    # Nor where it is read late.
    assert epochs.learn("news", Seen(EPOCH, 9), 0.0, first)
    assert epochs.known("news") == str(Seen(EPOCH))
    assert epochs.last_seen_us("news") == 0
    # Redis has not heard of this stay yet: it has lost nothing.
    assert epochs.learn("news", Seen(EPOCH, 0), 0.0, second)
    assert epochs.learn("news", Seen(EPOCH, 3), 0.0, second)
    assert epochs.known("news") == str(Seen(EPOCH, 3))
    assert epochs.last_seen_us("news") == 3
    assert epochs.learn("news", Seen(EPOCH, 9), 0.0, first)
    assert epochs.known("news") == str(Seen(EPOCH, 3))
    assert not epochs.learn("news", Seen(EPOCH, 0), 0.0, second)
    assert not epochs.learn("news", Seen("two", 0), 0.0, first)


def test_a_new_stay_goes_by_what_it_is_replied_itself() -> None:
    """The server's clock was set back since the last one."""
    stays = Stays()
    epochs = Epochs(stays)
    epochs.set("news", Seen(EPOCH, 9), 0.0, stays.current)
    assert epochs.learn("news", Seen(EPOCH, 3), 0.0, begin_again(stays))
    assert epochs.known("news") == str(Seen(EPOCH, 3))


def test_one_that_has_left_says_nothing_of_when_it_was_heard() -> None:
    """It goes on asking, and Redis forgets it once more."""
    stays = Stays()
    epochs = Epochs(stays)
    with stays.leaving():
        epochs.set("news", Seen(EPOCH, 5), 0.0, None)
        assert epochs.known("news") == str(Seen(EPOCH))
