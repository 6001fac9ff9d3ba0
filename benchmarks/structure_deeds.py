"""The scenarios of `benchmarks/structure.py` that change an image, or whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from structure_scenarios import (
    Work,
    by_gdcm,
    by_img2dcm,
    by_itk,
    by_orthanc,
    copied,
    dcmodify,
    edited,
    in_eight_bits,
    lesion,
    rebuilt,
    repaint,
    scenario,
    set_everywhere,
    stored,
    through,
    whole_by_orthanc,
)

GROUPS = EDIT, REPLACE, COPY, HEADER = ("pixels edited", "images replaced", "copied between patients",
                                        "header edited")
TO_ANOTHER = '{"Replace": {"PatientID": "OTHER", "PatientName": "OTHER"}, "Force": true}'
OF_WHOM = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "SeriesInstanceUID",
           "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "FrameOfReferenceUID", "SeriesNumber")


@scenario("pydicom, a few slices saved", EDIT)
@scenario("pydicom, film saved", EDIT, "film")
def _(work: Work) -> None:
    edited(work.some, repaint(lesion))


@scenario("pydicom, whole series saved", EDIT)
def _(work: Work) -> None:
    edited(work.some, repaint(lesion))
    edited([path for path in work.files if path not in work.some], lambda data: None)


@scenario("pydicom, new UIDs for what was edited", EDIT, "series", "film")
def _(work: Work) -> None:
    def act(data: Dataset) -> None:
        repaint(lesion)(data)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    edited(work.some, act)


@scenario("pydicom, built anew with few elements, a few", EDIT)
def _(work: Work) -> None:
    for path in work.some:
        rebuilt(path, lesion)


@scenario("pydicom, built anew with few elements, all", EDIT, "series", "film")
def _(work: Work) -> None:
    for path in work.files:
        rebuilt(path, lesion if path in work.some else lambda values: values)


@scenario("pydicom, then dcmconv, a few", EDIT)
def _(work: Work) -> None:
    edited(work.some, repaint(lesion))
    through("dcmconv", work.some, "+ti")


@scenario("pydicom, then dcmcjpls, a few", EDIT)
def _(work: Work) -> None:
    edited(work.some, repaint(lesion))
    through("dcmcjpls", work.some)


@scenario("pydicom, then GDCM, a few", EDIT)
def _(work: Work) -> None:
    edited(work.some, repaint(lesion))
    for path in work.some:
        by_gdcm(path)


@scenario("SimpleITK, header kept, a few", EDIT)
def _(work: Work) -> None:
    by_itk(work.some, lesion, keep=True)


@scenario("SimpleITK, header kept, all", EDIT)
def _(work: Work) -> None:
    by_itk(work.files, lesion, keep=True)


@scenario("SimpleITK, header in part, all", EDIT)
def _(work: Work) -> None:
    by_itk(work.files, lesion, keep=False)


@scenario("Orthanc, new UIDs for what was edited", EDIT)
def _(work: Work) -> None:
    edited(work.some, repaint(lesion))
    by_orthanc(work, work.some, "modify", '{"Keep": ["StudyInstanceUID", "SeriesInstanceUID"], "Force": true}')


@scenario("hidden JPEG of quality 60, all", EDIT, "series", "film")
def _(work: Work) -> None:
    edited(work.files, repaint(lambda values: in_eight_bits(lesion(values), 60)))


@scenario("hidden JPEG of quality 85, all", EDIT, "series", "film")
def _(work: Work) -> None:
    edited(work.files, repaint(lambda values: in_eight_bits(lesion(values), 85)))


@scenario("through eight bits, all", EDIT, "series", "film")
def _(work: Work) -> None:
    edited(work.files, repaint(lambda values: in_eight_bits(lesion(values))))


@scenario("contrast stretched by 1.5, all", EDIT, "series", "film")
def _(work: Work) -> None:
    def stretch(values: np.ndarray) -> np.ndarray:
        middle = np.median(values)
        return np.rint((values - middle) * 1.5 + middle)
    edited(work.files, repaint(stretch))


@scenario("a picture put back by img2dcm, a few", EDIT, "series", "film")
def _(work: Work) -> None:
    for path in work.some:
        by_img2dcm(path, 90)


@scenario("a picture put back by img2dcm, all", EDIT)
def _(work: Work) -> None:
    for path in work.files:
        by_img2dcm(path, 90)


@scenario("slices covered by others of the series", REPLACE)
def _(work: Work) -> None:
    cover = [work.files[0]] * len(work.some)
    _put_in(work.some, cover)


@scenario("two slices' pixels swapped", REPLACE)
def _(work: Work) -> None:
    first, last = work.files[1], work.files[-2]
    _put_in([first, last], [last, first])


@scenario("two slices' positions swapped", REPLACE)
def _(work: Work) -> None:
    first, last = (pydicom.dcmread(path) for path in (work.files[1], work.files[-2]))
    first.ImagePositionPatient, last.ImagePositionPatient = last.ImagePositionPatient, first.ImagePositionPatient
    first.save_as(work.files[1])
    last.save_as(work.files[-2])


@scenario("a slice deleted, the rest moved up", REPLACE)
def _(work: Work) -> None:
    _closed_up(work, len(work.files) // 2, 1)


@scenario("three slices deleted, the rest moved up", REPLACE)
def _(work: Work) -> None:
    _closed_up(work, len(work.files) // 2, 3)


@scenario("slices turned left to right", REPLACE)
def _(work: Work) -> None:
    edited(work.some, repaint(lambda values: values[:, ::-1]))


@scenario("whole series turned left to right", REPLACE)
def _(work: Work) -> None:
    edited(work.files, repaint(lambda values: values[:, ::-1]))


@scenario("original and edited both there, one UID", REPLACE, "series", "film")
def _(work: Work) -> None:
    copied(work.host, work.folder / "a")
    edited(work.some, repaint(lesion))


@scenario("the original there, edited with new UIDs", REPLACE, "series", "film")
def _(work: Work) -> None:
    copied(work.host, work.folder / "a")
    edited(work.some, repaint(lesion))
    series = generate_uid()
    for path in work.files:
        edited([path], set_everywhere(SeriesInstanceUID=series, SOPInstanceUID=generate_uid()))


@scenario("another patient's slices, pixels alone", COPY)
def _(work: Work) -> None:
    _put_in(work.some, work.donor)


@scenario("another patient's slices, pixels alone, the donor there", COPY)
def _(work: Work) -> None:
    copied(work.donor, work.folder / "a")
    _put_in(work.some, work.donor)


@scenario("another patient's slices, files with names edited", COPY)
def _(work: Work) -> None:
    for path, donor in zip(work.some, work.donor, strict=False):
        _as_of(path, donor)


@scenario("another patient's whole series, pixels alone", COPY)
def _(work: Work) -> None:
    _put_in(work.files, work.donor)


@scenario("another patient's image, the donor there", COPY, "series", "film")
def _(work: Work) -> None:
    copied(work.donor, work.folder / "a")
    _put_in(work.files, work.donor)


@scenario("given to another patient by Orthanc", COPY)
def _(work: Work) -> None:
    whole_by_orthanc(work, "patients", "modify", TO_ANOTHER)


@scenario("given to another patient by Orthanc, the original there", COPY)
def _(work: Work) -> None:
    copied(work.host, work.folder / "a")
    whole_by_orthanc(work, "patients", "modify", TO_ANOTHER)


@scenario("given to another patient by pydicom, new UIDs", COPY, "series", "film")
def _(work: Work) -> None:
    uids: dict[str, str] = {}

    def act(data: Dataset) -> None:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            if keyword in data:
                setattr(data, keyword, uids.setdefault(str(getattr(data, keyword)), generate_uid()))
        data.PatientName = data.PatientID = "OTHER"
        data.file_meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID", "1.2.3")
    edited(work.files, act)


def _put_in(files: Sequence[Path], others: Sequence[Path]) -> None:
    """Others' pixels in these headers."""
    found = [stored(path) for path in others]
    for path, values in zip(files, found, strict=False):
        data = pydicom.dcmread(path, force=True)
        if data.file_meta.TransferSyntaxUID.is_compressed:
            data.decompress(generate_instance_uid=False)
        own = data.pixel_array
        fitting = values if own.shape == values.shape else cv2.resize(values, own.shape[::-1])
        data.PixelData = fitting.astype(own.dtype).tobytes()
        data["PixelData"].VR = "OW" if data.BitsAllocated > 8 else "OB"
        data.save_as(path)


