"""Journals and JSON on disk: what was said to be written is there, whatever was cut short when."""

import errno
import json
import os
import subprocess
import sys

import pytest

from scanward.disk import Journal, alone, read_json, whole_file, whole_folder, write_json
from scanward.errors import ArgumentError

LINES = [json.dumps({"number": number, "text": "Ä" * number}).encode() for number in range(4)]
APPEND = """
import sys, pathlib
from scanward.disk import Journal
path, name, largest = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) or None
journal = Journal(path, synced=False, largest=largest)
for number in range(300):
    journal.append(f"{name} {number}".encode())
"""


def test_a_journal_cut_at_any_byte_loses_the_cut_line_alone(tmp_path):
    path = tmp_path / "journal"
    Journal(path).append(*LINES)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        journal, before = Journal(path), whole[:cut].count(b"\n")
        assert journal.lines() == LINES[:before]
        journal.append(b'{"after": 1}')
        # What no reader saw before does not appear now, not even a line that lacked its end alone.
        assert journal.lines() == [*LINES[:before], b'{"after": 1}']
        assert journal.values() == [*map(json.loads, LINES[:before]), {"after": 1}]


def test_no_journal_is_an_empty_one_and_its_folder_is_made(tmp_path):
    journal = Journal(tmp_path / "new" / "journal", mode=0o600)
    assert journal.lines() == journal.values() == []
    journal.append(b"one", b"two")
    journal.append(b"three")
    assert journal.path.read_bytes() == b"one\ntwo\nthree\n"
    assert journal.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError):
        Journal(tmp_path / "no" / "such" / "journal").append(b"one")


def test_a_full_disk_is_said_and_costs_no_other_line(tmp_path, monkeypatch):
    journal, write = Journal(tmp_path / "journal"), os.write
    journal.append(b"one")
    monkeypatch.setattr("os.write", lambda handle, data: write(handle, data[:2]))
    with pytest.raises(OSError, match="No space left") as caught:
        journal.append(b"two")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert journal.lines() == [b"one"]
    journal.append(b"three")
    assert journal.path.read_bytes() == b"one\nthree\n"


def test_a_long_line_cut_short_is_cut_off_whole(tmp_path):
    journal, long = Journal(tmp_path / "journal"), b"x" * 200_000
    for before in (b"", b"one\n"):
        journal.path.write_bytes(before + long)
        journal.append(long)
        assert journal.path.read_bytes() == before + long + b"\n"


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_what_is_no_file_or_endless_is_refused_at_once(tmp_path, kind):
    journal = Journal(tmp_path / "journal")
    if kind == "pipe":
        os.mkfifo(journal.path)
    elif kind == "device":
        journal.path.symlink_to("/dev/zero")
    else:
        journal.path.touch()
        os.truncate(journal.path, 1 << 41)
    with pytest.raises(OSError, match="too large" if kind == "sparse" else "not a regular file"):
        journal.values()
    if kind != "sparse":
        with pytest.raises(OSError, match="not a regular file"):
            journal.append(b"one")


@pytest.mark.parametrize("largest", [0, 1 << 20])
def test_two_processes_add_whole_lines(tmp_path, largest):
    path = tmp_path / "journal"
    both = [subprocess.Popen([sys.executable, "-c", APPEND, path, name, str(largest)]) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    lines = Journal(path).lines()
    assert [line for line in lines if line[:1] == b"a"] == [b"a %d" % number for number in range(300)]
    assert sorted(lines) == sorted(b"%c %d" % (name, number) for name in b"ab" for number in range(300))


def test_two_processes_that_rotate_lose_none_of_the_last_lines(tmp_path):
    path, largest = tmp_path / "journal", 2000
    both = [subprocess.Popen([sys.executable, "-c", APPEND, path, name, str(largest)]) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    journal = Journal(path, largest=largest)
    files = [journal.older.read_bytes(), path.read_bytes()]
    assert largest <= len(files[0]) < largest + 10 and len(files[1]) < largest + 10
    for name in b"ab":
        numbers = [int(line[2:]) for line in b"".join(files).splitlines() if line[0] == name]
        assert numbers == list(range(300))[300 - len(numbers):]


def test_json_is_whole_and_kept_as_asked(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    write_json(path, {"a": 1}, mode=0o600)
    assert read_json(path) == {"a": 1} and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("data", [None, b"", b"[1]", b'{"a": 1', b"\xff", b"[" * 200_000])
def test_what_is_no_object_is_an_empty_one(tmp_path, data):
    if data is not None:
        (tmp_path / "state.json").write_bytes(data)
    assert read_json(tmp_path / "state.json") == {}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_full_disk_is_said_of_the_folder_that_was_asked_for(tmp_path, is_there):
    out = tmp_path / "out"
    if is_there:
        out.mkdir()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(ArgumentError) as caught, whole_folder(out, last="record.json") as draft, \
            whole_file(draft / "it.nii"):
        raise full
    assert str(caught.value).startswith(f"{out}/it.nii cannot be written (No space left on device)")
    assert not list(tmp_path.rglob("*.*"))


def test_who_was_killed_while_alone_keeps_nobody_waiting(tmp_path):
    path = tmp_path / "new" / ".lock"
    code = ("import sys, time\nfrom pathlib import Path\nfrom scanward.disk import alone\n"
            "with alone(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(600)\n")
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in\n"
        process.kill()
    assert path.exists()
    with alone(path):
        assert path.exists()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("planted", ["a link", "a folder"])
def test_what_lies_in_the_place_of_a_lock_is_one_sentence_and_stays(tmp_path, planted):
    path = tmp_path / ".lock"
    if planted == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.mkdir()
    with pytest.raises(ArgumentError, match="cannot be written"), alone(path):
        pass
    assert [found.name for found in tmp_path.iterdir()] == [".lock"]
