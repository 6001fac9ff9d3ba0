"""Archives that fsspec reaches, with a store that hangs and one that fails now and then among them."""

import time

import fsspec
import pytest
from archives import listed, noise, rows
from fsspec.implementations.local import LocalFileSystem
from objects import ct_files

from scanward.archive.run import Run
from scanward.archive.store import Store
from scanward.archive.work import Judging
from scanward.judging.watched import Limits, Watched


class Bad(LocalFileSystem):
    """Whose second file never comes, and whose every third answer is an error."""

    protocol = "bad"
    calls = 0

    def _failing(self):
        type(self).calls += 1
        if type(self).calls % 3 == 0:
            raise ConnectionResetError("The other side hung up")

    def ls(self, path, detail=False, **options):
        self._failing()
        return super().ls(path, detail, **options)

    def cat_ranges(self, *given, **options):
        self._failing()
        return super().cat_ranges(*given, **options)

    def cat_file(self, path, start=None, end=None, **options):
        return LocalFileSystem().cat_file(path, start, end)

    def open(self, path, *given, **options):
        self._failing()
        if path.endswith("2.png"):
            time.sleep(1000)
        return super().open(path, *given, **options)


class BadStore(Store):
    """Which the processes of a run know by this module."""


fsspec.register_implementation("bad", Bad)


@pytest.fixture
def films(tmp_path):
    for number in (1, 2):
        noise(tmp_path / "in" / "deep" / f"{number}.png", number, side=100)
    ct_files(tmp_path / "in" / "chest", 2)
    return tmp_path / "in"


def test_a_file_that_hangs_is_set_aside_and_errors_are_asked_again(films, tmp_path):
    out = tmp_path / "out"
    run = Run(out, Judging(BadStore(f"bad://{films}"), "copy-move"))
    counts = run.go(Watched(1, Limits(seconds=6)), lambda counts: None)
    found = rows(out)
    assert counts.images == len(found) == listed(out) == 3
    assert (counts.errors, counts.aside) == (2, 1), "the method judges no CT, which is an error as it is of a scan"
    assert found["deep/1.png"]["label"] == "authentic" and found["chest/0000.dcm"]["files"] == 2
    hung = found["deep/2.png"]
    assert hung["label"] == "inconclusive" and hung["attempts"] == 2
    assert hung["error"] == "It was set aside after 2 tries: it took more than 6 seconds; look at it by other means."
    assert [row["aside"] for row in found.values()] == [row is hung for row in found.values()]


def test_a_url_is_answered_as_the_folder_it_names(films, tmp_path, run):
    answers = []
    for number, source in enumerate((films, f"file://{films}")):
        out = tmp_path / str(number)
        assert run("archive", source, "-o", out, "--method", "copy-move", "--workers", 1)[0] == 2
        answers.append({row["unit"]: (row["label"], row["score"], row["content"], row["files"], row["path"].split(
            "/")[-1]) for row in rows(out).values()})
    assert answers[0] == answers[1] and len(answers[0]) == 3
