"""What people do to DICOM files, harmful and harmless, for `benchmarks/structure.py`.

Each works on copies in a folder, with the programs that people use. What is forged is made by copying noise and all
from elsewhere, so that only the file can tell.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from gateway import Orthanc
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

Pixels = npt.NDArray[np.generic]


@dataclass
class Work:
    """Copies of one host, to be changed."""

    files: list[Path]
    """By slice; one of a film."""
    donor: list[Path]
    """Another patient's, of the same size; the originals."""
    folder: Path
    """What is given to the witness: everything in it."""
    orthanc: Orthanc
    host: list[Path] = field(default_factory=list)
    """The originals."""

    @property
    def some(self) -> list[Path]:
        """A quarter of a series, in its middle; all of a film."""
        count = len(self.files)
        return self.files[3 * count // 8:5 * count // 8] or self.files


@dataclass(frozen=True)
class Scenario:
    name: str
    kind: str
    """`series`, `film`, or `harmless` for either."""
    group: str
    act: Callable[[Work], None]


SCENARIOS: list[Scenario] = []


def scenario(name: str, group: str, *kinds: str) -> Callable[[Callable[[Work], None]], Callable[[Work], None]]:
    def add(act: Callable[[Work], None]) -> Callable[[Work], None]:
        SCENARIOS.extend(Scenario(name, kind, group, act) for kind in kinds or ("series",))
        return act
    return add


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=120)


def dcmodify(files: Sequence[Path], *options: str) -> None:
    run("dcmodify", "-nb", "-ie", *options, *files)


def through(program: str, files: Sequence[Path], *options: str) -> None:
    """A DCMTK program that reads one file and writes another."""
    for path in files:
        made = path.with_suffix(".made")
        run(program, *options, path, made)
        made.replace(path)


def edited(files: Sequence[Path], change: Callable[[Dataset], None], **save: bool) -> None:
    """pydicom's way: read, change, save."""
    for path in files:
        data = pydicom.dcmread(path, force=True)
        if data.file_meta.TransferSyntaxUID.is_compressed:
            data.decompress(generate_instance_uid=False)
        change(data)
        data.save_as(path, **save)


def repaint(change: Callable[[Pixels], Pixels]) -> Callable[[Dataset], None]:
    def act(data: Dataset) -> None:
        values = data.pixel_array
        made = change(values.copy())
        data.PixelData = np.clip(made, np.iinfo(values.dtype).min, np.iinfo(values.dtype).max).astype(
            values.dtype).tobytes()
        data["PixelData"].VR = "OW" if data.BitsAllocated > 8 else "OB"
    return act


