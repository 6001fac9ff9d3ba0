"""What a destination took counts as sent once it says that it keeps it, whoever else says what."""

import re
import threading
import time

import httpx
import pydicom
import pytest
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from serving import storescu, wait_for

from scanward.delivery import commitment, state
from scanward.delivery.association import Answers
from scanward.delivery.outgoing import Outgoing
from scanward.formats.commitment import INSTANCE, PUSH_MODEL
from scanward.gateway.receive import Receiver
from scanward.inbox.folders import Inbox
from scanward.settings import Destination, Node

KEY, DIGEST = "ab" * 12, "cd" * 16
NAME = f"{KEY}-pacs-{DIGEST}"


class Here:
    """Our side: the queue, and the node that hears reports."""

    def __init__(self, root, port, *destinations):
        self.root, self.destinations, self.told, self.log = root, destinations, [], []
        self.outgoing = Outgoing(root, lambda *facts: self.told.append(facts[2:]))
        self.receiver = Receiver(
            Node(port=port), Inbox(root), said=lambda event, outcome, **facts: self.log.append((event, facts)),
            reported=lambda *said: self.outgoing.reported(*said, destinations))

    def send(self):
        return self.outgoing.run_once(self.destinations, "SCANWARD")

    def state(self):
        (one,) = state.of_study(self.root, KEY)
        return one.state, one.why

    def refusals(self):
        return [facts["reason"] for event, facts in self.log if event == "commitment.refused"]


@pytest.fixture
def here(tmp_path, port):
    """Starts our side, anew where it ran: what `Here` takes after the port."""
    started = []

    def start(*destinations):
        for one in started:
            one.receiver.stop()
        started.append(Here(tmp_path / "root", port, *destinations))
        return started[-1]

    yield start
    for one in started:
        one.receiver.stop()


class Pacs:
    """Takes everything, and says whether it keeps it when it is told to."""

    def __init__(self):
        self.asked, self.same, self.answer, self.heard = [], False, 0, []
        entity = AE("PACS")
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(PUSH_MODEL)
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[
            (evt.EVT_C_STORE, lambda event: 0), (evt.EVT_N_ACTION, self._ask)])
        self.port = self.server.server_address[1]

    def destination(self, **more):
        return Destination(**{"name": "pacs", "port": self.port, "aet": "PACS", "commitment": True, **more})

    def _ask(self, event):
        said = event.action_information
        self.asked.append((said.TransactionUID, [one.ReferencedSOPInstanceUID for one in said.ReferencedSOPSequence]))
        if self.same:
            threading.Timer(0.1, self._say, (event.assoc,)).start()
        return self.answer, None

    def _say(self, line):
        status, _ = line.send_n_event_report(report(*self.asked[-1]), 1, PUSH_MODEL, INSTANCE)
        self.heard.append(status.get("Status"))


@pytest.fixture
def pacs():
    one = Pacs()
    yield one
    one.server.shutdown()


def report(transaction, kept, failed=()):
    """`failed`: (SOP instance, reason) each."""
    def item(uid, reason=None):
        made = pydicom.Dataset()
        made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", uid
        if reason is not None:
            made.FailureReason = reason
        return made

    data = pydicom.Dataset()
    data.TransactionUID, data.ReferencedSOPSequence = transaction, [item(uid) for uid in kept]
    if failed:
        data.FailedSOPSequence = [item(*one) for one in failed]
    return data


def say(port, *reports, calling="PACS", roles=True, event=1, patience=30):
    """Reports to our node on one association; the statuses of its answers, None where there was none for so long."""
    entity = AE(calling)
    entity.dimse_timeout = patience
    entity.add_requested_context(PUSH_MODEL)
    line = entity.associate("127.0.0.1", port, ae_title="SCANWARD",
                            ext_neg=[build_role(PUSH_MODEL, scp_role=True)] if roles else [])
    assert line.is_established
    answers = []
    for one in reports:
        if line.is_established:
            status, _ = line.send_n_event_report(one, event, PUSH_MODEL, INSTANCE)
            answers.append(status.get("Status"))
    line.release()
    return answers


@pytest.fixture
def films(dicom, tmp_path):
    return [dicom.file(tmp_path / f"{n}.dcm") for n in range(2)]


def committing(start_orthanc, port, **more):
    orthanc = start_orthanc(DicomModalities={"scanward": ["SCANWARD", "127.0.0.1", port]}, **more)
    return orthanc, Destination("pacs", port=orthanc.dicom_port, aet="ORTHANC", commitment=True)


