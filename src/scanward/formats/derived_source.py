"""What a verdict's DICOM results refer to: the files that its image was read from, read again."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats.guard import decoding, shown
from scanward.formats.reference import check_one, read_reference
from scanward.formats.series import Slice, stack
from scanward.image import Image
from scanward.modality import traits


def references_of(image: Image) -> tuple[Path, list[Dataset]]:
    """The image's path, and a reference to the source of each of its slices, in their order: as `read_reference` makes
    it, and in a series also with where the slice lies.

    Raises `ArgumentError` where the image did not come from DICOM files, `UnreadableError` where they have changed
    since, `UnsupportedError` where no object can refer to them.
    """
    path = image.provenance.path
    if path is None or image.provenance.format not in ("", "dicom"):
        raise ArgumentError(f"{shown(image.name)} is not a DICOM file, so there is no study to write DICOM results "
                            "into; leave out --dicom or scan the DICOM original.")
    volume = traits(image.modality).volume
    try:
        with decoding(path):
            found = _series(image, path) if volume else [read_reference(path)]
    except UnreadableError as error:
        raise UnreadableError(f"{shown(path)} can no longer be read; scan it again.") from error
    known = [uid for _, uid in image.provenance.slices] if volume else [image.provenance.sop_instance_uid]
    if len(found) != len(known) or any(
            uid not in (None, one.SOPInstanceUID) or (one.Rows, one.Columns) != image.shape[1:]
            for one, uid in zip(found, known, strict=True)):
        raise UnreadableError(f"{shown(path)} has changed since it was scanned; scan it again.")
    if volume:
        _check_one_series(found, path)
    return path, found


def _check_one_series(found: list[Dataset], path: Path) -> None:
    """`UnsupportedError` for slices that no library takes for one series, or cannot tell apart."""
    check_one(path, found, "StudyInstanceUID", "several studies")
    check_one(path, found, "SeriesInstanceUID", "several series")
    if len({one.SOPInstanceUID for one in found}) < len(found):
        raise UnsupportedError(f"{shown(path)} has slices with one SOP Instance UID, so no DICOM object can refer to "
                               "each; export the series again.")


def _series(image: Image, path: Path) -> list[Dataset]:
    files = list(dict.fromkeys(file for file, _ in image.provenance.slices))
    if image.shape[0] == 1:
        raise UnsupportedError(f"{shown(path)} is a single CT slice, and DICOM results are made for whole series; scan "
                               "the series.")
    if len(files) != image.shape[0]:
        raise UnsupportedError(f"{shown(path)} holds several slices in one file, as enhanced CT does, and DICOM "
                               "results are made for a file a slice; use the HTML report instead.")
    found = stack(files, image.modality)
    step = (image.spacing or (1.0,))[0]
    placed = [_placed(one, step, found[0]) for one in found]
    for one in placed:
        # A series lies in one (PS3.3 C.7.4.1), though some de-identification gives each slice its own.
        one.FrameOfReferenceUID = placed[0].FrameOfReferenceUID
    return placed


def _placed(one: Slice, step: float, first: Slice) -> Dataset:
    """A reference with its plane, as the reader of the series understood it: turned and spaced as the first slice."""
    reference = read_reference(one.path, placed=True)
    reference.ImageOrientationPatient = [_decimal(v) for v in first.orientation.ravel()]
    reference.ImagePositionPatient = [_decimal(v) for v in one.position]
    reference.PixelSpacing = [_decimal(v) for v in first.spacing]
    # A voxel of the series reaches halfway to its neighbours, however thick the slices were scanned.
    reference.SliceThickness = reference.SpacingBetweenSlices = _decimal(step)
    return reference


def _decimal(value: float) -> DSfloat:
    return DSfloat(float(value), auto_format=True)
