"""Files in which other programs would see another image than the sealed one, while Scanward sees that: refused."""

from __future__ import annotations

import io
import struct

import nibabel
import numpy as np
import openjpeg
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless
from sealable import CT, FILM, MG, VOLUME, ct_slice, made

import scanward
from scanward.formats import read

EIGHT = (FILM >> 4).astype(np.uint16)
BITS = {"BitsStored": 8, "HighBit": 7}
SIGNED = FILM.astype(np.int16) - 2048
SPOT = np.zeros(FILM.shape, np.uint16)
SPOT[40:60, 40:60] = 1


def film(words, **elements):
    return made(words, "1.2.9", **{"SOPClassUID": MG, "Modality": "MG"} | elements)


def sealed(tmp_path, data, name="a.dcm"):
    """Writes, seals, and answers the path; `data` is then to be changed."""
    scanward.make_key(tmp_path / "site.key")
    data.save_as(tmp_path / name, enforce_file_format=True)
    scanward.seal(tmp_path / name, tmp_path / "site.key")
    assert verified(tmp_path / name) == "authentic"
    return tmp_path / name


def verified(path, data=None):
    if data is not None:
        data.save_as(path, enforce_file_format=True)
    return scanward.verify(path, path.with_name("site.key")).label


def run_lengths(words):
    data = film(words, BitsStored=16, HighBit=15)
    data.compress(RLELossless)
    data.BitsStored, data.HighBit = 8, 7
    return data


def wrapped(samples, **elements):
    return jpeg2000(codestream(samples), **elements)


def codestream(samples):
    return openjpeg.encode(samples)


def jpeg2000(frame, **elements):
    data = film(FILM, **elements)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    return data


@pytest.mark.parametrize(("sound", "other"), [
    (film(EIGHT, **BITS), film(EIGHT | SPOT << 8, **BITS)),
    (film(EIGHT, **BITS), film(EIGHT | (255 - EIGHT) << 8, **BITS)),
    (film(EIGHT << 4, BitsStored=8, HighBit=11), film(EIGHT << 4 | SPOT << 12, BitsStored=8, HighBit=11)),
    (film(EIGHT << 4, BitsStored=8, HighBit=11), film(EIGHT << 4 | SPOT, BitsStored=8, HighBit=11)),
    (film(SIGNED, PixelRepresentation=1), film(SIGNED ^ (SPOT << 13).astype(np.int16), PixelRepresentation=1)),
    (film(SIGNED, PixelRepresentation=1),
     film(np.where(SPOT, SIGNED & 0xFFF, SIGNED).astype(np.int16), PixelRepresentation=1)),
    (run_lengths(EIGHT), run_lengths(EIGHT | SPOT << 8)),
    (wrapped(EIGHT << 4, BitsStored=8, HighBit=11), wrapped(EIGHT << 4 | SPOT << 14, BitsStored=8, HighBit=11)),
    (wrapped(EIGHT << 4, BitsStored=8, HighBit=11), wrapped(EIGHT << 4 | SPOT, BitsStored=8, HighBit=11)),
], ids=["above", "a whole image", "above left-aligned", "below", "sign", "sign cut off", "RLE", "JPEG 2000 above",
        "JPEG 2000 below"])
def test_bits_outside_of_those_stored_hold_nothing(tmp_path, sound, other):
    """Not every viewer masks them."""
    path = sealed(tmp_path, sound)
    with pytest.raises(scanward.UnreadableError, match=r"a\.dcm has bits set outside of the \d+ that its header says"):
        verified(path, other)


@pytest.mark.parametrize("data", [film(SIGNED & 0xFFF, PixelRepresentation=1), film(SIGNED << 4, HighBit=15,
                         PixelRepresentation=1), wrapped(FILM << 4, HighBit=15)], ids=["cut off", "left", "JPEG 2000"])
def test_words_whose_unused_bits_are_empty_are_sealed(tmp_path, data):
    sealed(tmp_path, data)


