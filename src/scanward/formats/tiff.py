"""The one directory of a TIFF file, walked byte by byte before any library sees it.

Of an odd directory libtiff, tifffile and others each believe something else, and show other pictures. So what is not
written as TIFF 6.0 has it is refused, and so is whatever a plain picture of grey does not need.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.guard import INFLATION, check_packed, check_size, cut_short, left_in, shown

ORIENTATION = 274
"""The tag of TIFF and Exif that says how a picture is turned to be viewed. Pixels are read as they are stored."""
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_DESCRIPTION, _NOTE_SIZES, _NOTES = 270, 50838, 50839
_FURTHER = (330, 37724)
"""Tags with other pictures than a page's own, which some programs show in its place: SubIFDs, and layers."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a number of each type; those from 16 on are BigTIFF's."""
_WHOLE = {3: "H", 4: "I", 13: "I", 16: "Q"}
_MOST = 2**20
"""Numbers a tag: more than the strips or tiles of any page that is read."""
_ANY, _EACH = 0, -1
"""Counts of numbers: as many as one likes, and one a sample."""
_SHORT, _NUMBER, _PLACE, _TEXT, _RATIO, _BYTES = (3,), (3, 4), (3, 4, 16), (2,), (5,), (1, 7)
_KNOWN: dict[int, tuple[tuple[int, ...], int]] = {
    254: (_NUMBER, 1), 255: (_SHORT, 1), _WIDTH: (_NUMBER, 1), _LENGTH: (_NUMBER, 1), _BITS: (_SHORT, _EACH),
    _COMPRESSION: (_SHORT, 1), _PHOTOMETRIC: (_SHORT, 1), _FILL: (_SHORT, 1), _STRIPS: (_PLACE, _ANY),
    ORIENTATION: (_SHORT, 1), _SAMPLES: (_SHORT, 1), _ROWS: (_NUMBER, 1), _STRIP_BYTES: (_PLACE, _ANY),
    280: (_SHORT, _EACH), 281: (_SHORT, _EACH), 282: (_RATIO, 1), 283: (_RATIO, 1), _PLANAR: (_SHORT, 1),
    296: (_SHORT, 1), 297: (_SHORT, 2), _PREDICTOR: (_SHORT, 1), 318: (_RATIO, 2), 319: (_RATIO, 6),
    _TILE_WIDTH: (_NUMBER, 1), _TILE_LENGTH: (_NUMBER, 1), _TILES: (_PLACE, _ANY), _TILE_BYTES: (_PLACE, _ANY),
    _EXTRA: (_SHORT, _ANY), _FORMAT: (_SHORT, _EACH),
    **dict.fromkeys((269, _DESCRIPTION, 271, 272, 285, 305, 306, 315, 316, 33432), (_TEXT, _ANY)),
    **dict.fromkeys((700, 34377, 34675), (_BYTES, _ANY)), 33723: ((1, 4, 7), _ANY), 34665: ((4, 13), 1),
    _NOTE_SIZES: ((4,), _ANY), _NOTES: ((1,), _ANY),
}  # fmt: skip
"""Types and count of every tag that is read: of TIFF 6.0 what grey needs, resolution, text and dates, XMP, IPTC, ICC
and Exif, and ImageJ's notes."""
_STORED, _LZW = 1, 5
_DEFLATED = (8, 32946)
OURS = (_STORED, *_DEFLATED)
"""Compressions that tifffile undoes without further libraries."""
_LZW_INFLATION = 3000
_HEAD = 8
"""Bytes in front of everything. For tifffile a place in them is none, and libtiff reads there."""
_MANY = re.compile(rb"(?:images|slices|frames|channels)\s*=(?!\s*1\s)", re.IGNORECASE)
"""What ImageJ and SCIFIO write of several pictures, in however odd a spelling; in a text that ends with a blank."""
_PLAIN_NOTES = {word[::step] for word in (b"info", b"labl", b"rang", b"prop") for step in (1, -1)}
"""Kinds of ImageJ's notes, in both byte orders, but for overlays, in which pictures may be, and colours."""
_OME_MANY = re.compile(rb"Size[ZCT]\s*=\s*(?![\"']1[\"'])|FileName|<![^-]|&#")
"""Several pictures, files beside it, and entities that could say so."""

Tags = dict[int, tuple[int, ...]]


def check_tiff(path: Path, file: BinaryIO) -> Tags:
    """The whole numbers of every tag, from a `file` at its beginning. Raises as `read` unless every program takes the
    pixels for the same."""
    held = left_in(file)
    tags, texts = _directory(path, file, held)
    check_size(path, *(tags.get(code, (0,))[0] for code in (_LENGTH, _WIDTH)))
    _check_kind(path, tags)
    _check_text(path, tags, texts)
    _check_parts(path, file, tags, held)
    return tags


def _odd(path: Path, what: str) -> UnreadableError:
    return UnreadableError(f"{shown(path)} {what}, and programs do not agree on what then counts; save it again.")


