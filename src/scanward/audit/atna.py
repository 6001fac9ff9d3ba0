"""DICOM audit messages (PS3.15 A.5): what the audit log's events are called there."""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree as ET

OUTCOMES = {"success": "0", "minor": "4", "serious": "8", "major": "12"}
DCM = "DCM"
Code = tuple[str, str, str]
"""Value, scheme, meaning."""

STUDY_UID: Code = ("110180", DCM, "Study Instance UID")
PATIENT: Code = ("2", "RFC-3881", "Patient Number")
SOURCE: Code = ("110153", DCM, "Source Role ID")
DESTINATION: Code = ("110152", DCM, "Destination Role ID")
APPLICATION: Code = ("110150", DCM, "Application")
TAMPERING: Code = ("SW001", "99SCANWARD", "Suspected tampering")
"""CID 403 has no type of alert for it, and is extensible."""


def messages(event: str, outcome: str, facts: Mapping[str, Any], moment: float) -> Iterator[bytes]:
    """The DICOM messages that an event of the audit log stands for; none for events that PS3.15 does not know."""
    made = _Message(outcome, facts, moment)
    if event in ("start", "stop"):
        kind: Code = ("110120", DCM, "Application Start") if event == "start" else ("110121", DCM, "Application Stop")
        made.event(("110100", DCM, "Application Activity"), "E", kind)
        made.participant(_self(), False, APPLICATION)
    elif event in ("objects.stored", "pull"):
        if not (facts.get("stored") or facts.get("count")):
            return  # nothing came
        made.event(("110104", DCM, "DICOM Instances Transferred"), "C")
        made.transfer(str(facts.get("aet") or facts.get("pull") or "unknown"), _self(), incoming=True)
    elif event in ("results.sent", "protected.sent"):
        made.event(("110104", DCM, "DICOM Instances Transferred"), "R")
        made.transfer(_self(), str(facts.get("destination") or "unknown"), incoming=False)
    elif event == "results.refused":
        made.event(("110102", DCM, "Begin Transferring DICOM Instances"), "E")
        made.transfer(_self(), str(facts.get("destination") or "unknown"), incoming=False)
    elif event in ("login", "logout"):
        made.event(("110114", DCM, "User Authentication"), "E",
                   ("110122", DCM, "Login") if event == "login" else ("110123", DCM, "Logout"))
        made.participant(str(facts.get("user") or "unknown"), True, address=str(facts.get("address") or ""))
        made.participant(_self(), False, APPLICATION)
    elif event == "query":
        made.event(("110112", DCM, "Query"), "E")
        made.participant(_self(), True, SOURCE)
        made.participant(str(facts.get("pull") or "unknown"), False, DESTINATION)
        made.queried(str(facts.get("address") or ""))
    elif event == "export":
        made.event(("110106", DCM, "Export"), "R")
        made.participant(str(facts.get("user") or "unknown"), True, SOURCE)
        made.objects()
    else:
        yield from _alerts(made, event, facts)
        return
    yield made.xml()


def _alerts(made: _Message, event: str, facts: Mapping[str, Any]) -> Iterator[bytes]:
    if event == "study.scanned" and facts.get("label") == "tampered":
        kind, words = TAMPERING, "An image of the study is suspected of tampering."
    elif event == "account":
        kind = ("110137", DCM, "User Security Attributes Changed")
        words = f"Account of {facts.get('account')}: {facts.get('decision')}, by {facts.get('user')}."
    elif event == "association.rejected":
        kind, words = ("110126", DCM, "Node Authentication"), str(facts.get("reason") or "Association rejected.")
    else:
        return
    made.event(("110113", DCM, "Security Alert"), "E", kind)
    made.participant(_self(), True, APPLICATION)
    if event == "association.rejected":
        made.participant(str(facts.get("aet") or "unknown"), False, address=str(facts.get("peer") or ""))
    made.alert(words)
    yield made.xml()