def _as_of(path: Path, donor: Path) -> None:
    """A donor's file with what says whose and where it is from the host's."""
    host, data = pydicom.dcmread(path, force=True), pydicom.dcmread(donor, force=True)
    for keyword in (*OF_WHOM, "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                    "SOPInstanceUID"):
        if keyword in host:
            setattr(data, keyword, getattr(host, keyword))
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path)


def _closed_up(work: Work, first: int, count: int) -> None:
    """Slices taken out, and those behind given their places and numbers."""
    places = [pydicom.dcmread(path, stop_before_pixels=True) for path in work.files]
    for path in work.files[first:first + count]:
        path.unlink()
    for at, path in enumerate(work.files[first + count:], first):
        edited([path], set_everywhere(ImagePositionPatient=places[at].ImagePositionPatient,
                                      InstanceNumber=places[at].InstanceNumber))


def _header(name: str, options: str, *kinds: str, some: bool = False) -> None:
    def act(work: Work) -> None:
        dcmodify(work.some if some else work.files, *(part for one in options.split() for part in ("-i", one)))
    scenario(f"{name}, dcmodify, {'a few' if some else 'all'}", HEADER, *kinds)(act)


_header("patient", "PatientName=OTHER PatientID=OTHER", some=True)
_header("patient", "PatientName=OTHER PatientID=OTHER", "series", "film")
_header("kernel", "ConvolutionKernel=FC99", some=True)
_header("kernel", "ConvolutionKernel=FC99")
_header("pixel spacing", "PixelSpacing=0.4\\0.4")
_header("birth", "PatientBirthDate=20290101", "series", "film")
_header("study date", "StudyDate=20291231", "series", "film")
_header("study date back", "StudyDate=19700101", "series", "film")
_header("intercept", "RescaleIntercept=-900", some=True)
_header("intercept", "RescaleIntercept=-900")
_header("window", "WindowCenter=500 WindowWidth=100", "series", "film")
_header("maker", "Manufacturer=HOLOGIC", "series", "film")
_header("time of taking", "AcquisitionTime=010101", some=True)
_header("slice thickness", "SliceThickness=9", some=True)
_header("side", "ImageLaterality=R Laterality=R", "film")


