"""DICOM digital signatures as a file holds them (PS3.3, C.12.1.1.3; PS3.15, annex C), and copies that carry one more.

Hashes and keys are for the room `seals`: here are the bytes that are hashed, and what was signed in their place.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import keyword_for_tag

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.dataset import DEFLATED, EXPLICIT_LITTLE, read_meta
from scanward.formats.dataset import ITEM as FIRST
from scanward.formats.elements import (
    NATIVE,
    PIXEL_DATA,
    Element,
    Elements,
    Form,
    elements_in,
    encoded,
    signable,
)
from scanward.formats.guard import clean, decoding, open_file, shown
from scanward.formats.sniff import HEAD, kind_of
from scanward.formats.walk import ITEM

MAC_PARAMETERS, SIGNATURES, PADDING = 0x4FFE0001, 0xFFFAFFFA, 0xFFFCFFFC
MAC_ID, MAC_SYNTAX, MAC_ALGORITHM, TAGS = 0x04000005, 0x04000010, 0x04000015, 0x04000020
UID, MADE, CERTIFICATE_TYPE, CERTIFICATE, VALUE = 0x04000100, 0x04000105, 0x04000110, 0x04000115, 0x04000120
X509 = "X509_1993_SIG"
_UNHASHED = (CERTIFICATE, VALUE, 0x04000305, 0x04000310)
"""Of a signature itself: what cannot be known before it is made."""
MOST = 32
"""Signatures of a file that are heard."""
PURPOSE = 0x04000401
_MOST_TAGS = 0xFFFF // 4
_PAD = {b"UI": b"\0", b"OB": b"\0"}
_HEADS = tuple(tag + vr for tag in (b"\xfa\xff\xfa\xff", b"\xff\xfa\xff\xfa") for vr in (b"SQ\0\0", b"UN\0\0"))
"""How the sequence of signatures begins in explicit VR; its tag alone is two pixels of -6, too."""
_PIXELS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)
Chunks = Iterable[bytes | memoryview]


@dataclass(frozen=True)
class Signature:
    """One signature, as it stands there."""

    file: Elements
    place: str
    """In which item of which sequence; empty for the whole data set."""
    scope: tuple[Element, ...]
    """The elements beside it."""
    item: tuple[Element, ...]
    """Its own."""
    syntax: str
    """The transfer syntax that was hashed."""
    algorithm: str
    tags: frozenset[int]
    """Of the elements that were signed."""
    problem: str = ""
    """Why nobody can tell what was signed, as the end of a sentence."""

    @property
    def covered(self) -> tuple[Element, ...]:
        """The elements that it holds."""
        return tuple(one for one in self.scope if one.tag in self.tags and signable(one))

    @property
    def uncovered(self) -> frozenset[str]:
        """What stands beside them: keywords, or tags as eight digits."""
        held = {one.tag for one in self.covered}
        return frozenset(_name(one.tag) for one in self.scope if one.tag not in held
                         and one.tag not in (MAC_PARAMETERS, SIGNATURES, PADDING))

    @property
    def names(self) -> tuple[str, ...]:
        """Of what it holds."""
        return tuple(_name(one.tag) for one in self.covered)

    @property
    def unknown(self) -> bool:
        """Whether it holds elements of which this file does not say the representation, as implicit VR does not."""
        return any(one.tag in self.tags and not signable(one) for one in self.scope)

    @property
    def pixels(self) -> bool:
        """Whether it holds those of the image."""
        return not self.place and any(one.tag in _PIXELS for one in self.covered)

    @property
    def same_syntax(self) -> bool:
        """Whether what was hashed can be made of this file: compressed pixels only as they are."""
        if self.syntax == (EXPLICIT_LITTLE if self.file.syntax in NATIVE else self.file.syntax):
            return True
        return self.syntax not in NATIVE[1:] and not any(one.tag in _PIXELS for one in self.covered)

    def text(self, tag: int) -> str:
        """One of its own elements, for people."""
        return self.file.text(tag, self.item)

    def data(self, tag: int) -> bytes:
        """One of its own elements; empty where it has none."""
        return next((self.file.bytes_of(one) for one in self.item if one.tag == tag), b"")

    def chunks(self) -> Iterator[bytes | memoryview]:
        """What was hashed."""
        yield from self.file.stream(self.covered)
        yield from self.file.stream(tuple(one for one in self.item if one.tag not in _UNHASHED and one.vr != b"UN"))


def dicom_bytes(path: Path) -> bytes:
    """A DICOM file; `UnsupportedError` for one of another kind, `UnreadableError` for what cannot be read."""
    with decoding(path), open_file(path) as file:
        whole = file.read()
    if kind_of(path, whole[:HEAD]) != "dicom":
        raise UnsupportedError(f"{shown(path)} is no DICOM file, and only these hold digital signatures; seal it.")
    return whole


def signatures_of(path: Path, whole: bytes | None = None) -> list[Signature]:
    """Every signature in a DICOM file, or in the bytes of one, those within sequences, too; none for a file of another
    kind.

    Raises `UnreadableError` for what is damaged, and where there are more than `MOST`.
    """
    with decoding(path):
        if whole is None:
            with open_file(path) as file:
                whole = file.read(HEAD)
                whole = whole + file.read() if kind_of(path, whole) == "dicom" else b""
        if not _may_be(whole):
            return []
        read = elements_in(whole, path)
        found = []
        for one in _signatures(read, read.elements, ""):
            found.append(one)
            if len(found) > MOST:
                raise UnreadableError(f"{shown(path)} holds more than {MOST} digital signatures; remove those that "
                                      "nobody asked for.")
        return found


def _may_be(whole: bytes) -> bool:
    """Whether such a sequence may be there at all: not every file that has none is sound to its last byte."""
    if read_meta(io.BytesIO(whole))[0] == DEFLATED or any(head in whole for head in _HEADS):
        return True
    item = whole.find(FIRST)
    while item >= 0 and whole[item - 8:item - 4] != _HEADS[0][:4]:  # in implicit VR its length stands between
        item = whole.find(FIRST, item + 1)
    return item >= 0


def _signatures(file: Elements, scope: tuple[Element, ...], place: str) -> Iterator[Signature]:
    for element in scope:
        if element.tag == SIGNATURES and element.vr == b"SQ":
            yield from (_signature(file, scope, item, place) for item in element.items)
        elif element.vr == b"SQ":
            for number, item in enumerate(element.items, 1):
                where = f"item {number} of {_name(element.tag)}" + (f", {place}" if place else "")
                yield from _signatures(file, item, where)


def _signature(file: Elements, scope: tuple[Element, ...], item: tuple[Element, ...], place: str) -> Signature:
    number = next((file.bytes_of(one) for one in item if one.tag == MAC_ID), b"")
    fitting = [mac for sequence in scope if sequence.tag == MAC_PARAMETERS for mac in sequence.items
               if number and next((file.bytes_of(one) for one in mac if one.tag == MAC_ID), b"") == number]
    if len(fitting) != 1:
        which = "there are no MAC parameters of its number" if not fitting else "two MAC parameters have its number"
        return Signature(file, place, scope, item, "", "", frozenset(), which)
    mac = fitting[0]
    tags = next((file.bytes_of(one) for one in mac if one.tag == TAGS), b"")
    if len(tags) > 4 * _MOST_TAGS:  # which implicit VR has room for
        tags = b""
    signed = frozenset(int.from_bytes(tags[i:i + 2], "little") << 16 | int.from_bytes(tags[i + 2:i + 4], "little")
                       for i in range(0, len(tags) - 3, 4))
    problem = "" if signed else "it does not say which elements were signed, or lists more than there can be"
    if file.text(CERTIFICATE_TYPE, item) != X509:
        problem = "it has no certificate of a kind that DICOM knows"
    return Signature(file, place, scope, item, file.text(MAC_SYNTAX, mac), file.text(MAC_ALGORITHM, mac), signed,
                     problem)


def with_signature(whole: bytes, path: Path, algorithm: str, certificate: bytes, uid: str, made: str,
                   sign: Callable[[Chunks], bytes], purpose: str = "") -> bytes:
    """The bytes of a DICOM file, which `path` names, with one more signature over everything that may be signed; all
    else is as it was.

    `sign` makes the signature of what is hashed; `certificate` is its signer's in DER, `made` when (DT), and `purpose`
    a code of CID 7007 with its meaning. Raises as `elements_in`, and `UnsupportedError` for what a signature cannot
    list.
    """
    file = elements_in(whole, path)
    held = [one.tag for one in file.elements if signable(one)]
    if len(held) > _MOST_TAGS:
        raise UnsupportedError(f"{shown(path)} has {len(held)} elements, more than a signature can list.")
    numbers = {file.bytes_of(one) for sequence in file.elements if sequence.tag == MAC_PARAMETERS
               for item in sequence.items for one in item if one.tag == MAC_ID}
    number = next(n.to_bytes(2, "little") for n in range(len(numbers) + 1) if n.to_bytes(2, "little") not in numbers)
    tags = b"".join(part.to_bytes(2, "little") for tag in held for part in (tag >> 16, tag & 0xFFFF))
    mac = [(MAC_ID, b"US", number), (MAC_SYNTAX, b"UI", (EXPLICIT_LITTLE if file.syntax in NATIVE else
                                                         file.syntax).encode()),
           (MAC_ALGORITHM, b"CS", algorithm.encode()), (TAGS, b"AT", tags)]
    own = [(MAC_ID, b"US", number), (UID, b"UI", uid.encode()), (MADE, b"DT", made.encode()),
           (CERTIFICATE_TYPE, b"CS", X509.encode()), (CERTIFICATE, b"OB", certificate), (VALUE, b"OB", b"")]
    if purpose:
        own.append((PURPOSE, b"SQ", _item(_code(purpose), file.form)))
    draft = elements_in(_placed(file, _item(mac, file.form), _item(own, file.form)), path)
    made_last = [one for one in _signatures(draft, draft.elements, "") if not one.place][-1]
    own[5] = (VALUE, b"OB", sign(made_last.chunks()))
    return _placed(file, _item(mac, file.form), _item(own, file.form))


def _code(purpose: str) -> list[tuple[int, bytes, bytes]]:
    value, meaning = purpose.split(" ", 1)
    return [(0x00080100, b"SH", value.encode()), (0x00080102, b"SH", b"ASTM-sigpurpose"),
            (0x00080104, b"LO", meaning.encode())]


def _item(elements: list[tuple[int, bytes, bytes]], form: Form) -> bytes:
    body = b"".join(encoded(tag, vr, value + _PAD.get(vr, b" ") * (len(value) % 2), form)
                    for tag, vr, value in sorted(elements))
    return encoded(ITEM, b"", body, (True, form[1]))


def _placed(file: Elements, mac: bytes, signature: bytes) -> bytes:
    """The file with an item more in each of the two sequences."""
    raw: dict[int, bytes | memoryview] = {one.tag: file.data[one.start:one.end] for one in file.elements}
    for tag, item in ((MAC_PARAMETERS, mac), (SIGNATURES, signature)):
        known = next((one for one in file.elements if one.tag == tag), None)
        if known is not None and known.vr != b"SQ":
            raise UnsupportedError(f"{shown(file.path)} holds its {_name(tag)} as {clean(known.vr.decode())} and no "
                                   "sequence; export it again in explicit VR.")
        raw[tag] = encoded(tag, b"SQ", (b"" if known is None else file.inside(known)) + item, file.form)
    body = b"".join(raw[tag] for tag in sorted(raw))
    if file.syntax != DEFLATED:
        return file.prefix + body
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    small = engine.compress(body) + engine.flush()
    return file.prefix + small + b"\0" * (len(small) % 2)


def _name(tag: int) -> str:
    return keyword_for_tag(tag) or f"{tag:08X}"
