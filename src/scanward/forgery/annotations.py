"""Annotations of a set of forged mammograms, for those who train lesion detectors: COCO, and DICOM SR."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.disk import whole_file
from scanward.errors import UnreadableError, UnsupportedError
from scanward.forgery.files import RECORD
from scanward.forgery.replay import read_record
from scanward.formats.derived_lesion import lesion_report
from scanward.formats.guard import decoding, shown
from scanward.formats.key_object import is_dicom
from scanward.regions import parts_of
from scanward.version import __version__

COCO, REPORT = "annotations.json", "annotation.dcm"
CATEGORY = {"id": 1, "name": "mass", "supercategory": "lesion"}


def annotate(folder: Path) -> tuple[int, list[UnsupportedError]]:
    """Write COCO's `annotations.json` for the set that `forge_many` made in `folder`, and beside each forged DICOM file
    `annotation.dcm`, an SR by TID 1500; how many images it names, and why some have no SR.

    COCO's boxes are x, y, width and height in pixels from the top left corner, its polygons run through the centres of
    the truth's outermost pixels, and its areas are counts of pixels of the truth; of its largest part, as Mammo-CGAN's
    threshold leaves specks around a mass. Folders that were harmed, which `forge_many` names, are left out.
    """
    images, annotations, refused = [], [], []
    for path in sorted(folder.glob(f"[0-9]*/{RECORD}")):
        home = path.parent
        try:
            record = read_record(path)
            mask = _mass(home / Path(str(record["mask"])).name)
        except UnreadableError:
            continue
        image, number = home / Path(record["image"]).name, int(home.name)
        height, width = mask.shape
        images.append({"id": number, "file_name": f"{home.name}/{image.name}", "width": width, "height": height,
                       "host": Path(record["host"]).name, "host_sha256": record["host_sha256"]})
        annotations.append(_annotation(number, mask, record))
        if not (home / REPORT).exists():
            try:
                _report(image, mask, record, home / REPORT)
            except UnsupportedError as error:
                refused.append(error)
    made = {"info": {"description": f"Synthetic lesions, made by scanward {__version__} in mammograms; none is real."},
            "categories": [CATEGORY], "images": images, "annotations": annotations}
    with whole_file(folder / COCO) as file:
        file.write((json.dumps(made, indent=1) + "\n").encode())
    return len(images), refused


def _mass(path: Path) -> npt.NDArray[np.bool_]:
    """The largest part of a truth (y, x), joined by faces or corners as outlines are."""
    with decoding(path):
        found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    if found is None or not found.any():
        raise UnreadableError(f"{shown(path)} is no truth of a forgery; move its folder away to have it made again.")
    _, parts, sizes, _ = cv2.connectedComponentsWithStats((found > 127).astype(np.uint8), connectivity=8)
    return np.asarray(parts == 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax()))


def _annotation(number: int, mask: npt.NDArray[np.bool_], record: dict[str, Any]) -> dict[str, Any]:
    inside = np.argwhere(mask)[:, ::-1]
    (left, top), (right, bottom) = inside.min(0).tolist(), (inside.max(0) + 1).tolist()
    return {"id": number, "image_id": number, "category_id": CATEGORY["id"], "iscrowd": 0,
            "bbox": [left, top, right - left, bottom - top], "area": len(inside),
            "segmentation": [line.ravel().tolist() for line in parts_of(mask)],
            "attributes": {"synthetic": True, "size_mm": record["size_mm"], "method": record["method"],
                           "margin": record["params"].get("margin"), "seed": record["seed"]}}


def _report(image: Path, mask: npt.NDArray[np.bool_], record: dict[str, Any], path: Path) -> None:
    if is_dicom(image):
        data = lesion_report(image, mask, record["size_mm"], record["method"], record.get("version", ""),
                             record["params"])
        with whole_file(path) as out:
            out.write(data)