def until(here, wanted):
    """Delivers until the study's results are in this state."""
    def there():
        here.send()
        return here.state()[0] == wanted

    wait_for(there, 30)


def test_orthanc_gives_its_word(here, start_orthanc, port, films):
    orthanc, to = committing(start_orthanc, port)
    ours = here(to)
    ours.outgoing.add(NAME, films, "pacs")
    until(ours, "committed")
    assert ours.told[-1] == ("sent", "committed") and len(orthanc.get("/instances")) == 2
    assert not ours.refusals()


def test_what_orthanc_lost_is_refused_with_its_reason_and_can_be_sent_again(here, start_orthanc, port, films, tmp_path):
    forgetful = tmp_path / "forget.lua"
    forgetful.write_text("function OnStoredInstance(id, tags, meta) Delete(id) end\n")
    _, to = committing(start_orthanc, port, LuaScripts=[str(forgetful)])
    ours = here(to)
    ours.outgoing.add(NAME, films, "pacs")
    until(ours, "refused")
    assert ours.state()[1].startswith("Destination pacs took 2 objects and does not keep 2 of them (reason 0x0112: it "
                                      "has no such object)")
    good, to = committing(start_orthanc, port)
    ours = here(to)
    assert state.again(ours.root, "results", NAME)
    assert ours.state()[0] == "waiting"
    until(ours, "committed")
    assert len(good.get("/instances")) == 2


def test_what_is_awaited_outlives_a_restart(here, start_orthanc, port, films):
    orthanc, to = committing(start_orthanc, port)
    before = here(to)
    before.receiver.stop()  # so that Orthanc cannot tell
    before.outgoing.add(NAME, films, "pacs")
    assert before.send() > 3000
    assert before.state() == ("stored", "") and before.told == [("stored", "")]
    before.send()
    assert len(before.told) == 1, "asked once an hour"
    wait_for(lambda: unheard(orthanc), 60)
    after = here(to)
    orthanc.post(f"/jobs/{unheard(orthanc)[0]}/resubmit", {})
    until(after, "committed")


def unheard(orthanc):
    """Its reports that reached nobody."""
    return [one["ID"] for one in orthanc.get("/jobs?expand") if one["Type"] == "StorageCommitmentScp"
            and one["State"] == "Failure"]


def test_a_word_on_the_same_association_is_answered_before_it_ends(here, pacs, films, monkeypatch):
    def late(self, primitive, context_id):
        if isinstance(primitive, N_EVENT_REPORT):
            time.sleep(0.3)
        send(self, primitive, context_id)

    send = Answers.send_msg
    monkeypatch.setattr(Answers, "send_msg", late)
    pacs.same = True
    ours = here(pacs.destination())
    ours.outgoing.add(NAME, films, "pacs")
    assert ours.send() is None
    assert ours.state() == ("committed", "")
    wait_for(lambda: pacs.heard, 5)
    assert pacs.heard == [0]


def test_without_a_word_it_is_asked_again_and_a_late_one_counts(here, pacs, films, monkeypatch):
    monkeypatch.setattr(commitment, "LINGER", 0.0)
    ours = here(pacs.destination(commitment_seconds=0.5))
    ours.outgoing.add(NAME, films, "pacs")
    ours.send()
    assert ours.state() == ("stored", "")
    time.sleep(0.6)
    ours.send()
    found, why = ours.state()
    assert found == "stored"
    assert re.fullmatch(r"Destination pacs has not said for \d+ seconds whether it keeps the objects, and was asked "
                        r"again\.", why)
    assert len({transaction for transaction, _ in pacs.asked}) == 2
    assert say(ours.receiver.port, report(*pacs.asked[0])) == [0]
    ours.send()
    assert ours.state() == ("committed", "")
    assert say(ours.receiver.port, report(*pacs.asked[1])) == [0x0115], "it is over"


