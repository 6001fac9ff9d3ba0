"""The log of seals: nothing leaves it unnoticed, and no interruption costs what it acknowledged."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pytest
from sealable import FILM, made, rewritten

from scanward.errors import ArgumentError, UnreadableError
from scanward.formats import Source
from scanward.formats.content import read_content
from scanward.seals.copies import copy_path, read_copy
from scanward.seals.files import hold, read_seal, resume, seal_file, verify_seal
from scanward.seals.log import Head, Log
from scanward.seals.merkle import consistent, included, root_of
from scanward.seals.record import seal_of
from scanward.seals.signing import signer_of


@pytest.fixture
def seals(site, film):
    """As many seals as one likes, of images that the log takes for different ones."""
    content = read_content(Source((film,), "file"))

    def several(count: int, first: int = 0):
        return [seal_of(dataclasses.replace(content, study={"SOPInstanceUID": f"1.{n}"}), f"{n}.dcm", "now", site)
                for n in range(first, first + count)]

    return several


def test_every_seal_is_proved_by_a_head_and_no_other(seals, site, tmp_path):
    log = Log(tmp_path / "log")
    first = [log.add(seal) for seal in seals(5)]
    old = log.head(site, "Monday")
    more = [log.add(seal) for seal in seals(3, 5)]
    new = log.head(site, "Tuesday")
    assert [entry.index for entry in (*first, *more)] == list(range(8))
    for entry in (*first, *more):
        assert included(entry.leaf, entry.index, 8, log.inclusion(entry.index), new.root)
    assert consistent(5, 8, log.consistency(5), old.root, new.root)
    assert log.check([old, new], [site.certificate]) == []


def test_the_same_seal_is_added_once(seals, tmp_path):
    log = Log(tmp_path / "log")
    (seal,) = seals(1)
    assert log.add(seal) == log.add(seal)
    assert len(log.entries()) == 1


@pytest.mark.parametrize("change", ["alter", "drop", "swap"])
def test_what_is_altered_or_taken_out_breaks_a_head_that_another_kept(seals, site, tmp_path, change):
    log = Log(tmp_path / "log")
    for seal in seals(4):
        log.add(seal)
    head = log.head(site, "Monday")
    path = log.folder / "entries.jsonl"
    lines = path.read_text().splitlines()
    if change == "alter":  # as one who knows the format would: with a leaf that fits
        other = Log(tmp_path / "other")
        for seal in seals(4, 10):
            other.add(seal)
        lines[2] = (other.folder / "entries.jsonl").read_text().splitlines()[2]
    elif change == "drop":
        lines.pop()
    else:
        lines[1], lines[2] = lines[2], lines[1]
    path.write_text("\n".join(lines) + "\n")
    (log.folder / "heads.jsonl").unlink()
    (said,) = log.check([head], [site.certificate])
    words = {"alter": "some were altered", "drop": "entries were taken out", "swap": "altered at entry 1"}
    assert words[change] in said


def test_a_head_by_a_stranger_vouches_for_nothing(seals, site, tmp_path):
    log = Log(tmp_path / "log")
    log.add(*seals(1))
    log.head(signer_of(bytes(32)), "Monday")
    (said,) = log.check([], [site.certificate])
    assert "not signed by the site" in said


def test_lines_that_were_cut_short_are_none(seals, site, tmp_path):
    log = Log(tmp_path / "log")
    one, two = seals(2)
    log.add(one)
    path = log.folder / "entries.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole + whole[:length])
        assert len(log.entries()) == 1
        assert log.add(two).index == 1
        assert [entry.name for entry in log.entries()] == ["0.dcm", "1.dcm"]


def test_an_entry_that_lost_its_end_alone_spoils_no_later_one(seals, site, tmp_path):
    """As a disk leaves it that is full one byte too early: it was not acknowledged."""
    log = Log(tmp_path / "log")
    first, cut, later = seals(3)
    log.add(first)
    log.add(cut)
    path = log.folder / "entries.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert [log.add(seal).index for seal in (later, cut)] == [1, 2]
    assert [entry.name for entry in log.entries()] == ["0.dcm", "2.dcm", "1.dcm"]
    assert log.check([log.head(site, "Monday")], [site.certificate]) == []


@pytest.mark.parametrize("name", ["entries.jsonl", "heads.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_a_log_that_never_ends_is_one_sentence(run, seals, site, tmp_path, name, kind):
    log, key = Log(tmp_path / "log"), tmp_path / "site.key"
    assert run("key", key)[0] == 0
    log.add(*seals(1))
    log.head(site, "Monday")
    path = log.folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 1 << 41)
    code, out, err = run("log", "check", log.folder, "--key", key)
    assert (code, out, f"{path} cannot be read" in err) == (1, "", True)
    assert "not a regular file" in err or "too large" in err.lower()
    if name == "entries.jsonl":
        assert run("log", "list", log.folder)[0] == run("log", "head", log.folder, "--key", key)[0] == 2


ADDING = """
import dataclasses, sys
from pathlib import Path
from scanward.formats import Source
from scanward.formats.content import read_content
from scanward.seals.log import Log
from scanward.seals.record import seal_of
from scanward.seals.signing import signer_of
content, site = read_content(Source((Path(sys.argv[1]),), "file")), signer_of(bytes(range(32)))
log = Log(Path(sys.argv[2]))
for n in range(10_000):
    seal = seal_of(dataclasses.replace(content, study={"SOPInstanceUID": f"{sys.argv[3]}.{n}"}), "x", "now", site)
    log.add(seal)
    print(seal.root.hex(), flush=True)
