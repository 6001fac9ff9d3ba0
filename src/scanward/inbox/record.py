"""What a scan says of a study, as `study.json` holds it, and how far a study's job got: written and read here alone.

Files of earlier runs lack what later ones have, and a person may have edited one: what makes no sense counts as absent.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from scanward.verdict import STUDY_LABELS, StudyLabel

KEY, ID = re.compile(r"[0-9a-f]{24}", re.ASCII), re.compile(r"(?:[0-9a-f]{16}){1,2}", re.ASCII)
"""Of a study, and of one of its images: both name folders. Images of earlier versions have the shorter ones."""
UNSAID = frozenset({"study_uid", "patient_id", "issuer", "accession", "description", "study_date", "modality",
                    "received", "finished", "settings", "evidence", "heat", "note", "run", "wait"})
"""What a file leaves out where it is None."""
SEALS = ("tampered", "inconclusive", "unsealed", "consistent", "authentic")
"""What the gateway's seals say of an image, the worst first: `consistent` of one that was encoded anew."""


@dataclass(frozen=True)
class FindingRecord:
    """A region that was called forged."""

    box: tuple[int, ...]
    """[x0, y0, x1, y1] in pixels, or [x0, y0, z0, x1, y1, z1] in a volume; the upper ends are exclusive."""
    box_mm: tuple[float, ...] | None = None
    """The same from the image's corner; None where the spacing is unknown."""
    score: float | None = None
    method: str = ""

    @staticmethod
    def from_json(found: Mapping[str, object]) -> FindingRecord:
        """With an empty box where it has none."""
        box = _numbers(found.get("box"), 4, 6) or ()
        return FindingRecord(tuple(map(int, box)), _numbers(found.get("box_mm"), len(box)),
                             _number(found.get("score")), _text(found.get("method")))


@dataclass(frozen=True)
class ImageRecord:
    """What was said of one image."""

    id: str
    """32 hexadecimal digits, and the folder of its pictures; empty where it is none."""
    files: tuple[str, ...] = ()
    """Its objects, from the study's folder."""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    modality: str = ""
    label: StudyLabel = "unscanned"
    score: float | None = 0.0
    """None in a file that has none."""
    threshold: float | None = 0.5
    findings: tuple[FindingRecord, ...] = ()
    reason: str = ""
    shape: tuple[int, ...] | None = None
    """(z, y, x) in voxels."""
    spacing: tuple[float, ...] | None = None
    """(z, y, x) in mm."""
    error: str | None = None
    """Why it has no verdict."""
    note: str | None = None
    """What it lacks besides a verdict, and why: DICOM results, pictures."""
    method: str = ""
    version: str = ""
    weights_sha256: str | None = None
    seconds: float | None = 0.0
    results: tuple[str, ...] = ()
    """SR, SEG and SC, from the study's folder."""
    laterality: str = ""
    """Of a mammogram `R` or `L`, and `view` such as `CC`; empty where its header does not say."""
    view: str = ""
    chest_wall: str = ""
    """The side of a mammogram on which it is, `left` or `right`; empty where that cannot be told."""
    heat: float | None = None
    """The strongest, [0, 1]; None of an earlier version."""
    evidence: dict[str, Any] | None = None
    """What the seal says, where one was heard; `label` is also `unsealed`, where the gateway keeps seals and knows
    none."""

    @staticmethod
    def from_json(found: Mapping[str, object]) -> ImageRecord:
        """From an entry of `images`; what a verdict says as JSON has the same names."""
        name, shape = _text(found.get("id")), _numbers(found.get("shape"), 3)
        return ImageRecord(
            name if ID.fullmatch(name) else "", _texts(found.get("files")), _text(found.get("sop_instance_uid")),
            _text(found.get("series_instance_uid")), _text(found.get("modality")), _label(found.get("label")),
            _number(found.get("score")), _number(found.get("threshold")),
            tuple(one for one in map(FindingRecord.from_json, _objects(found.get("findings"))) if one.box),
            _text(found.get("reason")), None if shape is None else tuple(map(int, shape)),
            _numbers(found.get("spacing"), 3), _text_or_none(found.get("error")), _text_or_none(found.get("note")),
            _text(found.get("method")), _text(found.get("version")), _text_or_none(found.get("weights_sha256")),
            _number(found.get("seconds")),
            _texts(found.get("results")), laterality=_text(found.get("laterality")), view=_text(found.get("view")),
            chest_wall=_text(found.get("chest_wall")), heat=_number(found.get("heat")),
            evidence=_writable(found.get("evidence")))


