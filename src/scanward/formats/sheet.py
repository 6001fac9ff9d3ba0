"""What a DICOM file says up to its pixels, and how it is written: what the file as a witness is asked of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from scanward.formats.dataset import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, guess, inflated, meta_of
from scanward.formats.guard import clean, open_file
from scanward.formats.walk import LONG, PIXELS, UNDEFINED, bounded

LARGE = 1 << 16
"""Bytes of a value that is left in the file; nothing that is asked is so long."""
_OPEN = b"\xff\xff\xff\xff"


@dataclass(frozen=True)
class Sheet:
    """One file."""

    path: Path
    preamble: bytes
    """128 bytes; empty where there is none."""
    meta: Dataset
    data: Dataset
    """Elements before the pixels, as they lie there; long values are left in the file."""
    syntax: str
    """Transfer syntax."""
    pixels: str
    """Value representation of the pixel data, and whether it has a length."""

    @property
    def big(self) -> bool:
        """Whether it is in big endian."""
        return self.syntax == EXPLICIT_BIG

    def value(self, keyword: str) -> Any:
        """As `Header.value`; None, too, for what nobody can tell: programs that write big endian leave the bytes of
        what is UN as they were."""
        try:
            element = self.data.get_item(keyword) if self.big and keyword in self.data else None
            return None if element is not None and element.VR == "UN" else self.data.get(keyword)
        except Exception:  # pydicom raises what its parts raise
            return None

    def text(self, keyword: str) -> str:
        """On one line; empty where it is absent."""
        value = self.value(keyword)
        if isinstance(value, list | MultiValue):
            return "\\".join(clean(one) for one in value)
        return "" if value is None else clean(value)

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All that it says; nothing where one of them is no number."""
        value = self.value(keyword)
        try:
            return tuple(float(one) for one in (value if isinstance(value, list | MultiValue) else [value]))
        except (TypeError, ValueError):
            return ()

    def number(self, keyword: str) -> float | None:
        """The first of them."""
        found = self.numbers(keyword)
        return found[0] if found else None

    def stored(self, keyword: str) -> float | None:
        """A number of 16 bits that is signed where the pixels are (`US or SS` in the dictionary): programs write it
        with either sign, or with none where a value representation is implied."""
        number = self.number(keyword)
        if number is None or not number.is_integer():
            return number
        bits = int(number) % (1 << 16)
        return float(bits - (1 << 16) if self.number("PixelRepresentation") == 1 and bits >> 15 else bits)

    def meta_text(self, keyword: str) -> str:
        """Of the file meta group."""
        try:
            return clean(self.meta.get(keyword) or "")
        except Exception:  # as above
            return ""

    @cached_property
    def creators(self) -> frozenset[str]:
        """Who made the private blocks."""
        return frozenset(clean(_raw(element).decode("latin-1")).strip() for element in self._elements()
                         if element.tag.is_private_creator)

    @cached_property
    def tags(self) -> frozenset[int]:
        """Elements that are there, but for lengths of groups and what is private."""
        return frozenset(int(element.tag) for element in self._elements()
                         if element.tag.group % 2 == 0 and element.tag.element)

    @cached_property
    def lengths(self) -> dict[int, str]:
        """How the length of each sequence is said, by its tag: `open`, by a delimiter at its end, or `closed`."""
        return {int(one.tag): "open" if _open(one) else "closed"
                for one in self._elements() if one.VR in ("SQ", "UN")}

    @cached_property
    def style(self) -> dict[str, str]:
        """How a program wrote the file, by the part of it."""
        elements = list(self._elements())
        ends = {_raw(element)[-1:] for element in elements if element.VR == "UI" and len(_raw(element)) % 2 == 0}
        program = self.meta_text("ImplementationClassUID"), self.meta_text("ImplementationVersionName")
        return {
            "preamble": self.preamble[:16].hex() if any(self.preamble) else "empty" if self.preamble else "none",
            "program": " ".join(program).strip(),
            "syntax": self.syntax,
            "meta": " ".join(f"{int(tag):08X}" for tag in sorted(self.meta.keys())),
            "group lengths": "yes" if any(element.tag.element == 0 for element in elements) else "no",
            "blanks": " ".join(sorted({"space" for end in ends if end == b" "})),
            "pixels": self.pixels,
        }

    def _elements(self) -> list[Any]:
        return [self.data.get_item(tag, keep_deferred=True) for tag in sorted(self.data.keys())]


def _open(element: RawDataElement | DataElement) -> bool:
    return element.length == UNDEFINED if isinstance(element, RawDataElement) else element.is_undefined_length


def _raw(element: RawDataElement | DataElement) -> bytes:
    value = element.value
    return value if isinstance(value, bytes) else b""


def read_sheet(path: Path) -> Sheet:
    """The file's; raises what pydicom raises where it is no DICOM file."""
    with open_file(path) as file:
        head = file.read(132)
        file.seek(0)
        meta = meta_of(file)
        syntax = clean(meta.get("TransferSyntaxUID", ""))
        stream: BinaryIO = inflated(file, path) if syntax == DEFLATED else file
        start = stream.tell()
        little = syntax != EXPLICIT_BIG
        if not syntax:
            syntax, little = guess(stream)
            stream.seek(start)
        implicit = syntax == IMPLICIT_LITTLE

        def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
            return int(tag) in PIXELS

        data = read_dataset(stream, implicit, little, stop_when=bounded(stop), defer_size=LARGE)
        lead = stream.read(12)
    vr = lead[4:6].decode("latin-1") if not implicit else ""
    length = lead[8:12] if lead[4:6] in LONG and not implicit else lead[4:8]
    return Sheet(path, head[:128] if head[128:] == b"DICM" else b"", meta, data, syntax,
                 f"{vr} {'open' if length == _OPEN else 'closed'}".strip())
