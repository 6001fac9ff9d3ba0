"""One self-contained HTML file that shows verdicts to a radiologist: no script is needed, nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward import weights
from scanward.box import flat, slices_of
from scanward.errors import WeightsError
from scanward.image import Image
from scanward.methods import METHODS
from scanward.modality import traits
from scanward.report import heat
from scanward.report.montage import montage
from scanward.report.page import picture_uri, write_page
from scanward.report.planes import finding_planes
from scanward.verdict import DOUBT, FILE, SEAL, SYMBOLS, WATERMARK, Evidence, Finding, Label, Verdict

WIDTH = 900
"""Pixels; the widest picture that is embedded."""
WEIGHT = 2
"""Three pictures share a row, so each is shown at less than half its size."""
CLOSE_UPS = 6
"""Findings with a picture of their own; a report of a noisy image stays small."""
WORDS: dict[Label, tuple[str, str]] = {
    "tampered": ("TAMPERED", "Something in this image does not fit the rest of it."),
    "authentic": ("AUTHENTIC: nothing found", "No sign of tampering that the methods used here can see."),
    "inconclusive": ("INCONCLUSIVE", "It cannot be told; the methods below say why."),
}
ANSWERS = {"tampered": "Suspicious", "authentic": "Nothing found", "inconclusive": "Cannot judge"}
"""What one of several methods says."""
SCRIPT = ("for(const e of document.querySelectorAll('.fade')){e.hidden=false;e.querySelector('input').oninput="
          "i=>e.closest('article').style.setProperty('--heat',i.target.value/100)}")
"""The slider that fades the heat; the page is whole without it."""


@dataclass(frozen=True)
class Case:
    """One image of a report."""

    name: str
    """What the report calls it, as a rule the file's name; the report shows nothing else of where it lies."""
    image: Image
    verdict: Verdict
    truth: npt.NDArray[np.bool_] | None = None
    """(z, y, x) or (y, x), True where the image was altered; only where that is known."""
    caption: str = ""


@dataclass(frozen=True)
class Card:
    """What a report needs of a `Case`: pictures of at most `WIDTH` pixels and words, without the image's pixels."""

    name: str
    caption: str
    label: Label
    doubtful: bool
    score: float
    threshold: float
    seconds: float
    synthetic: bool
    base: str
    """Pictures are data URIs."""
    heat: str
    marks: str
    truth: str | None
    size: tuple[int, int]
    """Width and height of the pictures."""
    findings: tuple[dict[str, Any], ...]
    evidence: tuple[dict[str, Any], ...]
    facts: tuple[tuple[str, str], ...]
    montage: str | None = None
    """Of a volume: slices of it."""

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.label]

    @property
    def words(self) -> str:
        return WORDS[self.label][0]

    @property
    def meaning(self) -> str:
        return DOUBT if self.doubtful else WORDS[self.label][1]


def render_card(case: Case) -> Card:
    """The pictures and words of one case; keep this, not the case, where many images are scanned."""
    image, verdict = case.image, case.verdict
    layers = heat.layers(image, verdict, width=WIDTH, weight=WEIGHT)
    truth = None
    if case.truth is not None:
        truth = picture_uri(heat.png(heat.truth_marks(image, verdict, case.truth, width=WIDTH, weight=WEIGHT)))
    return Card(
        name=case.name, caption=case.caption, label=verdict.label, doubtful=verdict.doubtful, score=verdict.score,
        threshold=verdict.threshold, seconds=verdict.seconds, synthetic=image.provenance.synthetic,
        base=picture_uri(heat.jpeg(layers.grey[..., 0])), heat=picture_uri(heat.png(layers.heat)),
        marks=picture_uri(heat.png(layers.marks)), truth=truth, size=(layers.grey.shape[1], layers.grey.shape[0]),
        findings=tuple(_finding(image, verdict, f, rank) for rank, f in enumerate(verdict.findings, 1)),
        evidence=tuple(_evidence(e, verdict) for e in verdict.evidence),
        facts=_facts(image, verdict, layers.slice_index),
        montage=picture_uri(heat.jpeg(montage(image, verdict))) if image.shape[0] > 1 else None)


def write_report(cases: Sequence[Case | Card], path: Path, title: str, *, failed: Sequence[tuple[str, str]] = (),
                 passed: Sequence[tuple[str, str]] = ()) -> Path:
    """Write the report of `cases` to `path`, whole or not at all; the path. `failed` and `passed` name the files that
    could not be scanned and those that a search passed over, each with the reason.

    Everything is in the one file: style, pictures and a slider's few words of script. It holds no patient's name or
    number, nor a path: only what each case is named. Raises `ArgumentError` where the file cannot be written.
    """
    cards = [case if isinstance(case, Card) else render_card(case) for case in cases]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return write_page(path, files("scanward.report").joinpath("template.html"), title=title, cards=cards,
                      script=SCRIPT, script_digest=digest, failed=failed, passed=passed,
                      counts={label: sum(card.label == label for card in cards) for label in WORDS})


