"""Runs over many items: in order or as done, drawn lazily, with every fault told, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from itertools import count

import pytest

from scanward.errors import ScanwardError
from scanward.judging.batch import AHEAD, Processes, Serial, runner


def squares():
    return lambda number: number * number


def inverses():
    def inverse(number):
        return 1 / number

    return inverse


def pids():
    return lambda _: os.getpid()


def waiters():
    def wait(path):
        while path and not path.exists():
            time.sleep(0.05)

    return wait


def quitters():
    return lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == 3 else number


def unmade():
    raise ScanwardError("Weights are missing; fetch them.")


class Counted:
    """An endless listing that knows how far it was read."""

    def __init__(self):
        self.drawn = 0

    def __iter__(self):
        for number in count():
            self.drawn += 1
            yield number


@pytest.mark.parametrize(("runs", "ahead"), [(Serial(), 0), (Processes(2), 2 * AHEAD)])
def test_an_endless_listing_is_drawn_no_further_than_it_is_worked_off(runs, ahead):
    listing = Counted()
    found = runs.run(squares, listing)
    assert [next(found).answer() for _ in range(5)] == [0, 1, 4, 9, 16]
    assert listing.drawn <= 5 + ahead
    found.close()


@pytest.mark.parametrize("runs", [Serial(), Processes(2)])
def test_answers_come_in_order_with_their_items_and_one_that_fails_stops_no_other(runs):
    done = list(runs.run(inverses, [4, 0, *range(1, 16)]))
    assert [d.item for d in done] == [4, 0, *range(1, 16)]
    assert [d.answer() for d in done if not d.error] == [1 / n for n in (4, *range(1, 16))]
    assert [d.item for d in done if d.error] == [0]
    with pytest.raises(ZeroDivisionError) as caught:
        done[1].answer()
    if isinstance(runs, Processes):
        assert "in inverse" in caught.value.__notes__[0]  # where it happened is told, too


@pytest.mark.parametrize("runs", [Serial(), Processes(2)])
def test_what_every_item_would_meet_ends_the_run(runs):
    with pytest.raises(ScanwardError, match="Weights are missing"):
        list(runs.run(unmade, range(3)))


def test_a_process_that_is_killed_is_one_sentence():
    with pytest.raises(ScanwardError, match="worker process died"):
        list(Processes(2).run(quitters, range(20)))


def test_one_worker_is_this_process_and_two_are_not():
    assert [done.answer() for done in runner(1).run(pids, range(3))] == [os.getpid()] * 3
    assert os.getpid() not in [done.answer() for done in runner(2).run(pids, range(3))]


def test_a_slow_item_holds_up_no_other_where_the_order_does_not_matter(tmp_path):
    signal_of_the_others = tmp_path / "done"
    done = Processes(2).run(waiters, [signal_of_the_others, None, None, None], in_order=False)
    assert [next(done).item for _ in range(3)] == [None] * 3
    signal_of_the_others.touch()
    assert [one.item for one in done] == [signal_of_the_others]


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_no_process_outlives_the_run(how, tmp_path):
    """Whether it is interrupted in a terminal or its parent dies, however long their items take."""
    (tmp_path / "endless.py").write_text(
        "import os, time\nfrom pathlib import Path\nfrom scanward.judging.batch import Processes\n"
        "def work(item):\n    Path(f'{os.getpid()}.child').touch()\n    time.sleep(600)\n"
        "def make():\n    return work\n"
        "if __name__ == '__main__':\n    list(Processes(2).run(make, range(9)))\n")
    parent = subprocess.Popen([sys.executable, "endless.py"], cwd=tmp_path, stderr=subprocess.PIPE)

    def children():
        return [int(path.stem) for path in tmp_path.glob("*.child")]

    _until(lambda: len(children()) == 2)
    parent.send_signal(signal.SIGINT if how == "interrupted" else signal.SIGKILL)
    parent.communicate(timeout=60)
    _until(lambda: not any(_lives(child) for child in children()))


def _until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


HEARD_AS_A_PROCESS_STARTS = """
import signal, sys, threading, time
from multiprocessing import resource_tracker, util
from scanward.judging.batch import Processes

def make():
    return abs

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    other, spawn = threading.Event(), util.spawnv_passfds
    thread = threading.Thread(target=other.wait, daemon=True)
    thread.start()
    def heard(*started):
        pid = spawn(*started)
        signal.pthread_kill(thread.ident, signal.SIGINT)  # as the kernel may choose any thread
        time.sleep(0.1)
        return pid
    run = Processes(2).run(make, range(9))
    resource_tracker.ensure_running()
    util.spawnv_passfds = heard
    try:
        list(run)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_an_interrupt_as_a_process_starts_ends_the_run_without_a_word(tmp_path):
    (tmp_path / "heard.py").write_text(HEARD_AS_A_PROCESS_STARTS)
    ended = subprocess.run([sys.executable, "heard.py"], check=False, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                           timeout=60)
    assert ended.returncode == 130
    assert ended.stderr == ""
