"""Studies as the scanner leaves them in the inbox, for the tests of the pages."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from scanward.box import Box, flat
from scanward.image import Image
from scanward.report import pictures
from scanward.verdict import Finding

MG_CLASS, CT_CLASS = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.2"
SECRET = b"a secret of the tests, long enough"
WEIGHTS = "0123456789abcdef" * 4


def key_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def film(rows: int = 900, columns: int = 700) -> Image:
    """A half disc of grainy tissue on black."""
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    inside = np.hypot((y - rows / 2) / (0.48 * rows), x / (0.85 * columns)) < 1
    grain = np.random.default_rng(3).normal(0, 900, (rows, columns))
    values = inside * (30000 + 12000 * np.sin(y / 37) * np.cos(x / 53) + grain)
    return Image(np.clip(values, 0, 65535).astype(np.float32)[None], "MG", (1.0, 0.1, 0.1))


def chest(z: int = 24, y: int = 64, x: int = 64) -> Image:
    """A body with two lungs, in HU."""
    down, right = np.mgrid[:y, :x].astype(np.float32)
    body = np.hypot((down - y / 2) / (0.4 * y), (right - x / 2) / (0.48 * x)) < 1
    plane = np.where(body, 40.0, -1000.0)
    for side in (0.3, 0.7):
        plane[np.hypot((down - y / 2) / (0.27 * y), (right - side * x) / (0.14 * x)) < 1] = -850
    pixels = np.repeat(plane[None], z, 0) + np.random.default_rng(5).normal(0, 20, (z, y, x))
    return Image(pixels.astype(np.float32), "CT", (2.5, 0.8, 0.8))


def heat_in(image: Image, box: Box) -> np.ndarray:
    """A hump of heat that is strongest in the middle of the box."""
    low, high = np.array(box[:3], float), np.array(box[3:], float)
    middle, reach = (low + high - 1) / 2, np.maximum((high - low) / 2, 1)
    grid = np.indices(image.shape, dtype=np.float32)
    away = sum(((grid[i] - middle[i]) / reach[i]) ** 2 for i in range(3))
    return np.exp(-away).astype(np.float32) * np.float32(0.95)


def write_object(path: Path, modality: str, study_uid: str, number: int) -> str:
    """A DICOM file that a review can refer to; its SOP Instance UID."""
    data = Dataset()
    data.SOPClassUID = MG_CLASS if modality == "MG" else CT_CLASS
    data.SOPInstanceUID, data.StudyInstanceUID = f"{study_uid}.{number}.1", study_uid
    data.SeriesInstanceUID, data.Modality = f"{study_uid}.{number}", modality
    data.PatientID, data.PatientName = "P-1", "Roe^Jane"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return str(data.SOPInstanceUID)


def image_facts(study: Path, image: Image, number: int, label: str, boxes: tuple[Box, ...],
                study_uid: str, *, picture: bool = True, **changes: Any) -> dict[str, Any]:
    """One entry of `images`; draws its pictures."""
    name = f"{number:016x}"
    uid = write_object(study / "objects" / f"{number}.dcm", image.modality, study_uid, number)
    score = {"tampered": 0.87, "inconclusive": 0.4}.get(label, 0.03)
    spacing = image.spacing or (1.0, 1.0, 1.0)
    planar = image.shape[0] == 1
    found = [Finding(box, score, method="self-reference") for box in boxes]
    if picture:
        heat = heat_in(image, boxes[0]) if boxes else np.zeros(image.shape, np.float32)
        pictures.draw(image, heat, found, label, study / "pictures" / name)
    return {
        "id": name, "sop_instance_uid": uid, "series_instance_uid": f"{study_uid}.{number}",
        "files": [f"objects/{number}.dcm"], "modality": image.modality, "label": label, "score": score,
        "threshold": 0.5, "reason": "", "shape": list(image.shape), "spacing": list(spacing), "error": None,
        "findings": [{"box": flat(f.box, planar), "box_mm": flat(f.box.in_mm(spacing), planar), "score": f.score,
                      "method": f.method} for f in found],
        "method": "default", "version": "0.1.0", "weights_sha256": WEIGHTS, "seconds": 4.2} | changes


def put(root: Path, name: str, *, state: str = "done", label: str = "tampered", minute: int = 0,
        images: tuple[tuple[Image, str, tuple[Box, ...]], ...] = (), **changes: Any) -> str:
    """A study in the inbox at `root`; its key."""
    key, uid = key_of(name), f"1.2.3.{int(key_of(name)[:8], 16)}"
    folder = root / state / key
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "objects").mkdir(parents=True)
    made = [image_facts(folder, image, n, its, boxes, uid) for n, (image, its, boxes) in enumerate(images, 1)]
    when = f"2026-11-{20 + minute // 60:02d}T10:{minute % 60:02d}:00+00:00"
    facts = {"key": key, "study_uid": uid, "patient_id": "P-1", "accession": "A-77", "description": name,
             "study_date": "20261119", "modality": images[0][0].modality if images else "MG", "received": when,
             "finished": when, "label": label, "score": max((i["score"] for i in made), default=0.0), "images": made,
             "passed": [], "attempts": 1, "error": None} | changes
    (folder / "study.json").write_text(json.dumps(facts))
    return key


class Client:
    """A browser without script that keeps cookies and follows nothing. The app runs in this very process."""

    def __init__(self, app: Any, base: str = "http://testserver", address: str = "192.0.2.7") -> None:
        self.app, self._base, self._address = app, base, address
        self.cookies = httpx.Cookies()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self._run("GET", path, options)

    def head(self, path: str, **options: Any) -> httpx.Response:
        return self._run("HEAD", path, options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self._run("POST", path, options)

    def _run(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        # In a thread of its own: Playwright keeps an event loop in the tests' thread.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: asyncio.run(self._ask(method, path, options))).result()

    async def _ask(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(self._address, 1234))
        async with httpx.AsyncClient(transport=transport, base_url=self._base, cookies=self.cookies) as http:
            answer = await http.request(method, path, **options)
            self.cookies = http.cookies
            return answer


def dataset(path: Path) -> Dataset:
    return pydicom.dcmread(path)