def test_overlays_that_nobody_sealed_do_not_make_room_for_another_image(tmp_path):
    """Where a header says that overlays lie in the words, viewers that mask nothing show them as the image."""
    path = sealed(tmp_path, film(EIGHT, **BITS))
    data = film(EIGHT | (255 - EIGHT) << 8, **BITS)
    for bit in range(8):
        for number, value in ((0x10, 160), (0x11, 120), (0x100, 16), (0x102, 8 + bit)):
            data.add_new(0x60000000 + bit * 0x20000 + number, "US", value)
    with pytest.raises(scanward.UnreadableError, match=r"has bits set .* overlays as elements of their own"):
        verified(path, data)
    assert read(path).pixels.max() == 255


@pytest.mark.parametrize(("form", "photometric"), [((160, 120, 3), "RGB"), ((160, 120), "PALETTE COLOR")])
def test_colours_have_no_bits_outside_of_those_stored_either(tmp_path, form, photometric):
    colours = np.random.default_rng(3).integers(0, 1024, form).astype(np.uint16)
    data = film(colours, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT", BitsStored=10, HighBit=9,
                PhotometricInterpretation=photometric, SamplesPerPixel=colours.size // FILM.size)
    if colours.ndim == 3:
        data.PlanarConfiguration = 0
    path = sealed(tmp_path, data)
    colours[50, 50] |= 1 << 12
    data.PixelData = colours.tobytes()
    with pytest.raises(scanward.UnreadableError, match="has bits set outside of the 10"):
        verified(path, data)


def box(kind, data):
    return struct.pack(">I", 8 + len(data)) + kind + data


GREY, YCC = (struct.pack(">BBBI", 1, 0, 0, number) for number in (17, 18))


def jp2(stream, *more, colour=GREY, behind=b""):
    rows, columns = FILM.shape
    head = box(b"ihdr", struct.pack(">IIHBBBB", rows, columns, 1, 15, 7, 0, 0)) + box(b"colr", colour)
    return (b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", head + b"".join(more))
            + box(b"jp2c", stream) + behind)


PALETTE = box(b"pclr", struct.pack(">HB", 256, 1) + b"\x07" + bytes(range(256))) + box(b"cmap", bytes((0, 0, 1, 0)))


@pytest.mark.parametrize("frame", [
    lambda stream: jp2(stream, PALETTE), lambda stream: jp2(stream, box(b"cdef", struct.pack(">HHHH", 1, 0, 1, 0))),
    lambda stream: jp2(stream, colour=b"\2\0\0" + bytes(128)),
    lambda stream: jp2(stream, colour=YCC),
    lambda stream: jp2(stream, behind=box(b"jp2c", stream[:40])), lambda stream: jp2(stream, behind=PALETTE),
    lambda stream: jp2(stream, struct.pack(">I", 4000) + b"pclr"),
], ids=["palette", "channels", "profile", "sYCC", "two streams", "behind", "cut"])
def test_boxes_about_a_codestream_that_change_what_is_shown_are_refused(tmp_path, frame):
    stream = codestream(FILM)
    path = sealed(tmp_path, jpeg2000(stream))
    assert verified(path, jpeg2000(jp2(stream, box(b"res ", box(b"resc", bytes(10)))))) == "authentic"
    with pytest.raises(scanward.UnreadableError, match="wraps a compressed frame in boxes"):
        verified(path, jpeg2000(frame(stream)))


def test_boxes_about_colours_are_refused_too(tmp_path):
    """Which channel is red."""
    written = io.BytesIO()
    Image.fromarray(np.stack([EIGHT, EIGHT // 2, 255 - EIGHT], -1).astype(np.uint8)).save(written, "JPEG2000")
    data = jpeg2000(written.getvalue(), SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT", SamplesPerPixel=3,
                    PlanarConfiguration=0, PhotometricInterpretation="RGB", BitsAllocated=8, **BITS)
    path = sealed(tmp_path, data)
    order = box(b"cdef", struct.pack(">H9H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))
    whole = written.getvalue()
    at = whole.index(b"jp2h") - 4
    length = int.from_bytes(whole[at:at + 4], "big")
    data.PixelData = encapsulate([whole[:at] + box(b"jp2h", whole[at + 8:at + length] + order) + whole[at + length:]])
    with pytest.raises(scanward.UnreadableError, match="wraps a compressed frame in boxes"):
        verified(path, data)


def test_an_element_that_counts_is_in_the_representation_of_the_dictionary(tmp_path):
    """Eight bytes are .7 as a floating-point number, and .3 as text, for programs that go by the dictionary."""
    path = sealed(tmp_path, ct_slice(0, PixelSpacing=[0.7, 0.7]))
    double = bytearray(struct.pack("<d", 0.7))
    double[:4] = b"0.3 "
    data = pydicom.dcmread(path)
    for numbers in (double + double, struct.pack("<2d", 0.7, 0.7)):
        data.PixelSpacing = [struct.unpack("<d", numbers[i:i + 8])[0] for i in (0, 8)]
        data["PixelSpacing"].VR = "FD"
        with pytest.raises(scanward.UnreadableError, match="PixelSpacing in the representation FD, where DICOM has DS"):
            verified(path, data)


def test_what_items_say_is_held_to_the_same(tmp_path):
    """Of sequences that a seal keeps as a hash of their values."""
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTExplanation, table.ModalityLUTType = [2, 0, 16], "plain", "other"
    table.add_new("LUTData", "OW", struct.pack("<2H", 0, 9))
    data = film(FILM, VOILUTSequence=[table])
    path = sealed(tmp_path, data)
    table["LUTExplanation"].VR = "UT"
    with pytest.raises(scanward.UnreadableError, match="LUTExplanation in the representation UT, where DICOM has LO"):
        verified(path, data)
    table["LUTExplanation"].VR = "LO"
    assert verified(path, data) == "authentic"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"\x28\0\x04\x30LO", b"\x28\0\x03\x30LO"))
    with pytest.raises(scanward.UnreadableError, match="says its LUTExplanation twice"):
        verified(path)


def test_an_element_without_a_value_may_be_of_any_representation(tmp_path):
    path = sealed(tmp_path, film(FILM, AcquisitionDate=""))
    path.write_bytes(path.read_bytes().replace(b"\x08\0\x22\0DA\0\0", b"\x08\0\x22\0LO\0\0"))
    assert pydicom.dcmread(path)["AcquisitionDate"].VR == "LO"
    assert verified(path) == "authentic"


def test_compressed_frames_and_icons_are_no_elements(tmp_path):
    stream = codestream(FILM)
    icon = pydicom.Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated = 4, 4, 8
    icon.add_new("PixelData", "OB", encapsulate([b"\xff\x4f\xff\x51 an icon "]))
    icon["PixelData"].is_undefined_length = True
    path = sealed(tmp_path, jpeg2000(stream, IconImageSequence=[icon]))
    with path.open("ab") as file:
        file.write(b"\x28\0\x30\0DS\x08\0" + b"0.3\\0.3 ")
    with pytest.raises(scanward.UnreadableError, match="PixelSpacing twice, or behind its pixels"):
        verified(path)


@pytest.mark.parametrize("deep", [False, True], ids=["header", "groups"])
def test_words_of_the_header_are_words(tmp_path, deep):
    data = ct_slice(0)
    if deep:
        inner = pydicom.Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = 1, -1024
        outer = pydicom.Dataset()
        outer.PixelValueTransformationSequence = [inner]
        data.SharedFunctionalGroupsSequence = [outer]
    path = sealed(tmp_path, data)
    target = data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0] if deep else data
    target.add_new("RescaleIntercept", "LO", "-1024")
    with pytest.raises(scanward.UnreadableError, match="RescaleIntercept in the representation LO, where DICOM has DS"):
        verified(path, data)


def test_representations_that_the_dictionary_allows_or_nobody_knew_are_read(tmp_path):
    data = ct_slice(0, SOPClassUID=CT, PixelPaddingValue=0)
    path = sealed(tmp_path, data)
    data["PixelPaddingValue"].VR = "SS"
    assert verified(path, data) == "authentic"
    whole = path.read_bytes()
    at = whole.index(b"\x28\0\x30\0DS")
    length = int.from_bytes(whole[at + 6:at + 8], "little")
    unknown = whole[:at + 4] + b"UN\0\0" + struct.pack("<I", length) + whole[at + 8:]
    path.write_bytes(unknown)
    assert pydicom.dcmread(path).PixelSpacing == [0.7, 0.6]
    assert scanward.verify(path, tmp_path / "site.key").label == "authentic"
    assert np.array_equal(pydicom.dcmread(path).pixel_array, VOLUME[0])


@pytest.mark.parametrize("sop_class", ["1.1", "1.2", "1.2.1", "1.3"])
def test_a_rescale_that_viewers_of_projections_pass_over_is_refused(tmp_path, sop_class):
    """Stored inverted, with slope -1 to undo it: every viewer of mammograms shows it inverted."""
    own = {"SOPClassUID": f"1.2.840.10008.5.1.4.1.1.{sop_class}"}
    path = sealed(tmp_path, film(FILM, RescaleSlope=1, RescaleIntercept=0, **own))
    with pytest.raises(scanward.InputError, match="RescaleSlope of -1 and a RescaleIntercept of 4095"):
        verified(path, film(4095 - FILM, RescaleSlope=-1, RescaleIntercept=4095, **own))


@pytest.mark.parametrize(("said", "words"), [
    ({"sform": 0, "qform": 0}, "neither a sform nor a qform"), ({"units": "meter"}, "another unit than mm"),
    ({"units": "micron"}, "another unit than mm")])
def test_a_volume_that_programs_place_each_in_their_own_way_is_refused(tmp_path, said, words):
    affine = np.diag([0.7, 0.7, 2, 1])
    for name, change in (("sound", {}), ("unknown", {"units": "unknown"}), ("odd", said)):
        volume = nibabel.Nifti1Image(VOLUME.T.astype(np.int16), affine, dtype=np.int16)
        volume.set_sform(affine, code=change.get("sform", 1))
        volume.set_qform(affine, code=change.get("qform", 1))
        volume.header.set_xyzt_units(change.get("units", "mm"))
        nibabel.save(volume, tmp_path / f"{name}.nii")
    scanward.make_key(tmp_path / "site.key")
    for name in ("sound", "unknown"):
        scanward.seal(tmp_path / f"{name}.nii", tmp_path / "site.key")
        assert verified(tmp_path / f"{name}.nii") == "authentic"
    with pytest.raises(scanward.InputError, match=words):
        scanward.seal(tmp_path / "odd.nii", tmp_path / "site.key")
    (tmp_path / "odd.nii").replace(tmp_path / "sound.nii")
    with pytest.raises(scanward.InputError, match=words):
        verified(tmp_path / "sound.nii")


@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR"])
@pytest.mark.parametrize(("slope", "intercept"), [(-1, 255), (1, -100), (2, 0)])
def test_a_rescale_of_colours_is_refused(tmp_path, photometric, slope, intercept):
    """ITK applies it; DICOM knows none. One that changes nothing is in many secondary captures."""
    path = sealed(tmp_path, coloured(photometric))
    assert verified(path, coloured(photometric, RescaleSlope=1, RescaleIntercept=0)) == "authentic"
    with pytest.raises(scanward.InputError, match=f"RescaleSlope of {slope} and a RescaleIntercept of {intercept}"):
        verified(path, coloured(photometric, RescaleSlope=slope, RescaleIntercept=intercept))


def coloured(photometric, **elements):
    samples = (FILM >> 4).astype(np.uint8)
    said = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PhotometricInterpretation": photometric,
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"}
    if photometric == "RGB":
        return film(np.stack([samples] * 3, -1), SamplesPerPixel=3, PlanarConfiguration=0, **said | elements)
    palette = {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16] for colour in ("Red", "Green", "Blue")}
    tables = {f"{colour}PaletteColorLookupTableData": np.arange(256, dtype="<u2").tobytes()
              for colour in ("Red", "Green", "Blue")}
    return film(samples, **said | palette | tables | elements)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_tiff_that_stores_white_as_0_is_refused(tmp_path, depth):
    """Of 8 bits Pillow shows it the other way round than tifffile, of 16 bits no library heeds it."""
    values, path = (FILM >> 4).astype(depth), tmp_path / "film.tif"
    scanward.make_key(tmp_path / "site.key")
    tifffile.imwrite(path, values, photometric="minisblack")
    scanward.seal(path, tmp_path / "site.key")
    assert verified(path) == "authentic"
    tifffile.imwrite(path, np.iinfo(depth).max - values, photometric="miniswhite")
    with pytest.raises(scanward.InputError, match="stores white as 0"):
        verified(path)


def jpeg(markers=b"", names=b"\1\2\3", jfif=True, photometric="YBR_FULL_422"):
    """A colour JPEG of a film, as Pillow writes it, with other words about its colours."""
    samples, made_of = np.stack([(FILM >> 4).astype(np.uint8)] * 3, -1), io.BytesIO()
    Image.fromarray(samples).save(made_of, "JPEG", quality=90)
    data = made_of.getvalue()
    data = data[:2] + (data[2:20] if jfif else b"") + markers + data[20:]
    for old, new in zip((1, 2, 3), names, strict=True):
        for head in (b"\xff\xc0", b"\xff\xda"):
            at = data.index(head) + (10 if head == b"\xff\xc0" else 5)
            step = 3 if head == b"\xff\xc0" else 2
            data = data[: at + step * (old - 1)] + bytes([new]) + data[at + step * (old - 1) + 1 :]
    shown = film(samples, SamplesPerPixel=3, PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7,
                 PhotometricInterpretation=photometric, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT")
    shown.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    shown.PixelData = encapsulate([data + b"\0" * (len(data) % 2)])
    shown["PixelData"].VR = "OB"
    return shown


def adobe(transform):
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0"


@pytest.mark.parametrize(("given", "words"), [
    ({"photometric": "RGB"}, "its colours are YBR"), ({"markers": adobe(0), "jfif": False}, "its colours are RGB"),
    ({"names": b"RGB", "jfif": False}, "its colours are RGB"), ({"markers": adobe(0)}, "RGB and YBR"),
    ({"markers": b"\xff\xe1" + (len(EXIF) + 2).to_bytes(2, "big") + EXIF}, "Exif"),
])
def test_a_compressed_frame_that_says_other_colours_or_another_side_is_refused(tmp_path, given, words):
    sealed(tmp_path, jpeg())
    jpeg(**given).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(scanward.InputError, match=words):
        verified(tmp_path / "a.dcm")


@pytest.mark.parametrize("given", [{"markers": adobe(1)}, {"jfif": False}, {"jfif": False, "markers": adobe(1)},
                                   {"jfif": False, "photometric": "YBR_FULL"}])
def test_a_compressed_frame_that_agrees_or_says_nothing_is_sealed(tmp_path, given):
    sealed(tmp_path, jpeg(**given))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, JPEGLSLossless])
def test_colours_by_planes_in_a_codestream_with_an_order_of_its_own_are_refused(tmp_path, syntax):
    """pydicom turns the samples about, and DCMTK, GDCM and ITK do not."""
    data = jpeg()
    if syntax != JPEGBaseline8Bit:
        data = coloured("RGB")
        data.compress(syntax)
    path = sealed(tmp_path, data)
    data.PlanarConfiguration = 1 - data.PlanarConfiguration
    if syntax in (RLELossless, JPEGLSLossless):
        assert verified(path, data) == "authentic"
    else:
        with pytest.raises(scanward.UnreadableError, match="has a PlanarConfiguration other than 0"):
            verified(path, data)