def _directory(path: Path, file: BinaryIO, held: int) -> tuple[Tags, list[tuple[int, bytes]]]:
    """Whole numbers by tag, and what describes the image."""
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
    at, width = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0], 8 if big else 4
    if big and struct.unpack_from(order + "HH", head, 4) != (8, 0):
        raise _odd(path, "has an odd BigTIFF head")
    counted, form, size = ("Q", "HHQ", 20) if big else ("H", "HHI", 12)
    if at < _HEAD:
        raise _odd(path, f"has its directory at byte {at}")
    file.seek(at)
    count = struct.unpack(order + counted, file.read(struct.calcsize(counted)))[0]
    if (end := file.tell() + count * size + width) > held:
        raise cut_short(path, end, held)
    entries = file.read(count * size)
    if file.read(width).strip(b"\0"):
        raise UnsupportedError(f"{shown(path)} holds further pages; save one image a file.")
    tags: Tags = {}
    texts = []
    before = -1
    for start in range(0, len(entries), size):
        code, kind, many = struct.unpack_from(order + form, entries, start)
        if code in tags and code != _DESCRIPTION:  # of which tifffile writes a second
            raise _odd(path, "says twice where its pixels or what else it holds is")
        if code < before:
            raise _odd(path, "does not list its tags in their order")
        _check_entry(path, code, kind, many, big)
        length, value = many * _SIZES[kind], entries[start + size - width : start + size]
        if length > width:
            place = struct.unpack(order + ("Q" if big else "I"), value)[0]
            if place < _HEAD:
                raise _odd(path, f"has the numbers of its tag {code} at byte {place}")
            if place + length > held:
                raise cut_short(path, place + length, held)
            file.seek(place)
            value = file.read(length)
        texts += [(code, value[:length])] if code in (_DESCRIPTION, _NOTES) else []
        tags[code] = struct.unpack(f"{order}{many}{_WHOLE[kind]}", value[:length]) if kind in _WHOLE else ()
        before = code
    return tags, texts


def _check_entry(path: Path, code: int, kind: int, many: int, big: bool) -> None:
    if code in _FURTHER:
        raise UnsupportedError(f"{shown(path)} holds further pictures or layers beside its page; save one image a "
                               "file.")
    if code not in _KNOWN:
        raise UnsupportedError(f"{shown(path)} has tag {code}, which programs heed or not; save it as plain grey TIFF "
                               "without it.")
    if kind not in _KNOWN[code][0] or (kind >= 16 and not big):
        raise _odd(path, f"writes its tag {code} as type {kind}")
    wanted = _KNOWN[code][1]
    if (wanted > 0 and many != wanted) or (kind in _WHOLE and many > _MOST):
        raise _odd(path, f"gives its tag {code} {many} numbers in place of {max(1, wanted)}")


def _check_kind(path: Path, tags: Tags) -> None:
    """Refuses colour, odd depths, and numbers that contradict one another."""
    samples = tags.get(_SAMPLES, (1,))[0]
    for code, numbers in tags.items():
        if _KNOWN[code][1] == _EACH and len(numbers) != samples:
            raise _odd(path, f"gives its tag {code} {len(numbers)} numbers in place of {samples}")
    bits, forms = tags.get(_BITS, (1,)), tags.get(_FORMAT, (1,))
    photometric, compression = tags.get(_PHOTOMETRIC, (-1,))[0], tags.get(_COMPRESSION, (1,))[0]
    if photometric == -1:
        raise _odd(path, "does not say whether 0 is black or white")
    if photometric not in (0, 1, 2) or (samples > 2 and photometric != 2):
        raise UnsupportedError(f"{shown(path)} is a colour picture; Scanward scans grey images.")
    if (not 1 <= samples <= 4 or len({*bits}) > 1 or bits[0] not in (8, 16, 32, 64) or len({*forms}) > 1
            or forms[0] not in (1, 2, 3) or (forms[0] == 3 and bits[0] == 8)):
        raise UnsupportedError(f"{shown(path)} stores {samples} x {bits[0]} bits a pixel; Scanward reads grey TIFF of "
                               "8 or 16 bits and floating point.")
    if compression not in (*OURS, _LZW):
        raise UnsupportedError(f"{shown(path)} is compressed by TIFF method {compression}; save it uncompressed, or "
                               "with deflate or LZW.")
    if compression not in OURS and samples > 1 and bits[0] > 8:
        raise UnsupportedError(f"{shown(path)} is a colour picture of 16 bits, compressed; save it as grey.")
    predictor, extra = tags.get(_PREDICTOR, (1,))[0], len(tags.get(_EXTRA, ()))
    for code, sound in ((_FILL, tags.get(_FILL, (1,)) == (1,)), (_PLANAR, tags.get(_PLANAR, (1,)) == (1,)),
                        (_EXTRA, not extra or extra == samples - (3 if photometric == 2 else 1)),
                        (254, not tags.get(254, (0,))[0] & ~3),
                        (_PREDICTOR, predictor == 1 or (compression in (*_DEFLATED, _LZW) and (
                            predictor == 2 or (predictor == 3 and forms[0] == 3))))):
        if not sound:
            raise UnsupportedError(f"{shown(path)} has a tag {code} ({', '.join(map(str, tags[code]))}) that not all "
                                   "programs heed; save it as plain grey TIFF.")


