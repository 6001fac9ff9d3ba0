"""Copies that other programs make without loss are what was sealed: items padded, deflated data, and colours that are
not subsampled any more."""

from __future__ import annotations

import dataclasses
import subprocess

import numpy as np
import pydicom
import pytest
from outside import need
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless
from sealable import FILM, MG, NUMBERS, ct_slice, made, rewritten
from test_said_elsewhere import item, palette

import scanward
from scanward.formats import Source
from scanward.formats.content import read_content
from scanward.seals.files import verify_seal
from scanward.seals.record import seal_of

KEY = bytes(range(32))
SC = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"}
INDICES = (FILM % 16).astype(np.uint8)
COLOURS = NUMBERS.integers(0, 256, (2, 48, 40, 3)).astype(np.uint8)
COLOURS[..., 1::2, 1:] = COLOURS[..., ::2, 1:]  # two pixels share a pair of colour differences


def regions():
    """Each item says something of its own and something private."""
    region = item(PhysicalDeltaX=0.1, PhysicalDeltaY=0.2)
    region.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "a")
    return {"SequenceOfUltrasoundRegions": Sequence([region]), "RequestAttributesSequence": Sequence([region])}


def subsampled(path):
    """Colours of YBR_FULL_422, as PS3.3 C.7.6.3.1.2 has them: Y1 Y2 B R."""
    y, b, r = (COLOURS[..., k] for k in range(3))
    data = made(COLOURS[0], "1.2.6", **SC, NumberOfFrames=2, SamplesPerPixel=3, PlanarConfiguration=0,
                PhotometricInterpretation="YBR_FULL_422", BitsAllocated=8, BitsStored=8, HighBit=7)
    data.PixelData = np.stack([y[..., ::2], y[..., 1::2], b[..., ::2], r[..., ::2]], -1).tobytes()
    data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)


def full(data):
    data.PhotometricInterpretation, data.PixelData = "YBR_FULL", COLOURS.tobytes()


@pytest.mark.parametrize("command", [["+p", "512", "64"], ["+g"], ["+ti"], ["+te"]])
def test_padding_lengths_and_private_elements_of_items_say_nothing(tmp_path, command):
    need("dcmconv")
    path = tmp_path / "a.dcm"
    made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG", **regions()).save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    subprocess.run(["dcmconv", *command, str(path), str(tmp_path / "b.dcm")], check=True, capture_output=True)
    answer = scanward.verify(tmp_path / "b.dcm", KEY, seal=seal)
    assert (answer.label, "Its header says another" in answer.reason) == ("authentic", False)
    rewritten(tmp_path / "b.dcm", lambda data: setattr(data.SequenceOfUltrasoundRegions[0], "PhysicalDeltaX", 0.3))
    assert scanward.verify(tmp_path / "b.dcm", KEY, seal=seal).label == "tampered"


def test_an_item_may_lose_what_is_private(tmp_path):
    path = tmp_path / "a.dcm"
    ct_slice(0, **regions()).save_as(path, enforce_file_format=True)
    scanward.seal(path, KEY)
    rewritten(path, lambda data: data.remove_private_tags())
    answer = scanward.verify(path, KEY)
    assert (answer.label, "Its header says another" in answer.reason) == ("authentic", False)


@pytest.mark.parametrize("kind", ["colours", "palette", "32 bits", "floating point"])
def test_deflated_images_of_every_kind_are_read(tmp_path, kind):
    need("dcmconv")
    path, other = tmp_path / "a.dcm", tmp_path / "b.dcm"
    if kind == "colours":
        subsampled(path)
    else:
        pixels = {"palette": INDICES, "32 bits": FILM.astype(np.uint32) << 12,
                  "floating point": FILM.astype(np.float32) / 3}[kind]
        bits = 8 * pixels.itemsize
        more = palette(range(16)) | {"PhotometricInterpretation": "PALETTE COLOR"} if kind == "palette" else {}
        data = made(pixels, "1.2.6", **SC, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, **more)
        if kind == "floating point":
            data.FloatPixelData = data.PixelData
            del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
        data.save_as(path, enforce_file_format=True)
    seal = scanward.seal(path, KEY)
    subprocess.run(["dcmconv", "+td", str(path), str(other)], check=True, capture_output=True)
    assert pydicom.dcmread(other).file_meta.TransferSyntaxUID.is_deflated
    assert scanward.verify(other, KEY, seal=seal).label == "authentic"
    assert scanward.verify(other, KEY, seal=scanward.seal(other, KEY)).label == "authentic"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_colours_that_were_subsampled_are_the_same_colours(tmp_path, syntax):
    """As GDCM makes them."""
    path = tmp_path / "a.dcm"
    subsampled(path)
    scanward.seal(path, KEY)

    def converted(data):
        full(data)
        if syntax.is_compressed:
            data.compress(syntax)
        else:
            data.file_meta.TransferSyntaxUID = syntax

    rewritten(path, converted)
    data = pydicom.dcmread(path)
    assert (data.file_meta.TransferSyntaxUID, data.PhotometricInterpretation) == (syntax, "YBR_FULL")
    assert scanward.verify(path, KEY).label == "authentic"


def test_other_colours_of_the_same_samples_are_another_image(tmp_path):
    path = tmp_path / "a.dcm"
    subsampled(path)
    scanward.seal(path, KEY)
    rewritten(path, full)
    assert scanward.verify(path, KEY).label == "authentic"
    rewritten(path, lambda data: setattr(data, "PhotometricInterpretation", "RGB"))
    answer = scanward.verify(path, KEY)
    assert (answer.label, "Its PhotometricInterpretation is RGB, and was YBR_FULL" in answer.reason) == (
        "tampered", True)
    (tmp_path / "a.dcm.seal").unlink()
    scanward.seal(path, KEY)
    for word in ("YBR_FULL", "YBR_FULL_422"):  # the second of as many samples as have none that is shared
        rewritten(path, lambda data, word=word: setattr(data, "PhotometricInterpretation", word))
        try:
            assert scanward.verify(path, KEY).label == "tampered"
        except scanward.UnreadableError as error:
            assert "a third larger than expected" in str(error)


def test_compressed_colours_are_not_called_subsampled(tmp_path):
    """Viewers would take a colour's difference for a brightness."""
    path = tmp_path / "a.dcm"
    subsampled(path)
    rewritten(path, lambda data: (full(data), data.compress(RLELossless)))
    scanward.seal(path, KEY)
    rewritten(path, lambda data: setattr(data, "PhotometricInterpretation", "YBR_FULL_422"))
    assert scanward.verify(path, KEY).label == "tampered"


@pytest.mark.parametrize("word", ["YBR_FULL", "YBR_FULL_422"])
def test_older_seals_hold_the_word_of_the_file(site, tmp_path, word):
    path, source = tmp_path / "a.dcm", Source((tmp_path / "a.dcm",), "file")
    subsampled(path)
    content = read_content(source)
    old = dataclasses.replace(content, place=content.place | {"PhotometricInterpretation": word})
    seal = seal_of(old, "a", "2026-01-01T00:00:00+00:00", site)
    assert verify_seal(source, seal, [site.certificate]).label == "authentic"
