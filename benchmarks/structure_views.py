"""The scenarios of `benchmarks/structure.py` that change what viewers show of an image, or put something over it."""

from __future__ import annotations

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from structure_deeds import EDIT, HEADER
from structure_rewrites import HARMLESS
from structure_scenarios import Pixels, Work, dcmodify, edited, repaint, scenario, stored

_OTHERS = {"ge": "BONE", "siemens": "B80f", "philips": "YC", "toshiba": "FC51"}
"""A kernel that each maker has, sharper than those of the hosts."""


@scenario("text drawn beside the patient, all", EDIT)
def _(work: Work) -> None:
    def act(values: Pixels) -> Pixels:
        drawn = np.zeros(values.shape, np.uint8)
        cv2.putText(drawn, "DOE JANE 1950", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
        values[drawn > 0] = int(np.percentile(values, 99.5))
        return values
    edited(work.files, repaint(act))


@scenario("an overlay over a third, all", HEADER, "series", "film")
def _(work: Work) -> None:
    def act(data: Dataset) -> None:
        shape = (int(data.Rows), int(data.Columns))
        mask = np.zeros(shape, np.uint8)
        mask[shape[0] // 3:2 * shape[0] // 3] = 1
        _laid(data, mask)
    edited(work.files, act)


@scenario("an overlay with a line and two words, all", HARMLESS, "harmless")
def _(work: Work) -> None:
    def act(data: Dataset) -> None:
        mask = np.zeros((int(data.Rows), int(data.Columns)), np.uint8)
        cv2.putText(mask, "SEEN 1", (9, mask.shape[0] - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1, 1)
        cv2.line(mask, (9, 9), (90, 90), 1, 2)
        _laid(data, mask)
    edited(work.files, act)


@scenario("an overlay and an icon on key slices", HARMLESS, "harmless")
def _(work: Work) -> None:
    def act(data: Dataset) -> None:
        mask = np.zeros((int(data.Rows), int(data.Columns)), np.uint8)
        cv2.line(mask, (9, 9), (90, 90), 1, 2)
        _laid(data, mask)
        _icon(data, data.pixel_array)
    edited(work.files, lambda data: act(data) if str(data.filename) in map(str, work.some) else None)


@scenario("its own icon at a bone window, all", HARMLESS, "harmless")
def _(work: Work) -> None:
    edited(work.files, lambda data: _icon(data, data.pixel_array, (97, 99.9)))


@scenario("a lookup table that falls and rises, all", HEADER, "series", "film")
def _(work: Work) -> None:
    def act(data: Dataset) -> None:
        item = Dataset()
        item.LUTDescriptor = [4096, 0, 16]
        item.LUTData = (32767 + 32767 * np.cos(np.arange(4096) / 300)).astype("<u2").tobytes()
        item["LUTData"].VR, item["LUTDescriptor"].VR = "OW", "US"
        data.VOILUTSequence = Sequence([item])
    edited(work.files, act)


@scenario("an icon of another image, all", HEADER, "series", "film")
def _(work: Work) -> None:
    for path, donor in zip(work.files, work.donor * len(work.files), strict=False):
        edited([path], lambda data, donor=donor: _icon(data, stored(donor)))


@scenario("a shutter over a half, all", HEADER)
def _(work: Work) -> None:
    edited(work.files, lambda data: _shut(data, int(data.Columns) // 2))


@scenario("a shutter at the edge, all", HARMLESS, "harmless")
def _(work: Work) -> None:
    edited(work.files, lambda data: _shut(data, 4))


@scenario("soft tissue as padding, all", HEADER)
def _(work: Work) -> None:
    def act(data: Dataset) -> None:
        slope, intercept = float(data.RescaleSlope), float(data.RescaleIntercept)
        kind = "SS" if data.PixelRepresentation else "US"
        for tag, value in ((0x00280120, -100), (0x00280121, 200)):
            data.add_new(tag, kind, int((value - intercept) / slope))
    edited(work.files, act)


@scenario("its own icon added, all", HARMLESS, "harmless")
def _(work: Work) -> None:
    edited(work.files, lambda data: _icon(data, data.pixel_array))


@scenario("kernel, another of its maker, dcmodify, all", HEADER)
def _(work: Work) -> None:
    maker = str(pydicom.dcmread(work.files[0], stop_before_pixels=True).get("Manufacturer", "")).lower()
    other = next(kernel for name, kernel in _OTHERS.items() if maker.startswith(name))
    dcmodify(work.files, "-i", f"ConvolutionKernel={other}")


def _shut(data: Dataset, left: int) -> None:
    """A shutter that covers the columns up to `left`."""
    data.ShutterShape, data.ShutterLeftVerticalEdge, data.ShutterUpperHorizontalEdge = "RECTANGULAR", left, 1
    data.ShutterRightVerticalEdge, data.ShutterLowerHorizontalEdge = int(data.Columns), int(data.Rows)


def _laid(data: Dataset, mask: Pixels) -> None:
    """An overlay of the mask's pixels."""
    bits = np.packbits(mask.ravel(), bitorder="little").tobytes()
    data.add_new(0x60000010, "US", mask.shape[0])
    data.add_new(0x60000011, "US", mask.shape[1])
    data.add_new(0x60000040, "CS", "G")
    data.add_new(0x60000050, "SS", [1, 1])
    data.add_new(0x60000100, "US", 1)
    data.add_new(0x60000102, "US", 0)
    data.add_new(0x60003000, "OW", bits + b"\0" * (len(bits) % 2))


def _icon(data: Dataset, values: Pixels, window: tuple[float, float] = (1, 99)) -> None:
    """A small grey picture of `values` as its icon; `window` in percentiles."""
    low, high = np.percentile(values, window)
    grey = np.clip((values - low) * (255 / max(1.0, float(high - low))), 0, 255).astype(np.uint8)
    item = Dataset()
    item.SamplesPerPixel, item.PhotometricInterpretation, item.Rows, item.Columns = 1, "MONOCHROME2", 64, 64
    if data.get("PhotometricInterpretation") == "MONOCHROME1":
        item.PhotometricInterpretation = "MONOCHROME1"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 8, 8, 7, 0
    item.PixelData = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA).tobytes()
    item["PixelData"].VR = "OB"
    data.IconImageSequence = Sequence([item])