class _Message:
    """An AuditMessage in the order of the schema: event, participants, source, objects."""

    def __init__(self, outcome: str, facts: Mapping[str, Any], moment: float) -> None:
        self._root = ET.Element("AuditMessage")
        self._outcome, self._facts, self._moment = OUTCOMES[outcome], facts, moment
        self._objects: list[ET.Element] = []

    def event(self, kind: Code, action: str, subtype: Code | None = None) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._moment)) + f".{int(self._moment * 1e3) % 1000:03}Z"
        element = ET.SubElement(self._root, "EventIdentification", EventActionCode=action, EventDateTime=stamp,
                                EventOutcomeIndicator=self._outcome)
        _code(element, "EventID", kind)
        if subtype is not None:
            _code(element, "EventTypeCode", subtype)
        if self._outcome != "0" and self._facts.get("reason"):
            ET.SubElement(element, "EventOutcomeDescription").text = str(self._facts["reason"])

    def participant(self, user: str, requestor: bool, role: Code | None = None, address: str = "",
                    titles: str = "") -> None:
        values = {"UserID": user, "UserIsRequestor": "true" if requestor else "false"}
        if user == _self():
            values["AlternativeUserID"] = str(os.getpid())
            address = address or socket.gethostname()
        if titles:
            values["AlternativeUserID"] = f"AETITLES={titles}"
        if address:
            values |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "2" if _is_ip(address) else "1"}
        element = ET.SubElement(self._root, "ActiveParticipant", values)
        if role is not None:
            _code(element, "RoleIDCode", role)

    def transfer(self, sender: str, receiver: str, *, incoming: bool) -> None:
        peer = str(self._facts.get("peer") or "")
        self.participant(sender, True, SOURCE, peer if incoming else "", sender if incoming else "")
        self.participant(receiver, False, DESTINATION, "" if incoming else peer, "" if incoming else receiver)
        self.objects()

    def objects(self) -> None:
        """The studies, then the patient."""
        studies = self._facts.get("study_uid") or "unknown"
        for study in studies if isinstance(studies, list) else [studies]:
            element = self._object(str(study), "2", "3", STUDY_UID)
            classes = self._facts.get("sop_classes")
            if isinstance(classes, dict):
                description = ET.SubElement(element, "ParticipantObjectDescription")
                for sop_class, count in classes.items():
                    ET.SubElement(description, "SOPClass", UID=str(sop_class), NumberOfInstances=str(count))
        self._object(str(self._facts.get("patient") or "unknown"), "1", "1", PATIENT)

    def alert(self, words: str) -> None:
        study = self._facts.get("study_uid")
        element = self._object(str(study), "2", "3", STUDY_UID) if study else \
            self._object(str(self._facts.get("peer") or "unknown"), "2", "13", ("110182", DCM, "Node ID"))
        ET.SubElement(element, "ParticipantObjectDetail", type="Alert Description",
                      value=base64.b64encode(words.encode()).decode())

    def queried(self, url: str) -> None:
        """By QIDO-RS; the address stands for the query's data set."""
        element = ET.Element("ParticipantObjectIdentification", ParticipantObjectID="1.2.840.10008.5.1.4.1.2.2.1",
                             ParticipantObjectTypeCode="2", ParticipantObjectTypeCodeRole="3")
        _code(element, "ParticipantObjectIDTypeCode", ("110181", DCM, "SOP Class UID"))
        ET.SubElement(element, "ParticipantObjectQuery").text = base64.b64encode(url.encode()).decode()
        self._objects.append(element)

    def _object(self, identifier: str, kind: str, role: str, code: Code) -> ET.Element:
        element = ET.Element("ParticipantObjectIdentification", ParticipantObjectID=identifier,
                             ParticipantObjectTypeCode=kind, ParticipantObjectTypeCodeRole=role)
        _code(element, "ParticipantObjectIDTypeCode", code)
        # The schema wants a name; ours is never a person's.
        ET.SubElement(element, "ParticipantObjectName")
        self._objects.append(element)
        return element

    def xml(self) -> bytes:
        source = ET.SubElement(self._root, "AuditSourceIdentification", AuditSourceID=_self())
        ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # application server process
        self._root.extend(self._objects)
        return ET.tostring(self._root, encoding="utf-8", xml_declaration=True)


def _code(parent: ET.Element, name: str, code: Code) -> None:
    value, scheme, meaning = code
    ET.SubElement(parent, name, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning})


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _self() -> str:
    return f"scanward@{socket.gethostname()}"
