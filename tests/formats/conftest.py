"""DICOM files made from arrays, so that every test knows the answer before the reader speaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

MG_CLASS = "1.2.840.10008.5.1.4.1.1.1.2"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ROWS, COLUMNS = 48, 40

Write = Callable[..., Path]


def breast(bits: int = 12, signed: bool = False, rows: int = ROWS, columns: int = COLUMNS) -> npt.NDArray[Any]:
    """(rows, columns) values over the whole range of the depth: a slope with grain, never symmetric."""
    y, x = np.mgrid[:rows, :columns]
    grain = np.random.default_rng(bits).integers(0, max(2, 2**bits // 16), (rows, columns))
    values = (2**bits - 1) * (2 * y + x) // (2 * rows + columns) + grain
    values = np.clip(values, 0, 2**bits - 1)
    values[0, :2] = 0, 2**bits - 1
    width = 8 if bits <= 8 else 16
    return (values - 2 ** (bits - 1)).astype(f"i{width // 8}") if signed else values.astype(f"u{width // 8}")


def dataset(pixels: npt.NDArray[Any], bits: int = 12, **elements: Any) -> FileDataset:
    """A mammogram in little-endian explicit VR; `elements` replace header elements, None removes them."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(MG_CLASS)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["scanward", str(elements)])
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID = "1.2.3.4", "1.2.3"
    data.Modality, data.Manufacturer, data.BodyPartExamined = "MG", "Phantom & Sons", "BREAST"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.dtype.itemsize, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    data["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    for keyword, value in elements.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    return data


def ct_slice(z: float, value: int = 1000, **elements: Any) -> Dataset:
    """An axial CT slice at `z` mm whose stored values all are `value`, HU 24 less than 1,000 lower."""
    geometry: dict[str, Any] = {
        "SOPClassUID": CT_CLASS, "SOPInstanceUID": generate_uid(entropy_srcs=[str(z), str(value)]),
        "Modality": "CT", "BodyPartExamined": "CHEST", "RescaleSlope": 1, "RescaleIntercept": -1024,
        "PixelSpacing": [0.7, 0.6], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [-100, -120, z],
    }  # fmt: skip
    pixels = np.full((ROWS, COLUMNS), value, np.uint16)
    return dataset(pixels, **(geometry | elements))


def group(**macros: dict[str, Any]) -> Dataset:
    """A functional group; each macro by its name without `Sequence`, with the elements of its one item."""
    made = Dataset()
    for macro, elements in macros.items():
        item = Dataset()
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        setattr(made, f"{macro}Sequence", [item])
    return made


@pytest.fixture(scope="session")
def phantom() -> SimpleNamespace:
    """The makers above, for test modules."""
    return SimpleNamespace(breast=breast, dataset=dataset, ct_slice=ct_slice, group=group)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a data set below the test's folder and answers the path."""

    def _write(data: Dataset, name: str = "image.dcm", **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, **({"enforce_file_format": True} | options))
        return path

    return _write