"""


def test_a_kill_loses_nothing_that_was_acknowledged(film, site, tmp_path):
    acknowledged = []
    for run in range(3):
        two = [subprocess.Popen([sys.executable, "-c", ADDING, str(film), str(tmp_path / "log"), f"{run}{n}"],
                                stdout=subprocess.PIPE, text=True) for n in range(2)]
        for process in two:
            acknowledged.append(process.stdout.readline().strip())
        time.sleep(0.3)
        for process in two:
            process.send_signal(signal.SIGKILL)
            acknowledged += process.communicate()[0].split("\n")[:-1]
    entries = Log(tmp_path / "log").entries()
    assert {line for line in acknowledged if len(line) == 64} <= {entry.seal for entry in entries}
    assert len(acknowledged) >= 6
    assert len({entry.seal for entry in entries}) == len(entries)


def test_an_older_version_in_the_place_of_a_newer_is_found(film, site, tmp_path):
    log, source = Log(tmp_path / "log"), Source((film,), "file")
    old = read_seal(seal_file(source, site, tmp_path / "old", log))
    before = film.read_bytes()
    values = (read_content(source).values[0] ^ 1).astype("<u2")
    made(values, "1.2.6", SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2", Modality="MG", ImagerPixelSpacing=[0.1, 0.1],
         ImageLaterality="L", ViewPosition="MLO", SeriesInstanceUID="1.2.44").save_as(film, enforce_file_format=True)
    new = read_seal(seal_file(source, site, tmp_path / "new", log))
    assert verify_seal(source, new, [site.certificate], log=log).label == "authentic"
    film.write_bytes(before)
    answer = verify_seal(source, old, [site.certificate], log=log)
    assert (answer.voxels.label, answer.label) == ("authentic", "inconclusive")
    assert "a newer version on" in answer.reason
    with pytest.raises(UnreadableError, match="does not know the seal"):
        verify_seal(source, read_seal(seal_file(source, site, tmp_path / "unknown")), [site.certificate], log=log)


@pytest.mark.parametrize("index", ["1e999", "-1e999", "null", "[]", '"x"'])
def test_an_entry_of_no_number_is_a_sentence(seals, tmp_path, index):
    log = Log(tmp_path / "log")
    log.add(seals(1)[0])
    path = log.folder / "entries.jsonl"
    path.write_text(path.read_text().replace('"index": 0', f'"index": {index}'))
    with pytest.raises(UnreadableError, match="altered at entry 0"):
        log.entries()


def test_questions_out_of_range_are_one_sentence(seals, tmp_path):
    log = Log(tmp_path / "log")
    log.add(*seals(1))
    for asked in (lambda: log.inclusion(1), lambda: log.inclusion(0, 2), lambda: log.consistency(0),
                  lambda: log.consistency(2)):
        with pytest.raises(ArgumentError, match="log has"):
            asked()
    assert root_of([entry.leaf for entry in log.entries()]) == log.entries()[0].leaf
    assert Head(1, b"", "now").to_json()["size"] == json.loads("1")


def test_a_log_that_was_cut_behind_its_own_head_vouches_for_nothing(film, site, tmp_path):
    log, source = Log(tmp_path / "log"), Source((film,), "file")
    old = read_seal(seal_file(source, site, tmp_path / "old", log))
    seal_file(source, site, tmp_path / "new", log)
    log.head(site, "Monday")
    path = log.folder / "entries.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    answer = verify_seal(source, old, [site.certificate], log=log)
    assert (answer.label, "entries were taken out" in answer.reason) == ("inconclusive", True)


def test_a_seal_that_cannot_be_written_is_in_no_log(film, site, tmp_path):
    log, source = Log(tmp_path / "log"), Source((film,), "file")
    kept = read_seal(seal_file(source, site, tmp_path / "seals", log))
    for folder in (film, film / "below", tmp_path / ("n" * 300)):
        with pytest.raises(ArgumentError):
            seal_file(source, site, folder, log, again=True)
    assert len(log.entries()) == 1
    assert verify_seal(source, kept, [site.certificate], log=log).label == "authentic"


def test_of_several_who_seal_an_image_at_once_one_writes_seal_copy_and_entry(film, site, tmp_path):
    log, source, master = Log(tmp_path / "log"), Source((film,), "file"), bytes(range(32))
    start = threading.Barrier(4)

    def sealing() -> str:
        start.wait()
        try:
            return str(seal_file(source, site, log=log, master=master))
        except ArgumentError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        said = sorted(one.result() for one in [pool.submit(sealing) for _ in range(4)])
    path = film.with_name("film.dcm.seal")
    assert said[0] == str(path)
    assert all("exists already and is not overwritten" in sentence for sentence in said[1:])
    assert sorted(found.name for found in film.parent.iterdir()) == ["film.dcm", "film.dcm.seal", "film.dcm.seal.copy",
                                                                     "log"]
    seal = read_seal(path)
    assert [entry.seal for entry in log.entries()] == [seal.root.hex()]
    assert verify_seal(source, seal, [site.certificate], log=log).label == "authentic"
    read_copy(copy_path(path), seal, [master])  # and not that of a seal which nobody has


def test_versions_that_are_sealed_at_once_follow_each_other(film, site, tmp_path):
    source, start = Source((film,), "file"), threading.Barrier(3)

    def sealing() -> Path:
        start.wait()
        return seal_file(source, site, again=True)

    with ThreadPoolExecutor(3) as pool:
        paths = [one.result() for one in [pool.submit(sealing) for _ in range(3)]]
    assert sorted(read_seal(path).number for path in paths) == [1, 2, 3]


KILLED = """
import os, sys
from pathlib import Path
from scanward import disk
from scanward.formats import Source
from scanward.seals import log
from scanward.seals.files import seal_file
from scanward.seals.signing import signer_of
if sys.argv[3] == "name":
    disk._place = lambda *_: os._exit(9)