def lesion(values: Pixels) -> Pixels:
    """A disc of one place put on another, noise and all."""
    rows, columns = values.shape
    y, x = np.mgrid[-12:13, -12:13]
    disc = y * y + x * x < 130
    there = values[rows // 2 - 12:rows // 2 + 13, columns // 3 - 12:columns // 3 + 13]
    there[disc] = values[rows // 2 - 12:rows // 2 + 13, columns // 2 - 12:columns // 2 + 13][disc]
    return values


def in_eight_bits(values: Pixels, quality: int | None = None) -> Pixels:
    """As a picture for people: 256 grey levels, and through JPEG."""
    low, high = np.percentile(values, (0.5, 99.5))
    scale = max(1.0, float(high - low)) / 255
    grey = np.clip((values - low) / scale, 0, 255).round().astype(np.uint8)
    if quality is not None:
        grey = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED)
    return np.rint(grey * scale + low)


def stored(path: Path) -> Pixels:
    return pydicom.dcmread(path, force=True).pixel_array


def rebuilt(path: Path, change: Callable[[Pixels], Pixels]) -> None:
    """As scripts build a file: what viewers need, and no more."""
    old = pydicom.dcmread(path, force=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, old.SOPClassUID
    meta.MediaStorageSOPInstanceUID = old.SOPInstanceUID
    new = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
                    "Modality", "PatientID", "PatientName", "StudyDate", "InstanceNumber", "ImagePositionPatient",
                    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns", "BitsAllocated",
                    "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation",
                    "RescaleSlope", "RescaleIntercept", "Manufacturer"):
        if keyword in old:
            setattr(new, keyword, getattr(old, keyword))
    values = old.pixel_array
    new.PixelData = change(values.copy()).astype(values.dtype).tobytes()
    new["PixelData"].VR = "OW" if new.BitsAllocated > 8 else "OB"
    new.save_as(path, enforce_file_format=True)


def by_gdcm(path: Path, syntax: str = "ExplicitVRLittleEndian") -> None:
    """Read and written by GDCM."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise RuntimeError(f"GDCM does not read {path}")
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise RuntimeError(f"GDCM does not recode {path}")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not writer.Write():
        raise RuntimeError(f"GDCM does not write {path}")


def by_itk(files: Sequence[Path], change: Callable[[Pixels], Pixels], keep: bool) -> None:
    """Read and written by SimpleITK, slice by slice, the header copied or not."""
    import SimpleITK

    for path in files:
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.LoadPrivateTagsOn()
        image = reader.Execute()
        made = SimpleITK.GetImageFromArray(change(SimpleITK.GetArrayFromImage(image)[0].copy()).astype(np.int16)[None])
        made.CopyInformation(image)
        for key in image.GetMetaDataKeys():
            if keep or key[:4] in ("0008", "0010", "0020"):
                made.SetMetaData(key, image.GetMetaData(key))
        writer = SimpleITK.ImageFileWriter()
        if keep:
            writer.KeepOriginalImageUIDOn()
        target = path.with_suffix(".dcm")
        writer.SetFileName(str(target))
        writer.Execute(made)
        if target != path:
            target.replace(path)


def by_img2dcm(path: Path, quality: int | None) -> None:
    """A picture of it, edited, put back with its header by DCMTK."""
    values = pydicom.dcmread(path, force=True).pixel_array
    grey = lesion(np.clip(in_eight_bits(values) - in_eight_bits(values).min(), 0, None))
    grey = (255 * grey / max(1.0, float(grey.max()))).astype(np.uint8)
    picture, made = path.with_suffix(".jpg"), path.with_suffix(".made")
    cv2.imwrite(str(picture), grey, [cv2.IMWRITE_JPEG_QUALITY, quality or 90])
    run("img2dcm", "-df", path, "--keep-appn", picture, made)
    picture.unlink()
    made.replace(path)


def set_everywhere(**values: object) -> Callable[[Dataset], None]:
    def act(data: Dataset) -> None:
        for keyword, value in values.items():
            setattr(data, keyword, value)
    return act


def stored_in_orthanc(work: Work, files: Sequence[Path]) -> list[str]:
    import json
    import urllib.request

    found = []
    for path in files:
        request = urllib.request.Request(work.orthanc.http + "/instances", path.read_bytes(), method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            found.append(json.load(answer)["ID"])
    return found


def orthanc_call(work: Work, path: str, body: str | None = None, method: str = "") -> bytes:
    import urllib.request

    request = urllib.request.Request(work.orthanc.http + path, None if body is None else body.encode(),  # noqa: S310
                                     method=method or ("GET" if body is None else "POST"))
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return bytes(answer.read())


def by_orthanc(work: Work, files: Sequence[Path], way: str, body: str) -> None:
    """Each file through `/instances/{id}/{way}`; all of them are gone from it afterwards."""
    for path, name in zip(files, stored_in_orthanc(work, files), strict=True):
        made = orthanc_call(work, f"/instances/{name}/{way}", body or None)
        path.write_bytes(made)
        orthanc_call(work, f"/instances/{name}", method="DELETE")


def whole_by_orthanc(work: Work, level: str, way: str, body: str) -> None:
    """The whole through `/studies/{id}/{way}`, or `/patients/...`, as its web page does it: with new UIDs."""
    import json

    names = stored_in_orthanc(work, work.files)
    up = {"studies": "study", "patients": "patient"}[level]
    parent = json.loads(orthanc_call(work, f"/instances/{names[0]}/{up}"))["ID"]
    made = json.loads(orthanc_call(work, f"/{level}/{parent}/{way}", body))["ID"]
    for path in work.files:
        path.unlink()
    for i, one in enumerate(json.loads(orthanc_call(work, f"/{level}/{made}/instances"))):
        (work.folder / f"{i:04d}.dcm").write_bytes(orthanc_call(work, f"/instances/{one['ID']}/file"))
    for name in (parent, made):
        orthanc_call(work, f"/{level}/{name}", method="DELETE")


def copied(paths: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"{i:04d}.dcm" for i in range(len(paths))]
    for path, target in zip(paths, made, strict=True):
        shutil.copyfile(path, target)
    return made
