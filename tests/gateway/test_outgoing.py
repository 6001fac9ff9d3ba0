"""The queue of results: nothing is lost, nothing is sent twice for no reason, whatever is killed when."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from scanward.delivery import spool
from scanward.delivery.outgoing import Outgoing
from scanward.delivery.spool import Parcel, Refused, Spool, Unreachable
from scanward.errors import ArgumentError
from scanward.inbox.ledger import Ledger
from scanward.settings import Destination


def to(peer, name="pacs"):
    return Destination(name, port=peer.port, aet=peer.aet)


def test_what_is_added_arrives_once(tmp_path, storescp, dicom):
    peer, told = storescp(), []
    outgoing = Outgoing(tmp_path / "root", lambda *facts: told.append(facts))
    files = [dicom.file(tmp_path / f"{n}.dcm") for n in range(2)]
    assert outgoing.run_once([to(peer)], "SCANWARD") is None
    assert outgoing.add("k-1", files, "pacs") and not outgoing.add("k-1", files, "pacs")
    for path in files:
        path.unlink()  # results of a study that is thrown away meanwhile
    assert outgoing.run_once([to(peer)], "SCANWARD") is None
    assert len(peer.received()) == 2 and told == [("k-1", "pacs", "sent", "")]
    # Delivered is delivered, also for a process that starts anew.
    assert not Outgoing(tmp_path / "root").add("k-1", [peer.received()[0]], "pacs")
    assert not [p for p in (tmp_path / "root" / "outgoing").iterdir() if p.is_dir()]


def test_a_destination_that_is_away_is_tried_again_later_and_later(tmp_path, port, dicom, monkeypatch):
    outgoing = Outgoing(tmp_path / "root")
    for number in range(3):
        outgoing.add(f"k-{number}", [dicom.file(tmp_path / "a.dcm")], "pacs")
    now = time.time()
    monkeypatch.setattr(spool.time, "time", lambda: now)
    waits = []
    for _ in range(14):
        waits.append(outgoing.run_once([Destination("pacs", port=port)], "SCANWARD"))
        now += waits[-1]
    assert 3.75 <= waits[0] <= 5 and 7.5 <= waits[1] <= 10 and 2700 <= waits[-1] <= 3600
    # One try for the destination, not one for each that waits.
    assert sum(parcel.tries for _, parcel in outgoing.spool.waiting()) == 14
    assert all("cannot be reached" in parcel.error for _, parcel in outgoing.spool.waiting())


def test_what_is_refused_for_good_is_put_aside_with_the_reason_and_can_be_sent_again(tmp_path, storescp, dicom):
    root, strict, good = tmp_path / "root", storescp("--refuse"), storescp()
    outgoing = Outgoing(root)
    path = dicom.file(tmp_path / "a.dcm")
    outgoing.add("k-1", [path], "pacs")
    assert outgoing.run_once([to(strict)], "SCANWARD") is None
    assert "rejected the association" in json.loads((root / "outgoing-failed/k-1/to.json").read_text())["error"]
    assert not outgoing.add("k-1", [path], "pacs")
    assert outgoing.spool.again("k-1") and not outgoing.spool.again("k-1")
    assert outgoing.run_once([to(good)], "SCANWARD") is None and len(good.received()) == 1


def test_one_destination_does_not_wait_for_another(tmp_path, storescp, port, dicom):
    peer, outgoing = storescp(), Outgoing(tmp_path / "root")
    path = dicom.file(tmp_path / "a.dcm")
    for name in ("away", "pacs", "unnamed"):
        outgoing.add(f"k-{name}", [path], name)
    wait = outgoing.run_once([Destination("away", port=port), to(peer)], "SCANWARD")
    assert len(peer.received()) == 1 and 3 <= wait <= 5
    left = dict(outgoing.spool.waiting())
    assert set(left) == {"k-away", "k-unnamed"} and "name no destination 'unnamed'" in left["k-unnamed"].error


def test_the_seconds_that_a_receiver_asks_for_are_kept_up_to_an_hour(tmp_path):
    queue = Spool(tmp_path, "q")
    asked = 60.0

    def busy(folder, parcel):
        raise Unreachable("Busy.", asked)

    queue.add("a", lambda folder: None, "x")
    assert 59 <= queue.deliver_due(busy) <= 60
    queue, asked = Spool(tmp_path, "p"), 1e9
    queue.add("a", lambda folder: None, "x")
    assert 3599 <= queue.deliver_due(busy) <= 3600


def test_a_fault_with_one_does_not_stop_the_others(tmp_path):
    queue, seen = Spool(tmp_path, "q"), []

    def deliver(folder, parcel):
        seen.append(folder.name)
        if folder.name == "b":
            raise ZeroDivisionError
        if folder.name == "c":
            raise Refused("Never.")

    for name in "abcd":
        queue.add(name, lambda folder: None, f"to-{name}")
    (tmp_path / "q" / "a" / "to.json").write_text("{")
    assert queue.deliver_due(deliver) > 0
    assert sorted(seen) == ["b", "c", "d"]
    assert [name for name, _ in queue.refused()] == ["a", "c"] and [name for name, _ in queue.waiting()] == ["b"]


def test_a_clock_that_was_set_back_keeps_nothing_for_years(tmp_path):
    queue = Spool(tmp_path, "q")
    queue.add("a", lambda folder: None, "x")
    (tmp_path / "q/a/to.json").write_text(json.dumps(vars(Parcel("x", 1, time.time() + 1e8, "", 0.0))))
    assert queue.deliver_due(lambda folder, parcel: None) is None


def test_a_clock_that_is_set_back_does_not_stop_the_sending(tmp_path, monkeypatch):
    def away(folder, parcel):
        raise Unreachable("away")

    queue, sent = Spool(tmp_path, "q"), []
    queue.add("a", lambda folder: None, "x")
    queue.deliver_due(away)
    past = time.time() - 86400
    monkeypatch.setattr(spool.time, "time", lambda: past)
    queue.deliver_due(lambda folder, parcel: sent.append(parcel.to))
    assert sent == ["x"]


def test_two_processes_do_not_deliver_at_the_same_time(tmp_path):
    first, second = Spool(tmp_path, "q"), Spool(tmp_path, "q")
    first.add("a", lambda folder: None, "x")
    begun, end, seen = threading.Event(), threading.Event(), []

    def slow(folder, parcel):
        begun.set()
        end.wait(20)

    thread = threading.Thread(target=first.deliver_due, args=(slow,))
    thread.start()
    assert begun.wait(20)
    assert second.deliver_due(lambda folder, parcel: seen.append(folder)) == spool.BUSY and not seen
    end.set()
    thread.join()
    assert second.deliver_due(lambda folder, parcel: seen.append(folder)) is None and not seen


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "x" * 200, "a\n"])
def test_an_identifier_is_a_plain_name(name, tmp_path):
    with pytest.raises(ArgumentError, match="no identifier"):
        Outgoing(tmp_path).add(name, [], "pacs")


def test_a_missing_file_and_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be written"):
        Outgoing(tmp_path).add("a", [tmp_path / "none.dcm"], "pacs")
    assert Outgoing(tmp_path).spool.waiting() == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written"):
        Outgoing(tmp_path / "file").add("a", [], "pacs")


def test_a_ledger_forgets_a_torn_line_and_nothing_else(tmp_path):
    path = tmp_path / "sent.log"
    Ledger(path).add("a", "b")
    with path.open("ab") as file:
        file.write(b"00000000 half")
    reader, writer = Ledger(path), Ledger(path)
    assert reader.has("a") and not reader.has("half")
    writer.add("c")
    assert reader.has("c") and reader.has("b") and not reader.has("half")


def test_a_ledger_stays_small_and_knows_the_last_ones(tmp_path):
    ledger, reader = Ledger(tmp_path / "x", largest=1000), Ledger(tmp_path / "x", largest=1000)
    for number in range(300):
        ledger.add(f"name-{number}")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2200
    assert all(reader.has(f"name-{number}") for number in range(260, 300)) and not reader.has("name-0")


SENDER = """
import sys, time, pathlib, os
from scanward.delivery.spool import Spool
root, wanted = pathlib.Path(sys.argv[1]), int(sys.argv[2])
queue = Spool(root, "q")
def deliver(folder, parcel):
    # A receiver that knows what it has: delivering twice is allowed, and counted.
    with open(root / "received", "ab") as file:
        file.write(f"{folder.name} {(folder / 'data').read_text()}\\n".encode())