else:
    log.Log.add = lambda *_: os._exit(9)
seal_file(Source((Path(sys.argv[1]),), "file"), signer_of(bytes(range(32))), log=log.Log(Path(sys.argv[2])),
          again=len(sys.argv) > 4)
"""


def killed(film, log, before, *again):
    command = [sys.executable, "-c", KILLED, str(film), str(log.folder), before, *again]
    assert subprocess.run(command, check=False).returncode == 9


def test_what_was_killed_between_entry_and_seal_is_sealed_again(film, site, tmp_path):
    log, source = Log(tmp_path / "log"), Source((film,), "file")
    killed(film, log, "name")
    assert (len(log.entries()), film.with_name("film.dcm.seal").exists()) == (0, False)
    killed(film, log, "entry")
    assert (len(log.entries()), film.with_name("film.dcm.seal").exists()) == (0, True)
    seal = read_seal(resume(source, site, log=log))
    assert verify_seal(source, seal, [site.certificate], log=log).label == "authentic"
    assert [path.name for path in film.parent.glob("*.seal*")] == ["film.dcm.seal"]
    assert not list(film.parent.glob(".*.lock"))


@pytest.mark.parametrize("before", ["name", "entry"])
@pytest.mark.parametrize("kind", ["film", "picture"])
def test_a_killed_version_makes_no_acknowledged_one_old(film, site, tmp_path, before, kind):
    path = film if kind == "film" else tmp_path / "a.png"
    if kind == "picture":
        assert cv2.imwrite(str(path), FILM)
    log, source = Log(tmp_path / "log"), Source((path,), "file")
    seal_file(source, site, log=log)
    killed(path, log, before, "again")
    assert len(list(tmp_path.glob("*.seal"))) == (1 if before == "name" else 2)
    held = hold(source, [site.certificate], history=log.history([site.certificate]))
    assert (held.answer.label, held.seal.number) == ("authentic", 1)
    sealed = read_seal(seal_file(source, site, log=log, again=True))
    held = hold(source, [site.certificate], history=log.history([site.certificate]))
    assert (held.answer.label, held.seal.root) == ("authentic", sealed.root)
    numbers = [entry.version.number for entry in log.entries()]
    assert numbers == list(range(1, len(list(tmp_path.glob("*.seal"))) + 1)), "one entry of every seal that lies there"


def test_an_old_picture_is_old_though_the_version_that_followed_was_killed(site, tmp_path):
    path = tmp_path / "a.png"
    log, source = Log(tmp_path / "log"), Source((path,), "file")
    assert cv2.imwrite(str(path), FILM)
    seal_file(source, site, log=log)
    assert cv2.imwrite(str(path), FILM ^ 1)
    killed(path, log, "entry", "again")
    seal_file(source, site, log=log, again=True)
    assert cv2.imwrite(str(path), FILM)
    for number in (2, 3):
        (tmp_path / f"a.png.{number}.seal").unlink()
    answer = hold(source, [site.certificate], history=log.history([site.certificate])).answer
    assert (answer.label, "a newer version on" in answer.reason) == ("inconclusive", True)


def test_what_is_sealed_late_in_a_log_makes_no_newer_seal_old(film, site, tmp_path):
    """An earlier version that was sealed without the log, put back with its seal, and sealed by a second run."""
    log, source, before = Log(tmp_path / "log"), Source((film,), "file"), film.read_bytes()
    seal_file(source, site)
    rewritten(film, lambda data: setattr(data, "PixelData", bytes([data.PixelData[0] ^ 1]) + data.PixelData[1:]))
    new = seal_file(source, site, again=True)
    log.add(read_seal(new))
    away, now = new.read_bytes(), film.read_bytes()
    new.unlink()
    film.write_bytes(before)
    assert resume(source, site, log=log) is None
    film.write_bytes(now)
    new.write_bytes(away)
    assert hold(source, [site.certificate], history=log.history([site.certificate])).answer.label == "authentic"
