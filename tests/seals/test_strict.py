"""Bytes that are one data set to some programs and another to others are vouched for by no seal."""

from __future__ import annotations

import struct

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from sealable import FILM, made

import scanward

UNDEFINED = b"\xff\xff\xff\xff"


def sealed(folder, key, implicit=False):
    path = folder / "film.dcm"
    data = made(FILM, "1.2.9", SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2", Modality="MG", ImagerPixelSpacing=[0.1, 0.1])
    if implicit:
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    scanward.seal(path, key)
    return path


def head(group, number, vr, length):
    """Of an element, in explicit VR where there is one."""
    wide = vr in (b"OB", b"OW", b"SQ", b"UN", b"OV", b"SV", b"UV")
    size = length if isinstance(length, bytes) else length.to_bytes(4 if wide or not vr else 2, "little")
    return struct.pack("<HH", group, number) + vr + (b"\0\0" if wide else b"") + size


def put(path, before, data):
    body = path.read_bytes()
    at = body.index(struct.pack("<HH", *before), 132 + 12)
    path.write_bytes(body[:at] + data + body[at:])


CREATOR = head(0x19, 0x10, b"LO", 2) + b"AC"
ITEM = b"\xfe\xff\x00\xe0"
SPACING = head(0x28, 0x30, b"DS", 4) + b"9\\9 "
SAID_TWICE = ITEM + struct.pack("<I", 2 * len(SPACING)) + 2 * SPACING
EXPLICIT = {
    "an item beyond its sequence": head(8, 6, b"SQ", 12) + ITEM + struct.pack("<I", 400) + b"\0\0\0\0",
    "an element beyond its item": head(8, 6, b"SQ", 16) + ITEM + struct.pack("<I", 8) + head(8, 0x50, b"SH", 99),
    "an item without an end in a sequence with one": head(8, 6, b"SQ", 16) + ITEM + UNDEFINED + bytes(8),
    "bytes that look for their end": CREATOR + head(0x19, 0x1001, b"OB", UNDEFINED) + ITEM + struct.pack("<I", 4)
    + b"junk" + b"\xfe\xff\xdd\xe0" + bytes(4),
    "a representation that came late": CREATOR + head(0x19, 0x1001, b"OV", 8) + bytes(8),
    "an unknown sequence that is known": head(8, 0x1140, b"UN", 8 + 16) + ITEM + struct.pack("<I", 16) + 2 * (
        struct.pack("<HHI", 8, 0x1155, 0)),
}
AT = {"bytes that look for their end": (0x20, 0xD), "a representation that came late": (0x20, 0xD)}


@pytest.mark.parametrize("name", EXPLICIT)
def test_what_other_programs_take_for_other_elements_is_refused(tmp_path, key, name):
    path = sealed(tmp_path, key)
    put(path, AT.get(name, (0x10, 0x10)), EXPLICIT[name])
    with pytest.raises(scanward.UnreadableError, match=r"do not follow one another|twice"):
        scanward.verify(path, key)


def test_a_length_in_implicit_vr_that_some_programs_correct_is_refused(tmp_path, key):
    path = sealed(tmp_path, key, implicit=True)
    plain = path.read_bytes()
    put(path, (0x20, 0xD), head(0x19, 0x10, b"", 2) + b"AC" + head(0x19, 0x1001, b"", 7) + bytes(7))
    assert scanward.verify(path, key).label == "authentic", "odd as it is, all take it for 7"
    path.write_bytes(plain)
    put(path, (0x20, 0xD), head(0x19, 0x10, b"", 2) + b"AC" + head(0x19, 0x1001, b"", 13) + bytes(13))
    with pytest.raises(scanward.UnreadableError, match="do not follow one another"):
        scanward.verify(path, key)


def test_a_file_meta_group_that_says_it_ends_elsewhere_is_refused(tmp_path, key):
    path = sealed(tmp_path, key)
    body = bytearray(path.read_bytes())
    assert body[132:140] == b"\2\0\0\0UL\4\0"
    body[140:144] = (int.from_bytes(body[140:144], "little") + 24).to_bytes(4, "little")
    path.write_bytes(body)
    with pytest.raises(scanward.UnreadableError, match="do not follow one another"):
        scanward.verify(path, key)


def test_private_elements_of_every_ordinary_form_are_no_trouble(tmp_path, key):
    path = sealed(tmp_path, key)
    data = pydicom.dcmread(path)
    block = data.private_block(0x19, "ACME", create=True)
    inner = pydicom.Dataset()
    inner.PatientComments = "inside"
    for number, (vr, value) in enumerate([("OB", b"junk"), ("UN", b"more"), ("LO", "text"), ("DS", "1.5"),
                                          ("SQ", [inner, inner]), ("OW", b"ab"), ("US", 7), ("FD", 0.5)], 1):
        block.add_new(number, vr, value)
    data.ReferencedImageSequence = [inner]
    data.save_as(path)
    assert scanward.verify(path, key).label == "authentic"
    data["ReferencedImageSequence"].is_undefined_length = True
    data.save_as(path)
    assert scanward.verify(path, key).label == "authentic"
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.save_as(path, implicit_vr=True, little_endian=True)
    assert scanward.verify(path, key).label == "authentic"


def test_words_that_begin_at_another_bit_are_another_image(tmp_path, key):
    """Some programs look for them at the lowest bit all the same."""
    path = sealed(tmp_path, key)
    data = pydicom.dcmread(path)
    words = (data.pixel_array.astype("<u2") << 1).astype("<u2")
    data.PixelData, data.HighBit = words.tobytes(), 12
    data.save_as(path)
    assert scanward.verify(path, key).label == "tampered"
    path.with_name("film.dcm.seal").unlink()
    path.with_name("film.dcm.seal.copy").unlink()
    scanward.seal(path, key)
    assert scanward.verify(path, key).label == "authentic", "as some scanners write them"


def test_a_character_set_of_nobody_s_but_pythons_is_refused(tmp_path, key):
    path = sealed(tmp_path, key)
    data = pydicom.dcmread(path)
    data.SpecificCharacterSet = "ISO_IR 100"
    data.save_as(path)
    assert scanward.verify(path, key).label == "authentic"
    body = path.read_bytes()
    path.write_bytes(body.replace(b"ISO_IR 100", b"utf-7     "))
    with pytest.raises(scanward.UnreadableError, match="no character set of DICOM's"):
        scanward.verify(path, key)


def test_a_length_of_pixels_that_reads_as_a_representation(tmp_path, key):
    """In implicit VR, of 0x8574F, whose first bytes spell OW: pixels begin behind it, for everybody."""
    path = tmp_path / "film.dcm"
    data = made(FILM[:, :112], "1.2.9", SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2", Modality="MG",
                ImagerPixelSpacing=[0.1, 0.1])
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.PixelData = FILM[:, :112].tobytes()
    data.save_as(path, enforce_file_format=True)
    scanward.seal(path, key)
    body = path.read_bytes()
    at = body.rindex(b"\xe0\x7f\x10\0")
    head, pixels = body[: at + 4], body[at + 8 :]
    path.write_bytes(head + (0x8574F).to_bytes(4, "little") + bytes(4) + pixels + bytes(0x8574F - len(pixels) - 4))
    try:
        said = scanward.verify(path, key).label
    except scanward.InputError:
        return
    assert said != "authentic"
