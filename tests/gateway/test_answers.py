"""The answers of a receiver reach the sender, and each counts for the object that it is about."""

import threading
import time

import pytest

from scanward.delivery.send import Unreachable, deliver
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
