"""Studies whose pages have much to show: a chest phantom read from its DICOM series, mammograms of several views."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import web_studies

from scanward import load
from scanward.box import Box
from scanward.datasets.phantom import chest_phantom
from scanward.formats.made_series import write_made_series
from scanward.image import Image
from scanward.inbox.folders import Inbox

CHEST, BARE, FOUR, PRIOR, STRANGER, BLANK, DOUBT = (
    "CT thorax", "CT without spacing", "Screening", "Screening before", "Somebody else", "Nameless", "Raw film")
HOSTILE = 'P-1"><script>alert(1)</script>'
BOX = Box(30, 120, 60, 38, 140, 80)


def change(root: Path, name: str, images: tuple[dict[str, Any], ...] = (), **said: Any) -> None:
    """Something else in a study's `study.json`."""
    path = root / "done" / web_studies.key_of(name) / "study.json"
    facts = json.loads(path.read_text())
    for one, other in zip(facts["images"], images, strict=False):
        one.update(other)
    path.write_text(json.dumps(facts | said))


def film(side: str) -> Image:
    """A mammogram as it is usually stored: the chest wall on the left of a left breast, on the right of a right one."""
    made = web_studies.film()
    return made if side == "L" else dataclasses.replace(made, pixels=made.pixels[:, :, ::-1].copy())


def phantom(folder: Path) -> Image:
    """The chest phantom as Scanward reads it from DICOM."""
    return load(write_made_series(chest_phantom(), folder / "phantom", description="A phantom"))


def fill(inbox: Inbox, chest: Image) -> None:
    """Puts all of them into the inbox."""
    put, root = web_studies.put, inbox.root
    put(root, CHEST, minute=9, images=((chest, "tampered", (BOX,)),), patient_id="CT-9")
    put(root, BARE, label="authentic", minute=8, images=((web_studies.chest(), "authentic", ()),), patient_id="")
    change(root, BARE, ({"spacing": None, "heat": 0.0},))
    left, right = film("L"), film("R")
    put(root, FOUR, minute=7, patient_id=HOSTILE, issuer="HOSPITAL", images=(
        (left, "authentic", ()), (left, "tampered", (Box(0, 500, 150, 1, 580, 230),)), (right, "authentic", ()),
        (right, "inconclusive", ()), (left, "authentic", ())))
    change(root, FOUR, (
        {"laterality": "L", "view": "CC", "chest_wall": "left"},
        # It was stored the wrong way round.
        {"laterality": "R", "view": "CC", "chest_wall": "left", "heat": 0.95},
        {"laterality": "R", "view": "MLO", "chest_wall": "right", "heat": 0.0},
        {"heat": 0.0, "score": 0.5, "reason": "It shows no grain."}, {"laterality": "L", "view": "XCCL"}))
    put(root, PRIOR, label="authentic", minute=6, patient_id=HOSTILE, issuer="HOSPITAL", study_date="20241119",
        images=((left, "authentic", ()),))
    put(root, STRANGER, label="authentic", minute=5, patient_id=HOSTILE, issuer="ELSEWHERE",
        images=((left, "authentic", ()),))
    put(root, BLANK, label="authentic", minute=4, patient_id="", images=((left, "authentic", ()),))
    put(root, DOUBT, minute=3, label="inconclusive", patient_id="P-7", score=0.5, images=((left, "inconclusive", ()),))
    change(root, DOUBT, ({"heat": 0.0, "score": 0.5, "reason": "It is an image for processing."},))
