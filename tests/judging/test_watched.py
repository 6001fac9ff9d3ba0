"""Runs that no item ends: whatever it does to its process, every item has one answer."""

import os
import signal
import time

import pytest

from scanward.errors import ScanwardError, UnreadableError
from scanward.judging.watched import Limits, SetAsideError, Watched

LIMITS = Limits(seconds=5)


def odd():
    return act


def act(item):
    what, number = item
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "grow":
        held = [b"x" * 5 * 10**7 for _ in range(20)]
        time.sleep(60)
        return len(held)
    if what == "refuse":
        raise UnreadableError(f"{number} is damaged.")
    if what == "fault":
        return 1 // 0
    if what == "once" and not number.exists():
        number.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return what, number


def stillborn():
    os._exit(3)


def unmade():
    raise ScanwardError("Weights are missing; fetch them.")


def test_every_item_has_one_answer_whatever_it_does_to_its_process(tmp_path):
    items = [("good", 0), ("die", 1), ("stop", 2), ("refuse", 4), ("fault", 5), ("once", tmp_path / "x"),
             *(("good", n) for n in range(7, 20))]
    done = list(Watched(2, LIMITS).run(odd, iter(items)))
    assert sorted(map(str, (one.item for one in done))) == sorted(map(str, items))
    found = {one.item: one for one in done}
    assert all(found[item].answer() == item for item in items if item[0] == "good")
    once = found[items[5]]
    assert once.answer() == items[5] and once.tries == 2, "a death that does not come again is no fault of the item"
    for what, words in (("die", "its process died (SIGKILL)"), ("stop", "it took more than 5 seconds")):
        one = next(one for one in done if one.item[0] == what)
        assert isinstance(one.error, SetAsideError) and one.tries == 2
        assert str(one.error) == f"It was set aside after 2 tries: {words}; look at it by other means."
    assert isinstance(found["refuse", 4].error, UnreadableError) and found["refuse", 4].tries == 1
    assert isinstance(found["fault", 5].error, ZeroDivisionError) and found["fault", 5].tries == 2


def test_an_item_that_outgrows_its_memory_is_set_aside():
    done = {one.item[0]: one for one in Watched(1, Limits(mb=300)).run(odd, iter([("grow", 0), ("good", 1)]))}
    assert done["good"].answer() == ("good", 1) and done["grow"].tries == 2
    assert str(done["grow"].error) == \
        "It was set aside after 2 tries: it took more than 300 MB of memory; look at it by other means."


def test_what_there_is_not_yet_is_waited_for():
    def slowly():
        for n in range(3):
            yield from (None, None, ("good", n))

    assert [one.found[1] for one in Watched(1).run(odd, slowly())] == [0, 1, 2]


@pytest.mark.parametrize(("make", "words"), [(unmade, "Weights are missing"), (stillborn, "exit code 3")])
def test_a_process_that_cannot_begin_ends_the_run(make, words):
    with pytest.raises(ScanwardError, match=words):
        list(Watched(1).run(make, [("good", 1)]))


class Ready:
    """Work that notes what it is told to make ready, and which of it it is given."""

    def __init__(self):
        self.told = None

    def ahead(self, item):
        self.told, self.before = item, self.told
        if item and item[0] == "poison":
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, item):
        time.sleep(item[2])
        if item[0] == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        return item, self.told, self.before == item


def test_work_is_told_what_is_likely_to_come_next():
    items = [("good", n, 0.01) for n in range(12)]
    done = [one.answer() for one in Watched(2, LIMITS).run(Ready, iter(items))]
    assert sorted(item for item, _, _ in done) == items
    assert sum(ready for _, _, ready in done) >= 9, "most were ready when they were given"
    told = [told for _, told, _ in done if told is not None]
    assert len(set(told)) == len(told), "none is made ready twice where nothing goes wrong"


def test_what_is_ready_for_one_is_done_by_another_that_is_free():
    start = time.monotonic()
    items = [("good", 0, 6.0), ("good", 1, 1.0), *(("good", n, 0.01) for n in range(2, 6))]
    done = [one.answer()[0] for one in Watched(2).run(Ready, iter(items))]
    assert sorted(done) == items and done[-1] == items[0], "nothing waits for the slow one"
    assert time.monotonic() - start < 60


def test_what_kills_whoever_makes_it_ready_costs_nobody_an_answer():
    items = [("poison" if n == 5 else "good", n, 0.02) for n in range(12)]
    done = {one.item: one for one in Watched(2, LIMITS).run(Ready, iter(items))}
    assert len(done) == len(items)
    assert [item[1] for item, one in done.items() if one.error is not None] == [5]
    assert "its process died (SIGKILL)" in str(done["poison", 5, 0.02].error)
