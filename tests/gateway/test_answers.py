"""The answers of a receiver reach the sender, and each counts for the object that it is about."""

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

from scanward.delivery.outgoing import Outgoing
from scanward.delivery.send import Unreachable, deliver, objects_in
from scanward.settings import Destination


def test_no_answer_is_lost_though_the_threads_come_late(storescp, dicom, tmp_path, monkeypatch):
    """pynetdicom's own is not given the processor between its look at whether it may go on and its look into the queue;
    the sender's is not between the request and its wait for the answer."""
    from pynetdicom.association import Association
    from pynetdicom.dimse import DIMSEServiceProvider

    class Late(threading.Event):
        def wait(self, timeout=None):
            found = super().wait(timeout)
            if isinstance(threading.current_thread(), Association):
                time.sleep(0.2)
            return found

    def send_late(self, primitive, context_id, plain=DIMSEServiceProvider.send_msg):
        plain(self, primitive, context_id)
        time.sleep(0.5)

    monkeypatch.setattr("pynetdicom.association.threading.Event", Late)
    monkeypatch.setattr(DIMSEServiceProvider, "send_msg", send_late)
    monkeypatch.setattr("scanward.delivery.association.ANSWER", 5.0)
    peer = storescp()
    deliver(dicom.ct(tmp_path / "ct", 3), Destination("pacs", port=peer.port, aet=peer.aet), calling="SCANWARD")
    assert len(peer.received()) == 3


@pytest.fixture
def receiver(port):
    """A node of pynetdicom's that does with each C-STORE what a function says."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    started = []

    def start(handler):
        entity = AE("ODD")
        entity.supported_contexts = AllStoragePresentationContexts
        started.append(entity.start_server(("127.0.0.1", port), block=False,
                                           evt_handlers=[(evt.EVT_C_STORE, handler)]))
        return Destination("odd", port=port, aet="ODD")

    yield start
    for one in started:
        one.shutdown()


def test_a_second_answer_about_one_object_is_none_about_the_next(receiver, dicom, tmp_path):
    from pynetdicom.dimse_primitives import C_STORE

    kept = []

    def handler(event):
        if kept:
            event.assoc.abort()
            return 0xC000
        kept.append(event.request.AffectedSOPInstanceUID)
        answer = C_STORE()
        answer.MessageID = answer.MessageIDBeingRespondedTo = event.request.MessageID
        answer.AffectedSOPClassUID = event.request.AffectedSOPClassUID
        answer.AffectedSOPInstanceUID, answer.Status = event.request.AffectedSOPInstanceUID, 0
        event.assoc.dimse.send_msg(answer, event.context.context_id)
        return 0

    with pytest.raises(Unreachable, match="broke the connection off"):
        deliver(dicom.ct(tmp_path / "ct", 2), receiver(handler), calling="SCANWARD")
    assert len(kept) == 1


def test_answers_to_what_nobody_asked_end_the_wait_for_one_in_time(receiver, dicom, tmp_path, monkeypatch):
    from pynetdicom.dimse_primitives import C_STORE

    monkeypatch.setattr("scanward.delivery.association.ANSWER", 1.0)
    over = threading.Event()

    def handler(event):
        answer = C_STORE()
        answer.MessageID = answer.MessageIDBeingRespondedTo = 999
        answer.AffectedSOPClassUID, answer.Status = event.request.AffectedSOPClassUID, 0
        answer.AffectedSOPInstanceUID = event.request.AffectedSOPInstanceUID
        while not over.wait(0.01):
            event.assoc.dimse.send_msg(answer, event.context.context_id)
        return 0

    begun = time.monotonic()
    try:
        with pytest.raises(Unreachable, match="did not answer in time"):
            deliver(dicom.ct(tmp_path / "ct", 1), receiver(handler), calling="SCANWARD")
    finally:
        over.set()
    assert time.monotonic() - begun < 20


class Cutting:
    """Before a port: of the first connection, the receiver's second message, its answer to a C-STORE, goes nowhere."""

    def __init__(self, target):
        self._listener, self._target = socket.create_server(("127.0.0.1", 0)), target
        self.port, self.calls = self._listener.getsockname()[1], 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.calls += 1
                threading.Thread(target=self._serve, args=(near, self.calls == 1), daemon=True).start()

    def _serve(self, near, cut):
        with suppress(OSError), near, socket.create_connection(("127.0.0.1", self._target)) as far:
            threading.Thread(target=self._pump, args=(near, far), daemon=True).start()
            left = 1 if cut else 1 << 30
            while left and (data := far.recv(65536)):
                near.sendall(data)
                left -= 1
            if cut:
                far.recv(65536)
            near.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pump(near, far):
        with suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_what_was_stored_though_its_answer_never_came_is_in_the_pacs_once(orthanc, dicom, tmp_path, monkeypatch):
    """The first try stores the first object; the second sends both."""
    between, told = Cutting(orthanc.dicom_port), []
    outgoing = Outgoing(tmp_path / "root", lambda *facts: told.append(facts[2:]))
    films = [dicom.file(tmp_path / f"{n}.dcm") for n in range(2)]
    outgoing.add("k-1", films, "pacs")
    to = [Destination("pacs", port=between.port, aet=orthanc.aet)]
    wait = outgoing.run_once(to, "SCANWARD")
    assert len(orthanc.get("/instances")) == 1
    assert told == [("waiting", "Destination pacs broke the connection off, or did not answer in time.")]
    later = time.time() + wait
    monkeypatch.setattr("scanward.delivery.spool.time.time", lambda: later)
    assert outgoing.run_once(to, "SCANWARD") is None
    assert told[1:] == [("sent", "")] and outgoing.spool.sent() == ["k-1"] and between.calls == 2
    assert orthanc.sop_uids() == {uid for _, uid in objects_in(films)} and len(orthanc.get("/instances")) == 2
    between.close()