@dataclass(frozen=True)
class PassedRecord:
    """Objects that are kept and not scanned."""

    sop_class: str
    count: int


@dataclass(frozen=True)
class StudyRecord:
    """What was said of a study. None of whose it is and when it came is known of one that was never scanned."""

    key: str = ""
    """24 hexadecimal digits, and its folder; empty where it is none."""
    study_uid: str | None = None
    patient_id: str | None = None
    issuer: str | None = None
    """Who gave the Patient ID: two hospitals may have given one to two people."""
    accession: str | None = None
    description: str | None = None
    study_date: str | None = None
    """YYYYMMDD."""
    modality: str | None = None
    received: str | None = None
    """Like `finished` ISO-8601, UTC."""
    finished: str | None = None
    attempts: int = 0
    error: str | None = None
    label: StudyLabel = "unscanned"
    """The worst of its images'."""
    score: float | None = 0.0
    """The largest of its images'; None where its label vouches for none, and in a file that has none."""
    images: tuple[ImageRecord, ...] = ()
    passed: tuple[PassedRecord, ...] = ()
    settings: str | None = None
    """A digest of all that the answers depend on besides the pixels."""

    def to_json(self) -> dict[str, Any]:
        """The object in `study.json`."""
        return asdict(self, dict_factory=_said)

    @staticmethod
    def from_json(found: Mapping[str, object]) -> StudyRecord:
        """From what `study.json` holds. Images without an id and findings without a box are left out."""
        key = _text(found.get("key"))
        texts = {name: _text_or_none(found.get(name)) for name in (
            "study_uid", "patient_id", "issuer", "accession", "description", "study_date", "modality", "received",
            "finished", "error", "settings")}
        return StudyRecord(
            **texts, key=key if KEY.fullmatch(key) else "", attempts=_count(found.get("attempts")),
            label=_label(found.get("label")), score=_number(found.get("score")),
            images=tuple(one for one in map(ImageRecord.from_json, _objects(found.get("images"))) if one.id),
            passed=tuple(PassedRecord(_text(one.get("sop_class")), _count(one.get("count")))
                         for one in _objects(found.get("passed"))))


@dataclass(frozen=True)
class Study:
    """One that is done with, or failed."""

    key: str
    state: Literal["done", "failed"]
    folder: Path
    record: StudyRecord
    """What `study.json` says."""

    @property
    def label(self) -> StudyLabel | Literal["failed"]:
        """A failed study has no label of its own."""
        return "failed" if self.state == "failed" else self.record.label


def seal_of(images: Sequence[ImageRecord]) -> str:
    """One of `SEALS`, the worst; empty where none is known."""
    said = [_seal(image.evidence or {}) for image in images]
    return next((one for one in SEALS if one in said), "")


def _seal(evidence: Mapping[str, object]) -> object:
    return "consistent" if evidence.get("match") == "consistent" else evidence.get("label")


@dataclass(frozen=True)
class JobRecord:
    """How far the work on a study got, in its `job.json`."""

    attempts: int = 0
    runs: int = 0
    run: str | None = None
    """Of the gateway, that works on it; None of a study that waits."""
    error: str | None = None
    """Why it was tried again."""
    wait: float | None = None
    """Seconds that a study waits, from when somebody sees this."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self, dict_factory=_said)

    @staticmethod
    def from_json(found: Mapping[str, object]) -> JobRecord:
        return JobRecord(_count(found.get("attempts")), _count(found.get("runs")), _text_or_none(found.get("run")),
                         _text_or_none(found.get("error")), _number(found.get("wait")))


def _said(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None or name not in UNSAID}


def _text(value: object) -> str:
    """A number is taken for its digits; what no file could hold is replaced."""
    return str(value).encode("utf-8", "replace").decode() if value and isinstance(value, str | int | float) else ""


def _text_or_none(value: object) -> str | None:
    return _text(value) if isinstance(value, str | int | float) else None


def _number(value: object) -> float | None:
    """A finite one."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return cast(float, value) if known else None


def _count(value: object) -> int:
    return int(_number(value) or 0)


def _numbers(value: object, *lengths: int) -> tuple[float, ...] | None:
    """As many of them as one of `lengths`, and nothing else."""
    given = value if isinstance(value, list | tuple) else []
    found = tuple(one for one in map(_number, given) if one is not None)
    return found if found and len(found) == len(given) and len(found) in lengths else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in map(_text, value) if one) if isinstance(value, list) else ()


def _objects(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _label(value: object) -> StudyLabel:
    return value if value in STUDY_LABELS else "unscanned"


def _writable(value: object) -> dict[str, Any] | None:
    """An object that JSON and UTF-8 can hold."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
