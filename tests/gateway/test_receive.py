"""The C-STORE SCP with DCMTK's storescu and with peers that mean no good."""

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time

import pydicom
import pytest
from pynetdicom import AE

from scanward.delivery.association import associated
from scanward.delivery.contexts import server_context
from scanward.errors import ArgumentError
from scanward.gateway.receive import Receiver, take_file
from scanward.inbox.folders import Inbox
from scanward.settings import Destination, Node, Tls

pytestmark = pytest.mark.needs("storescu")
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
    wait_for(lambda: "AE title not recognised" in str(receiver.said))
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


def test_a_disk_that_fills_up_midway_keeps_what_was_acknowledged_and_nothing_half(start, dicom, tmp_path):
    small = tmp_path / "in box"
    small.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("may not mount a small file system")
    try:
        receiver = start()
        paths = [dicom.file(tmp_path / f"{i}.dcm", shape=(400, 400), seed=i) for i in range(10)]
        told = storescu(receiver, *paths, options=("--no-halt",)).stderr
        kept = stored(receiver)
        assert told.count("OutOfResources") == 10 - len(kept) > 0
        assert all(len(pydicom.dcmread(p).PixelData) == 2 * 400 * 400 for p in kept)
        assert not list((small / "incoming").glob(".*"))
        shutil.rmtree(kept[0].parent.parent)
        assert storescu(receiver, paths[-1]).returncode == 0
        receiver.stop()
    finally:
        subprocess.run(["umount", "-l", small], check=False)


def test_an_association_that_dies_midway_leaves_nothing_half(start, dicom, tmp_path):
    receiver = start()
    path = dicom.file(tmp_path / "large.dcm", shape=(3000, 3000))
    process = subprocess.Popen(["storescu", "-aec", "SCANWARD", "-pdu", "4096", "127.0.0.1", str(receiver.port), path],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: receiver._waiting)
    process.kill()
    process.wait()
    wait_for(lambda: not receiver._waiting)
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
    # A forger who gives a mammogram, or a digitised film, a result's UID is not waved through.
    for sop_class in ("1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.7"):
        film = dicom.file(tmp_path / "film.dcm", SOPInstanceUID="2.25.77", SOPClassUID=sop_class)
        assert storescu(receiver, film).returncode == 0
        assert take_file(film, receiver.inbox, Node())
    assert len(stored(receiver)) == 2


def test_the_same_object_by_file_and_by_network_is_one(start, dicom, tmp_path):
    receiver = start()
    path = dicom.file(tmp_path / "a.dcm")
    key = take_file(path, receiver.inbox, Node())
    assert storescu(receiver, path).returncode == 0
    assert [p.parent.parent.name for p in stored(receiver)] == [key]


def test_a_thousand_objects_at_once_out_of_order_and_twice(start, dicom, tmp_path):
    receiver = start()
    import pydicom

    # pynetdicom's own sender loses an answer now and then
    to = Destination(name="gateway", aet="SCANWARD", host="127.0.0.1", port=receiver.port)
    base = pydicom.dcmread(dicom.file(tmp_path / "a.dcm", shape=(32, 32)))
    answers = []

    def send(first):
        with associated({(base.SOPClassUID, base.file_meta.TransferSyntaxUID)}, to, "CROWD") as association:
            for i in range(first + 124, first - 1, -1):
                base_copy = pydicom.dcmread(tmp_path / "a.dcm")
                base_copy.SOPInstanceUID = base_copy.file_meta.MediaStorageSOPInstanceUID = f"2.25.{1000 + i % 500}"
                base_copy.StudyInstanceUID = f"1.2.{i % 10}"
                answers.append(association.send_c_store(base_copy).Status)

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


def test_a_data_set_that_is_not_what_the_command_says_is_refused(start, dicom, tmp_path):
    """DCMTK's storescu sends what the file's head says."""
    import pydicom

    receiver = start()
    path = dicom.file(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    data.file_meta.MediaStorageSOPClassUID = SR_CLASS
    entity = AE("FORGER")
    entity.add_requested_context(SR_CLASS, "1.2.840.10008.1.2")
    association = entity.associate("127.0.0.1", receiver.port, ae_title="SCANWARD")
    from io import BytesIO

    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    request = C_STORE()
    request.MessageID, request.AffectedSOPClassUID, request.Priority = 1, SR_CLASS, 2
    request.AffectedSOPInstanceUID = data.SOPInstanceUID
    request.DataSet = BytesIO(encode(data, True, True))
    association._reactor_checkpoint.clear()  # so that the answer is left for us to read
    wait_for(lambda: association._is_paused)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association.abort()
    assert answer.Status == 0xA900
    assert not stored(receiver)


def test_peers_that_drip_are_cut_off_and_keep_nobody_out_nor_the_node_running(start, dicom, tmp_path):
    receiver = start(associations=2, idle_seconds=2)
    peers = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(2)]
    for peer in peers:
        peer.sendall(struct.pack(">BBL", 1, 0, 200_000))
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.sendall(b"\0")
        time.sleep(0.3)
    assert storescu(receiver, dicom.file(tmp_path / "a.dcm")).returncode == 0
    for peer in peers:
        peer.close()


def test_a_peer_that_does_not_wait_for_answers_fills_no_memory(start, dicom, tmp_path, monkeypatch):
    """Objects of 0.9 MB in a row, where the disk takes its time and 4 MB may be under way."""
    from io import BytesIO

    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    receiver = start(largest_mb=4)
    add = receiver.inbox.add
    monkeypatch.setattr(receiver.inbox, "add", lambda *given, **more: (time.sleep(0.2), add(*given, **more))[1])
    import pydicom

    data = pydicom.dcmread(dicom.file(tmp_path / "a.dcm", shape=(680, 680)))
    entity = AE("FLOOD")
    entity.add_requested_context(data.SOPClassUID, "1.2.840.10008.1.2")
    association = entity.associate("127.0.0.1", receiver.port, ae_title="SCANWARD")
    most = 0
    for i in range(40):
        request = C_STORE()
        request.MessageID, request.AffectedSOPClassUID, request.Priority = i + 1, data.SOPClassUID, 2
        request.AffectedSOPInstanceUID = data.SOPInstanceUID
        request.DataSet = BytesIO(encode(data, True, True))
        if not association.is_established:
            break
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        most = max(most, receiver._waiting)
    association.abort()
    assert most < 10 << 20
    wait_for(lambda: "larger" in str(receiver.said))
    wait_for(lambda: receiver._waiting == 0)


@pytest.mark.needs("echoscu")
def test_echo_is_answered(start):
    receiver = start()
    done = subprocess.run(["echoscu", "-aec", "SCANWARD", "127.0.0.1", str(receiver.port)], check=False)
    assert done.returncode == 0


def test_a_taken_port_is_one_sentence(start, tmp_path):
    receiver = start()
    with pytest.raises(ArgumentError, match=r"node\.port"):
        Receiver(Node(port=receiver.port), Inbox(tmp_path / "other"))