def _finding(image: Image, verdict: Verdict, finding: Finding, rank: int) -> dict[str, Any]:
    planar = image.shape[0] == 1
    box = flat(finding.box, planar)
    half = len(box) // 2
    return {
        "rank": rank,
        "score": finding.score,
        "method": finding.method or verdict.method,
        "box": f"{', '.join(map(str, box[:2]))} to {', '.join(map(str, box[half:half + 2]))}",
        "slices": "" if planar else f"{slices_of(finding.box)} of {image.shape[0]}",
        "where": _where(box, "px" if planar else "voxels"),
        "where_mm": None if finding.box_mm is None else _where(flat(finding.box_mm, planar), "mm"),
        "picture": _picture(image, verdict, finding) if rank <= CLOSE_UPS else None,
    }


def _picture(image: Image, verdict: Verdict, finding: Finding) -> str:
    """A close-up of a film, three planes of a volume."""
    of = heat.crop if image.shape[0] == 1 else finding_planes
    return picture_uri(heat.jpeg(of(image, verdict, finding)))


def _where(box: Sequence[float], unit: str) -> str:
    """Size and centre of a box in words."""
    half = len(box) // 2
    pairs = list(zip(box[:half], box[half:], strict=True))
    extent = " × ".join(f"{b - a:.1f}" if unit == "mm" else f"{b - a:.0f}" for a, b in pairs)
    ways = ("right", "down", "deep")
    centre = [f"{(a + b) / 2:.0f} {unit} {way}" for (a, b), way in zip(pairs, ways, strict=False)]
    return f"{extent} {unit}, centre {', '.join(centre)}"


def _nameless(verdict: Verdict, sentence: str) -> str:
    """Without the folders of other images that the files' facts name: a report says of no file where it lies."""
    for fact in () if verdict.file is None else verdict.file["facts"]:
        if "other" in fact:
            sentence = sentence.replace(fact["other"], Path(fact["other"]).name)
    return sentence


def _evidence(evidence: Evidence, verdict: Verdict) -> dict[str, Any]:
    own = {SEAL: "the image held against its seal", FILE: "what the file says beside its pixels",
           WATERMARK: "the site's watermark, and where it is missing"}
    summary = own[evidence.method] if evidence.method in own else next(
        (m.summary for m in METHODS if m.kind == "detector" and m.name == evidence.method), "")
    trained_on, licence = _training(evidence.weights_sha256)
    return {
        "method": evidence.method,
        "summary": summary,
        "label": evidence.label,
        "symbol": SYMBOLS[evidence.label],
        "word": "In doubt" if evidence.doubtful else ANSWERS[evidence.label],
        "scored": evidence.conclusive,
        "score": evidence.score,
        "threshold": evidence.threshold,
        "reason": _nameless(verdict, evidence.reason),
        "findings": len(evidence.findings),
        "seconds": evidence.seconds,
        "weights": _short(evidence.weights_sha256) if evidence.weights_sha256 else None,
        "trained_on": trained_on,
        "licence": licence,
    }


def _training(hashes: str | None) -> tuple[str, str]:
    """What the weights were trained on and that data's licence: of several, of the one trained on most."""
    if hashes is None:
        return "nothing; this method is not trained", ""
    try:
        entries = weights.manifest().values()
    except WeightsError:
        return "unknown", ""
    known = [(e.trained_on, e.licence) for e in entries if e.sha256 in hashes.split()]
    return max(known, key=lambda one: len(one[0]), default=("unknown", ""))


def _facts(image: Image, verdict: Verdict, slice_index: int) -> tuple[tuple[str, str], ...]:
    z, y, x = image.shape
    size = f"{x} × {y} pixels" + (f", {z} slices; slice {slice_index + 1} is shown" if z > 1 else "")
    spacing = "not stated in the file" if image.spacing is None else (
        f"{image.spacing[2]:g} × {image.spacing[1]:g} mm" + (f" × {image.spacing[0]:g} mm" if z > 1 else ""))
    facts = [
        ("Image", traits(image.modality).title),
        ("Size", size),
        ("Pixel spacing", spacing),
        ("Depth", f"{image.bits} bits" + (", stored inverted (MONOCHROME1)" if image.inverted else "")),
        ("File format", " · ".join(filter(None, (image.provenance.format, image.provenance.transfer_syntax)))),
        ("Equipment", image.provenance.manufacturer or ""),
        ("Remarks", _nameless(verdict, verdict.remarks)),
        ("Method", verdict.method),
        ("Weights", _short(verdict.weights_sha256)),
        ("Scanward version", verdict.version),
        ("Parameters", json.dumps(verdict.parameters, default=str, ensure_ascii=False) if verdict.parameters else ""),
    ]
    return tuple((name, text) for name, text in facts if text)


def _short(hashes: str | None) -> str:
    """Several weights' hashes are parted by blanks."""
    return ", ".join(f"SHA-256 {one[:12]}…" for one in hashes.split()) if hashes else "none"