def _check_text(path: Path, tags: Tags, texts: list[tuple[int, bytes]]) -> None:
    """Refuses drawings, and descriptions for which some programs look for further images, here or in other files."""
    for code, text in texts:
        if code == _NOTES:
            head = text[4 : tags.get(_NOTE_SIZES, (0,))[0]]
            if not {head[at : at + 4] for at in range(0, len(head), 8)} <= _PLAIN_NOTES:
                raise UnsupportedError(f"{shown(path)} holds an overlay or colours of ImageJ, which other programs "
                                       "pass over; save it without.")
            continue
        said = text.rstrip(b"\0") + b"\n"
        if (b"\0" in said or (re.search(rb"ImageJ|SCIFIO", said, re.IGNORECASE) and _MANY.search(said))
                or (re.search(rb"[<:]OME\b", said) and _OME_MANY.search(said))):
            raise UnsupportedError(f"{shown(path)} describes itself as several images; save one image a file.")


def _check_parts(path: Path, file: BinaryIO, tags: Tags, held: int) -> None:
    """Refuses strips and tiles that are not exactly as large as the page has them."""
    rows, columns = tags[_LENGTH][0], tags[_WIDTH][0]
    tiled = _TILES in tags
    needs, others = {_TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES}, {_STRIPS, _ROWS, _STRIP_BYTES}
    if (needs if tiled else others) & tags.keys() != (needs if tiled else others - {_ROWS} | {_ROWS} & tags.keys()) or (
            (others if tiled else needs) & tags.keys()):
        raise _odd(path, "says twice, or not at all, where its pixels are: in strips and in tiles")
    high = tags[_TILE_LENGTH][0] if tiled else min(rows, tags.get(_ROWS, (rows,))[0])
    wide = tags[_TILE_WIDTH][0] if tiled else columns
    if min(high, wide) < 1:
        raise UnreadableError(f"{shown(path)} says that its strips or tiles have no rows or columns; save it again.")
    places, sizes = (tags[_TILES], tags[_TILE_BYTES]) if tiled else (tags[_STRIPS], tags[_STRIP_BYTES])
    parts = -(-rows // high) * -(-columns // wide)
    if {len(places), len(sizes)} != {parts}:
        raise UnreadableError(f"{shown(path)} says where {len(places)} parts of its pixels are, and how large "
                              f"{len(sizes)} are, and has {parts}; save it again.")
    compression, pixel = tags.get(_COMPRESSION, (1,))[0], sum(tags[_BITS]) // 8
    if not tiled:  # a page of several samples may be larger than the one that `check_size` has seen
        least = rows * columns * pixel // (1 if compression == _STORED else _LZW_INFLATION if compression == _LZW
                                           else INFLATION)
        if min(sum(sizes), held) < least:
            raise cut_short(path, least, min(sum(sizes), held))
    full = high * wide * pixel
    if compression != _STORED:
        check_packed(path, parts * full if tiled else rows * columns * pixel, min(sum(sizes), held))
    short = full if tiled else (rows - (parts - 1) * high) * wide * pixel
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        if place < _HEAD or not size:
            raise _odd(path, f"has a strip or tile of {size:,} bytes at byte {place}")
        if place + size > held:
            raise cut_short(path, place + size, held)
        if compression == _LZW:
            continue  # which Pillow undoes by libtiff, as nearly all others do
        file.seek(place)
        made = size if compression == _STORED else len(zlib.decompressobj().decompress(file.read(size), full + 1))
        if made not in ((full, short) if number == parts - 1 else (full,)):
            raise _odd(path, f"holds {made:,} bytes in a strip or tile of {full:,}")


def check_alike(path: Path, file: BinaryIO) -> None:
    """`UnsupportedError` for what only scans read, as programs show it each in its own way: a second sample, floating
    point of 16 bits, tiles of 16 bits, and, compressed in big endian, numbers that Pillow turns about by halves."""
    big = file.read(2) == b"MM"
    file.seek(0)
    tags = check_tiff(path, file)
    bits, form = tags[_BITS][0], tags.get(_FORMAT, (1,))[0]
    packed = tags.get(_COMPRESSION, (1,))[0] != _STORED
    for odd, what in ((len(tags[_BITS]) > 1, "more than one number a pixel"),
                      (form == 3 and bits == 16, "floating point of 16 bits"),
                      (_TILES in tags and bits == 16, "16 bits in tiles"),
                      (big and packed and (form != 1 or bits > 16), "compressed big-endian numbers of this kind")):
        if odd:
            raise UnsupportedError(f"{shown(path)} holds {what}, which programs show each in its own way; save it as "
                                   "plain grey TIFF, uncompressed and in strips.")
