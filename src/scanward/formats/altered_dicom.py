"""The DICOM file of an altered mammogram: its host's header with other pixels and the marks of a derived image."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from scanward.errors import UnreadableError
from scanward.formats.dicom import layout_of, opened
from scanward.formats.frames import GROUPS
from scanward.formats.guard import clean, shown
from scanward.formats.pixels import LOSSY, Layout, read_frame
from scanward.formats.reference import derived_uid
from scanward.image import Image

SYNTHETIC = 0x0008001C
STALE = ("IconImageSequence", "MACParametersSequence", "DigitalSignaturesSequence", "DataSetTrailingPadding",
         "PixelDataProviderURL", "ExtendedOffsetTable", "ExtendedOffsetTableLengths")
"""What would no longer be true of other pixels."""


def encode(image: Image, plane: npt.NDArray[np.float32], host: Path, description: str,
           synthetic: bool) -> tuple[bytes, dict[str, Any]]:
    """The file's bytes, and what is worth noting of it. `plane` is (y, x) as `Image` holds it, larger brighter.

    Raises `UnreadableError` where `host` is no longer the file that the image was read from.
    """
    with opened(host) as (header, stream):
        stored, layout = read_frame(stream, layout_of(header))
        padding = header.numbers("PixelPaddingValue", 1)
    source = pydicom.dcmread(host, stop_before_pixels=True, force=True)
    known = image.provenance.sop_instance_uid
    if stored.shape != plane.shape or (clean(source.get("SOPInstanceUID", "")) or None) != known:
        raise UnreadableError(f"{shown(host)} has changed since it was read; read it again.")
    if not header.little:
        swap_words(source)
    values = _stored(plane, layout, image.inverted)
    if padding is not None:
        # The reader makes bright padding black; where it is black still, the host's own value goes back.
        values = np.where((stored == padding[0]) & (plane == 0), stored, values)
    uid = derived_uid(known, hashlib.sha256(values.tobytes()).hexdigest(), synthetic)
    describe(source, uid, description, synthetic)
    set_pixels(source, values, layout)
    buffer = io.BytesIO()
    # dcmwrite, as the data set's own method refuses a host in big endian.
    pydicom.dcmwrite(buffer, source, implicit_vr=False, little_endian=True, enforce_file_format=True, overwrite=True)
    return buffer.getvalue(), {"sop_instance_uid": str(uid), "source_sop_instance_uid": known}


def _stored(plane: npt.NDArray[np.float32], layout: Layout, inverted: bool) -> npt.NDArray[np.int64]:
    """The inverse of the reader's mapping: MONOCHROME1 flipped back, signed values moved back."""
    largest = 2**layout.stored - 1
    whole = np.clip(np.rint(plane), 0, largest).astype(np.int64)
    low, _ = layout.ends
    return low + (largest - whole if inverted else whole)


def swap_words(dataset: Dataset) -> None:
    """pydicom turns numbers into little endian, but takes words of other binary data (overlays, tables) as bytes."""
    for element in dataset.iterall():
        if element.VR == "OW" and isinstance(element.value, bytes):
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()


def describe(dataset: Dataset, uid: str, description: str, synthetic: bool) -> None:
    """Mark a data set as derived from what it was (PS3.3 C.7.6.1 and C.12.1)."""
    item = Dataset()
    if dataset.get("SOPClassUID") and dataset.get("SOPInstanceUID"):
        item.ReferencedSOPClassUID = dataset.SOPClassUID
        item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
        purpose = Dataset()
        purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
        purpose.CodeMeaning = "Source image for image processing operation"
        item.PurposeOfReferenceCodeSequence = [purpose]
        known = dataset.get("SourceImageSequence")
        put(dataset, "SourceImageSequence", [*(known if isinstance(known, Sequence) else []), item])
    if isinstance(dataset.get("SpecificCharacterSet"), Sequence):
        # A hostile header's: read it is no character set, and written anew it would be one that no reader knows.
        del dataset.SpecificCharacterSet
    # An overlay in bits of the pixels that are not stored is gone with the host's own words.
    for group in range(0x6000, 0x6020, 2):
        position = dataset.get((group, 0x0102))
        if position is not None and position.value:
            for tag in [element.tag for element in dataset.group_dataset(group)]:
                del dataset[tag]
    for keyword in STALE:
        if keyword in dataset:
            delattr(dataset, keyword)
    # Enhanced images know no SECONDARY (PS3.3 C.8.16.1).
    second = "PRIMARY" if any(keyword in dataset for keyword in GROUPS) else "SECONDARY"
    _derive(dataset, "ImageType", second)
    for keyword in GROUPS:
        for macro in (macro for group in _items(dataset.get(keyword)) for macro in group):
            for item in _items(macro.value):
                if "FrameType" in item:
                    _derive(item, "FrameType", second)
    put(dataset, "DerivationDescription", description)
    put(dataset, "SOPInstanceUID", uid)
    if synthetic:
        dataset.add_new(SYNTHETIC, "CS", "YES")


def _derive(dataset: Dataset, keyword: str, second: str) -> None:
    """Replace the first two values of an image's, or a frame's, type."""
    kind = dataset.get(keyword)
    rest = [str(one) for one in kind[2:]] if isinstance(kind, MultiValue) else []
    put(dataset, keyword, ["DERIVED", second, *rest])


def _items(value: object) -> list[Dataset]:
    """Of a sequence; none of what a hostile header has in its place."""
    return list(value) if isinstance(value, Sequence) else []


def put(dataset: Dataset, keyword: str, value: Any, vr: str = "") -> None:
    """Set an element in its own VR: an attribute of a data set keeps the VR that a hostile header gave it."""
    dataset.add_new(tag_for_keyword(keyword) or 0, vr or dictionary_VR(keyword), value)


def set_pixels(dataset: Dataset, values: npt.NDArray[np.int64], layout: Layout) -> None:
    size, shift = layout.allocated // 8, layout.high_bit + 1 - layout.stored
    data = (values << shift).astype(f"<i{size}" if layout.signed else f"<u{size}").tobytes()
    dataset.add_new(0x7FE00010, "OW" if size == 2 else "OB", data + b"\0" * (len(data) % 2))
    for keyword, value in (("BitsAllocated", layout.allocated), ("BitsStored", layout.stored),
                           ("HighBit", layout.high_bit)):
        put(dataset, keyword, value)
    for keyword, value in (("SmallestImagePixelValue", values.min()), ("LargestImagePixelValue", values.max())):
        if keyword in dataset:
            put(dataset, keyword, int(value), "SS" if layout.signed else "US")
    if layout.syntax in LOSSY:
        # Decoding does not bring back what was lost.
        put(dataset, "LossyImageCompression", "01")
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if dataset.get("SOPClassUID"):
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta = meta