def test_a_hostile_report_changes_nothing(here, pacs, films, monkeypatch):
    monkeypatch.setattr(commitment, "LINGER", 0.0)
    ours = here(pacs.destination())
    ours.outgoing.add(NAME, films, "pacs")
    ours.send()
    transaction, uids = pacs.asked[0]
    port, folder = ours.receiver.port, ours.root / "outgoing" / NAME
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert say(port, report("1.2.3", uids)) == [0x0115]
    assert say(port, report(transaction, uids), calling="OTHER") == [0x0115]
    assert say(port, report(transaction, [*uids, "1.2.3"])) == [0x0115], "objects never sent"
    assert say(port, report(transaction, uids[:1])) == [0x0115], "not all"
    assert say(port, report(transaction, uids, [(uids[0], 0x0110)])) == [0x0115], "kept and not kept"
    assert say(port, report(transaction, [])) == [0x0115]
    with pydicom.config.disable_value_validation():
        assert say(port, report("../../x", uids)) == [0x0115]
    assert say(port, report(transaction, uids), event=3) == [0x0113]
    assert say(port, report(transaction, [f"1.2.{n}" for n in range(90_000)])) == [0x0115]
    assert say(port, report(transaction, [f"1.2.{n}" for n in range(9_000)])) == [0x0115]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    ours.send()
    assert ours.state() == ("stored", "")
    reasons = ours.refusals()
    assert len(reasons) == 10 and "It comes from somebody who was not asked." in reasons
    assert "The report has more than 4 MB." in reasons
    assert "The report is longer than one on the objects that were asked for." in reasons
    # Who goes on is cut off; the receiver is heard all the same.
    answers = say(port, *[report("1.2.3", uids)] * 30, patience=3)
    assert [one for one in answers if one is not None] == [0x0115] * 9
    assert len(ours.refusals()) == 20
    assert say(port, report(transaction, uids), roles=False) == [0]
    assert say(port, report(transaction, uids)) == [0], "said twice"
    assert say(port, report(transaction, [], [(uid, 0x0112) for uid in uids])) == [0x0115], "taken back"
    ours.send()
    assert ours.state() == ("committed", "")


def test_a_node_that_awaits_nothing_hears_no_report(here, pacs):
    ours = here(pacs.destination(commitment=False))
    ours.receiver.stop()
    node = Receiver(Node(port=0), Inbox(ours.root))
    try:
        entity = AE("PACS")
        entity.add_requested_context(PUSH_MODEL)
        line = entity.associate("127.0.0.1", node.port, ae_title="SCANWARD")
        assert not line.is_established
    finally:
        node.stop()


@pytest.mark.parametrize(("answer", "expected", "words"), [
    (0x0122, "refused", "reason 0x0122: it does not keep this kind of object"), (0x0213, "stored", "out of resources"),
    (0x0110, "stored", "failed to process")])
def test_a_request_that_is_refused_is_for_good_or_for_now(here, pacs, films, answer, expected, words):
    pacs.answer = answer
    ours = here(pacs.destination())
    ours.outgoing.add(NAME, films, "pacs")
    ours.send()
    found, why = ours.state()
    assert found == expected and words in why


def test_a_destination_without_commitment_says_how_to_go_on(here, storescp, films):
    peer = storescp()
    ours = here(Destination("pacs", port=peer.port, aet=peer.aet, commitment=True))
    ours.outgoing.add(NAME, films, "pacs")
    until(ours, "refused")
    assert ours.state()[1] == "Destination pacs offers no storage commitment; set commitment = false for it."
    here(Destination("pacs", port=peer.port, aet=peer.aet))


@pytest.mark.needs("storescu")
def test_from_a_modality_to_the_word_of_the_pacs_over_a_kill(start, start_orthanc, dicom, tmp_path, port):
    """The PACS tells it at another port than the gateway listens on, until it is killed and started there."""
    orthanc, to = committing(start_orthanc, port)
    table = f'[[destination]]\nname = "pacs"\nport = {to.port}\naet = "ORTHANC"\ncommitment = true\n'
    gateway = start(table, node={"allow": ["ORTHANC", "STORESCU"]})
    storescu(gateway.port, dicom.file(tmp_path / "a.dcm", shape=(96, 80)))
    wait_for(lambda: unheard(orthanc))
    (study,) = gateway.studies()
    wait_for(lambda: asked(gateway, f"/api/deliveries?key={study['key']}")["rows"][0]["state"] == "stored")
    assert "Stored, commitment awaited" in asked(gateway, "/queue?show=waiting")
    gateway.kill()
    gateway.change(table, node={"port": port})
    gateway.start()
    orthanc.post(f"/jobs/{unheard(orthanc)[0]}/resubmit", {})
    wait_for(lambda: [one["event"] for one in gateway.audit()].count("results.sent") == 1)
    assert len(orthanc.get("/instances")) == 2
    assert [one["state"] for one in asked(gateway, "/api/deliveries?state=sent")["rows"]] == ["committed"]
    assert "Sent and committed" in asked(gateway, "/queue?show=sent")


def asked(gateway, path):
    answer = httpx.get(gateway.pages.rstrip("/") + path, timeout=60)
    return answer.json() if path.startswith("/api") else answer.text
