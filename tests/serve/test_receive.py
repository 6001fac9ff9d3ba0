"""The C-STORE SCP with DCMTK's storescu and with peers that mean no good."""

import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest
from pynetdicom import AE, AllStoragePresentationContexts

from scanward.errors import ArgumentError
from scanward.serve.config import Node, Tls
from scanward.serve.contexts import server_context
from scanward.serve.inbox import Inbox
from scanward.serve.receive import Receiver, take_file

pytestmark = pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK is not installed")
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture
def start(tmp_path):
    started = []

    def _start(free_mb=0, **settings):
        node = Node(port=0, **settings)
        said = []
        inbox = Inbox(tmp_path / "in box", free_mb=free_mb)
        receiver = Receiver(node, inbox, server_context(node.tls), lambda *what, **facts: said.append((what, facts)))
        receiver.inbox, receiver.said = inbox, said
        started.append(receiver)
        return receiver

    yield _start
    for receiver in started:
        receiver.stop()


def storescu(receiver, *paths, called="SCANWARD", calling="STORESCU", options=()):
    return subprocess.run(["storescu", "-v", "-to", "20", "-aet", calling, "-aec", called, *options, "127.0.0.1",
                           str(receiver.port), *map(str, paths)], capture_output=True, text=True, check=False)


def stored(receiver):
    return sorted(p for p in (receiver.inbox.root / "incoming").rglob("*.dcm"))


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_objects_are_on_disk_when_they_are_acknowledged_and_decode_to_the_same_pixels(start, dicom, tmp_path):
    import pydicom

    receiver = start()
    path = dicom.file(tmp_path / "film one.dcm")
    done = storescu(receiver, path, path)
    assert done.returncode == 0, done.stderr
    (kept,) = stored(receiver)
    assert (pydicom.dcmread(kept).pixel_array == pydicom.dcmread(path).pixel_array).all()
    wait_for(lambda: any(what[0] == "objects.stored" for what, _ in receiver.said))
    facts = next(facts for what, facts in receiver.said if what[0] == "objects.stored")
    assert (facts["aet"], facts["stored"], facts["key"]) == ("STORESCU", 2, kept.parent.parent.name)
    assert "Doe" not in str(receiver.said)


@pytest.mark.parametrize(("settings", "options"), [
    ({"allow": ("MODALITY",)}, {}), ({}, {"called": "OTHER"}), ({"allow": ("STORESCU",)}, {"calling": "EVIL"})])
def test_strangers_are_refused(start, dicom, tmp_path, settings, options):
    receiver = start(**settings)
    done = storescu(receiver, dicom.file(tmp_path / "a.dcm"), **options)
    assert done.returncode != 0
    assert "Rejected" in done.stderr
    assert not stored(receiver)
    wait_for(lambda: ("association.rejected", "minor") in [what for what, _ in receiver.said])


def test_whom_the_list_names_may_send(start, dicom, tmp_path):
    receiver = start(allow=("MODALITY", "STORESCU"))
    assert storescu(receiver, dicom.file(tmp_path / "a.dcm")).returncode == 0


def test_mutual_tls_lets_in_who_has_a_certificate_and_nobody_else(start, dicom, tmp_path, certificates):
    receiver = start(tls=Tls(certificates.cert, certificates.key, certificates.ca), idle_seconds=2)
    path = dicom.file(tmp_path / "a.dcm")
    trust = ("+cf", str(certificates.ca))
    good = storescu(receiver, path, options=("+tls", str(certificates.client_key), str(certificates.client_cert),
                                             *trust))
    assert good.returncode == 0, good.stderr
    assert storescu(receiver, path).returncode != 0  # plaintext
    assert storescu(receiver, path, options=("+tla", *trust)).returncode != 0  # no certificate
    assert storescu(receiver, path, options=("+tls", str(certificates.other_key), str(certificates.other_cert),
                                             *trust)).returncode != 0
    assert len(stored(receiver)) == 1


def test_one_silent_peer_on_a_tls_port_keeps_nobody_waiting(start, dicom, tmp_path, certificates):
    receiver = start(tls=Tls(certificates.cert, certificates.key), idle_seconds=30)
    with socket.create_connection(("127.0.0.1", receiver.port)):
        done = storescu(receiver, dicom.file(tmp_path / "a.dcm"), options=("+tla", "+cf", str(certificates.ca)))
        assert done.returncode == 0, done.stderr


def test_a_claim_of_four_gigabytes_with_a_short_body_is_cut_off(start, dicom, tmp_path):
    receiver = start(idle_seconds=30)
    for kind in (1, 4):
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as peer:
            peer.sendall(struct.pack(">BBL", kind, 0, 2**32 - 1) + b"\0" * 1000)
            assert peer.recv(100) == b"" or peer.recv(100) == b""
    assert storescu(receiver, dicom.file(tmp_path / "a.dcm")).returncode == 0


