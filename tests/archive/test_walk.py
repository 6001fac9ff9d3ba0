"""The walk: every file once, in an order that does not depend on how it is stored, from wherever it goes on."""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanward.archive import walk as module
from scanward.archive.walk import Entry, walk
from scanward.errors import UnreadableError

NAME = st.text("ab.-~é", min_size=1, max_size=2).filter(lambda name: name not in (".", ".."))
TREE = st.recursive(st.none(), lambda inner: st.dictionaries(NAME, inner, max_size=5), max_leaves=25).map(
    lambda tree: tree or {})


class Shuffled:
    """A tree in memory, whose folders tell their entries in any order."""

    def __init__(self, tree):
        self._tree = tree

    def entries(self, folder):
        here = self._tree
        for name in folder.split("/") if folder else ():
            here = here[name]
        found = [Entry(inside is not None, name, len(name)) for name, inside in here.items()]
        return random.sample(found, len(found))


def files(tree, prefix=""):
    """By hand: files first, then folders, each by name."""
    own = [prefix + name for name in sorted(name for name, inside in tree.items() if inside is None)]
    return own + [path for name in sorted(name for name, inside in tree.items() if inside is not None)
                  for path in files(tree[name], f"{prefix}{name}/")]


def walked(found):
    return [f"{one.folder}/{entry.name}".removeprefix("/") for one in found for entry in one.files]


@pytest.fixture
def tight(monkeypatch, tmp_path):
    """Three entries fit into memory, two files of a folder are looked at together."""
    monkeypatch.setattr(module, "RUN", 3)
    monkeypatch.setattr(module, "TOGETHER", 2)
    return tmp_path


@given(TREE)
def test_every_file_once_and_the_same_rest_from_every_place(tree):
    """With nothing in memory but what must be, and from behind each place where a listing may have ended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RUN", 3)
        patch.setattr(module, "TOGETHER", 2)
        found = list(walk(Shuffled(tree), None, None))
        assert walked(found) == files(tree)
        assert all(len(one.files) <= 2 for one in found)
        for number, one in enumerate(found):
            assert list(walk(Shuffled(tree), (one.folder, one.before), None)) == found[number:]


def test_a_folder_that_may_not_be_searched_is_told_and_the_others_are_walked(tight):
    class Closed(Shuffled):
        def entries(self, folder):
            if folder == "b":
                raise UnreadableError("b may not be searched.")
            return super().entries(folder)

    found = list(walk(Closed({"a": {"x": None}, "b": {"y": None}, "c": {"z": None}}), None, tight))
    assert walked(found) == ["a/x", "c/z"] and [str(one.error) for one in found if one.error] == \
        ["b may not be searched."]


def test_a_folder_is_not_held_in_memory(tmp_path, monkeypatch):
    """30,000 entries take four megabytes; sorted by a thousand, a fourth of one and a buffer for each thousand."""
    monkeypatch.setattr(module, "RUN", 1000)
    monkeypatch.setattr(module, "TOGETHER", 1000)

    class Wide:
        def entries(self, folder):
            return (Entry(False, f"{n * 7919 % 30_000:08d}.dcm", 1) for n in range(30_000))

    tracemalloc.start()
    before, seen = "", 0
    for one in walk(Wide(), None, tmp_path):
        assert one.files[0].name > before and one.before == before
        before, seen = one.files[-1].name, seen + len(one.files)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 30_000 and peak < 1_200_000