@scenario("patient with birth and sex, dcmodify, half", HEADER)
def _(work: Work) -> None:
    for path in work.files[:len(work.files) // 2]:
        sex = {"M": "F", "F": "M"}.get(str(pydicom.dcmread(path, stop_before_pixels=True).get("PatientSex")), "F")
        dcmodify([path], "-i", "PatientName=OTHER", "-i", "PatientID=OTHER", "-i", "PatientBirthDate=19390507",
                 "-i", f"PatientSex={sex}", "-i", "StudyDate=20100101")


@scenario("SOP Instance UID, pydicom, meta group as it was", HEADER, "series", "film")
def _(work: Work) -> None:
    for path in work.files:
        edited([path], set_everywhere(SOPInstanceUID=generate_uid()))


@scenario("new SOP Instance UID, dcmodify -gin", HEADER, "series", "film")
def _(work: Work) -> None:
    dcmodify(work.files, "-gin")


@scenario("order turned round by InstanceNumber, a third", HEADER)
def _(work: Work) -> None:
    part = work.files[2:5]
    numbers = [pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber for path in part]
    for path, number in zip(part, numbers[::-1], strict=True):
        dcmodify([path], "-i", f"InstanceNumber={number}")


@scenario("all moved by 50 mm, pydicom", HEADER)
def _(work: Work) -> None:
    def act(data: Dataset) -> None:
        x, y, z = map(float, data.ImagePositionPatient)
        data.ImagePositionPatient = [x, y, round(z + 50, 4)]
    edited(work.files, act)


@scenario("a program in the preamble", HEADER, "series", "film")
def _(work: Work) -> None:
    for path in work.files[:1]:
        whole = path.read_bytes()
        path.write_bytes((b"MZ" + b"\x90\0" * 29 + b"\x80\0\0\0").ljust(128, b"\0") + whole[128:])
