"""The next image's files come while one is judged: two at most, none left behind, and no hang of one is another's."""

import os
import threading
import time
from contextlib import contextmanager

import pytest

from scanward.archive.ahead import Ahead
from scanward.archive.fetching import fetching
from scanward.archive.unit import Unit
from scanward.errors import UnreadableError
from scanward.formats import Source

A, B, C = (Unit((name,), 1) for name in "abc")


class Slow:
    """Files that come when they are let come."""

    def __init__(self):
        self.open = {unit: threading.Event() for unit in (A, B, C)}
        self.begun, self.held = [], []

    @contextmanager
    def fetched(self, unit):
        self.begun.append(unit)
        if not self.open[unit].wait(30):
            raise UnreadableError("It never came.")
        with fetching() as folder:
            self.held.append(folder)
            yield Source((os.path.join(folder, unit.parts[0]),), "file")


@pytest.fixture
def slow(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Slow()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_follows_comes_while_one_is_judged(slow, tmp_path):
    files = Ahead(slow)
    slow.open[A].set()
    files.following = B
    with files.fetched(A) as source:
        assert source.paths[0].endswith("a")
        until(lambda: slow.begun == [A, B])
        slow.open[B].set()
        until(lambda: len(os.listdir(tmp_path)) == 2)
    assert len(os.listdir(tmp_path)) == 1
    files.following = None
    with files.fetched(B):
        assert slow.begun == [A, B], "it is not fetched twice"
    files.close()
    assert os.listdir(tmp_path) == []


def test_what_somebody_else_took_is_let_go_of_though_it_hangs(slow, tmp_path):
    files = Ahead(slow)
    for unit in (A, C):
        slow.open[unit].set()
    files.following = B
    with files.fetched(A):
        until(lambda: B in slow.begun)
    files.following = None
    with files.fetched(C) as source:
        assert source.paths[0].endswith("c")
    slow.open[B].set()
    files.close()
    until(lambda: len(slow.held) == 3 and os.listdir(tmp_path) == [])


def test_an_error_is_told_of_its_own_unit_and_each_time(slow):
    slow.open = dict.fromkeys((A, B, C), slow.open[A])
    slow.open[A].set()
    good = slow.fetched

    @contextmanager
    def fetched(unit):
        if unit == B:
            raise UnreadableError("B is gone.")
        with good(unit) as source:
            yield source

    slow.fetched = fetched
    files = Ahead(slow)
    files.following = B
    with files.fetched(A):
        time.sleep(0.05)
    files.following = C
    with pytest.raises(UnreadableError, match="B is gone"), files.fetched(B):
        pass
    with files.fetched(C) as source:
        assert source.paths[0].endswith("c")
    files.close()