def said(*parts):
    """A message of the upper layer: its type, then what it says, in one or several parts."""
    return struct.pack(">BxL", parts[0], sum(map(len, parts[1:]))) + b"".join(parts[1:])


def accepting(asked):
    """An A-ASSOCIATE-AC (PS3.8 table 9-17) that takes the first presentation context of a request, implicit VR."""
    place, item = 68, b""
    while not item.startswith(b"\x20"):
        length = int.from_bytes(asked[place + 2:place + 4])
        item, place = asked[place:place + 4 + length], place + 4 + length
    syntax = b"1.2.840.10008.1.2"
    context = struct.pack(">BxHBxxxBxH", 0x21, 8 + len(syntax), item[4], 0x40, len(syntax)) + syntax
    user = struct.pack(">BxHBxHL", 0x50, 8, 0x51, 4, 16384)
    return said(2, struct.pack(">HH", 1, 0), asked[4:36], bytes(32), context, user), item[4:5]


class Endless:
    """A receiver that answers with what has no end, up to `MOST` bytes, and counts what was taken of it."""

    MOST = 256 << 20

    def __init__(self, kind):
        self._listener, self._kind, self.taken = socket.create_server(("127.0.0.1", 0)), kind, 0
        self.to = Destination("endless", port=self._listener.getsockname()[1], aet="ENDLESS")
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with suppress(OSError), self._listener.accept()[0] as line:
            length = int.from_bytes(line.recv(6, socket.MSG_WAITALL)[2:])
            accepted, context = accepting(line.recv(length, socket.MSG_WAITALL))
            if self._kind == "message":
                line.sendall(struct.pack(">BxL", 2, 0xFFFFFFF0))
                part = bytes(1 << 20)
            else:
                # Fragments of a command, none of which is the last (PS3.8 annex E.2).
                line.sendall(accepted)
                part = said(4, struct.pack(">L", 16002), context, b"\x01", bytes(16000))
            while self.taken < self.MOST:
                line.sendall(part)
                self.taken += len(part)

    def close(self):
        self._listener.close()


@pytest.mark.parametrize("kind", ["message", "fragments"])
def test_a_receiver_that_never_ends_what_it_says_is_hung_up_on(kind, dicom, tmp_path):
    endless = Endless(kind)
    try:
        with pytest.raises(Unreachable, match=r"^Destination endless "):
            deliver(dicom.ct(tmp_path / "ct", 1), endless.to, calling="SCANWARD")
        assert endless.taken < 64 << 20
    finally:
        endless.close()