def test_an_object_beyond_the_limit_is_cut_off_before_it_is_whole(start, dicom, tmp_path):
    receiver = start(largest_mb=1)
    done = storescu(receiver, dicom.file(tmp_path / "large.dcm", shape=(1024, 1024)))
    assert done.returncode != 0
    assert not stored(receiver)
    wait_for(lambda: "larger" in str(receiver.said))
    assert storescu(receiver, dicom.file(tmp_path / "small.dcm")).returncode == 0


def test_a_full_disk_is_out_of_resources_and_recovers(start, dicom, tmp_path, monkeypatch):
    receiver = start(free_mb=10**9)
    done = storescu(receiver, dicom.file(tmp_path / "a.dcm"))
    assert "OutOfResources" in done.stderr
    assert not stored(receiver)
    receiver.inbox._free = 0
    assert storescu(receiver, dicom.file(tmp_path / "a.dcm")).returncode == 0


def test_an_association_that_dies_midway_leaves_nothing_half(start, dicom, tmp_path):
    receiver = start()
    path = dicom.file(tmp_path / "large.dcm", shape=(3000, 3000))
    process = subprocess.Popen(["storescu", "-aec", "SCANWARD", "-pdu", "4096", "127.0.0.1", str(receiver.port), path],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: receiver._sizes)
    process.kill()
    process.wait()
    wait_for(lambda: not receiver._sizes)
    assert stored(receiver) == [] or stored(receiver)[0].stat().st_size > 18_000_000
    assert not list((receiver.inbox.root / "incoming").glob(".*"))


def test_unknown_objects_are_kept_untouched_or_refused_by_rule(start, dicom, tmp_path):
    path = dicom.file(tmp_path / "sr.dcm", SOPClassUID=SR_CLASS, Modality="SR")
    keeping = start()
    assert storescu(keeping, path).returncode == 0
    assert len(stored(keeping)) == 1
    refusing = start(keep_unknown=False)
    done = storescu(refusing, dicom.file(tmp_path / "xa.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1"))
    assert done.returncode != 0
    assert len(stored(refusing)) == 1


def test_our_own_results_are_acknowledged_and_never_come_in(start, dicom, tmp_path):
    receiver = start()
    path = dicom.file(tmp_path / "sr.dcm", SOPClassUID=SR_CLASS, SOPInstanceUID="2.25.77", Modality="SR")
    receiver.inbox.mark_made("2.25.77")
    assert storescu(receiver, path).returncode == 0
    assert take_file(path, receiver.inbox, Node()) == ""
    # A forger who gives a mammogram a result's UID is not waved through.
    film = dicom.file(tmp_path / "film.dcm", SOPInstanceUID="2.25.77")
    assert storescu(receiver, film).returncode == 0
    assert len(stored(receiver)) == 1


def test_the_same_object_by_file_and_by_network_is_one(start, dicom, tmp_path):
    receiver = start()
    path = dicom.file(tmp_path / "a.dcm")
    key = take_file(path, receiver.inbox, Node())
    assert storescu(receiver, path).returncode == 0
    assert [p.parent.parent.name for p in stored(receiver)] == [key]


def test_a_thousand_objects_at_once_out_of_order_and_twice(start, dicom, tmp_path):
    receiver = start()
    entity = AE("CROWD")
    entity.requested_contexts = [c for c in AllStoragePresentationContexts
                                 if c.abstract_syntax == "1.2.840.10008.5.1.4.1.1.1.2"]
    import pydicom

    base = pydicom.dcmread(dicom.file(tmp_path / "a.dcm", shape=(32, 32)))
    answers = []

    def send(first):
        association = entity.associate("127.0.0.1", receiver.port, ae_title="SCANWARD")
        for i in range(first + 124, first - 1, -1):
            base_copy = pydicom.dcmread(tmp_path / "a.dcm")
            base_copy.SOPInstanceUID = base_copy.file_meta.MediaStorageSOPInstanceUID = f"2.25.{1000 + i % 500}"
            base_copy.StudyInstanceUID = f"1.2.{i % 10}"
            answers.append(association.send_c_store(base_copy).Status)
        association.release()

    threads = [threading.Thread(target=send, args=(125 * t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0] * 1000
    assert len(stored(receiver)) == 500
    assert base.SOPInstanceUID


def test_an_object_without_a_study_is_refused(start, dicom, tmp_path):
    receiver = start()
    done = storescu(receiver, dicom.file(tmp_path / "a.dcm", StudyInstanceUID=None))
    assert done.returncode != 0
    assert not stored(receiver)


def test_echo_is_answered(start):
    receiver = start()
    done = subprocess.run(["echoscu", "-aec", "SCANWARD", "127.0.0.1", str(receiver.port)], check=False)
    assert done.returncode == 0


def test_a_taken_port_is_one_sentence(start, tmp_path):
    receiver = start()
    with pytest.raises(ArgumentError, match=r"node\.port"):
        Receiver(Node(port=receiver.port), Inbox(tmp_path / "other"))