def fill(text):
    return lambda folder: (folder / "data").write_text(text)
while True:
    for number in range(wanted):
        queue.add(f"id-{number}", fill(f"payload {number}"), "x")
        if number % 4 == 0:
            queue.deliver_due(deliver)
    queue.deliver_due(deliver)
    (root / "finished").write_text("")
"""


def test_eight_kills_at_random_moments_lose_nothing(tmp_path):
    wanted, chance, kills = 150, random.Random(7), 0
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def start():
        return subprocess.Popen([sys.executable, "-c", SENDER, str(tmp_path), str(wanted)], env=environment)

    while kills < 8:
        process = start()
        while not (tmp_path / "q").exists():
            time.sleep(0.01)
        time.sleep(0.25 + chance.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    (tmp_path / "finished").unlink(missing_ok=True)
    process = start()
    end = time.monotonic() + 60
    while not (tmp_path / "finished").exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    lines = (tmp_path / "received").read_text().splitlines()
    assert set(lines) == {f"id-{number} payload {number}" for number in range(wanted)}
    # Each kill can only repeat the one delivery that it cut off.
    assert len(lines) - wanted <= kills
    print(f"{wanted} parcels, {kills} kills, {len(set(lines))} arrived, {len(lines) - wanted} arrived twice")
    assert Spool(tmp_path, "q").waiting() == []
