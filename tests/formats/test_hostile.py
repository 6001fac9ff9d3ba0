"""No file, however damaged or mean, gets more out of `read` than an image or one sentence; and none hangs it."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import subprocess
import time
import zlib
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outside import need
from PIL import Image as Pillow
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from scanward.errors import InputError, ScanwardError, UnreadableError, UnsupportedError
from scanward.formats import find, read
from scanward.image import Image

SECONDS = 5
fuzz = settings(max_examples=250, derandomize=True, deadline=None, database=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip


def refused(path: Path, error: type[InputError], *words: str) -> str:
    """Reads `path` and answers the one sentence that it is refused with."""
    with pytest.raises(error) as caught:
        read(path)
    said = str(caught.value)
    assert said.startswith(str(path)), said
    assert said.endswith("."), said
    assert "\n" not in said
    for word in words:
        assert word in said, said
    return said


def image_or_sentence(path: Path) -> None:
    """What the fuzzers hold `read` to."""
    start = time.perf_counter()
    try:
        image = read(path)
    except ScanwardError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 500
    else:
        assert isinstance(image, Image)
    assert time.perf_counter() - start < SECONDS


def test_truncated_dicom(phantom, write):
    path = write(phantom.dataset(phantom.breast()))
    raw = path.read_bytes()
    path.write_bytes(raw[:-1000])
    refused(path, UnreadableError, "cut short", "3,840", "2,840")


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda u: u.name)
def test_truncated_compressed_dicom(phantom, write, syntax):
    data = phantom.dataset(phantom.breast())
    data.compress(syntax, generate_instance_uid=False)
    path = write(data)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) - 500])
    refused(path, UnreadableError, "cut short")


def test_no_pixel_data(phantom, write):
    refused(write(phantom.dataset(phantom.breast(), PixelData=None)), UnreadableError, "holds no pixel data")


def test_too_small(phantom, write):
    refused(write(phantom.dataset(np.zeros((1, 1), np.uint16))), UnsupportedError, "too small to judge: 1 x 1")


def test_sixty_thousand_squared_with_a_short_body(phantom, write, tmp_path):
    path = write(phantom.dataset(phantom.breast(), Rows=60000, Columns=60000))
    refused(path, UnsupportedError, "60000 x 60000")
    (tmp_path / "f.pgm").write_bytes(b"P5 60000 60000 255\n" + bytes(99))
    refused(tmp_path / "f.pgm", UnsupportedError, "60000 x 60000")
    header = struct.pack(">IIBBBBB", 60000, 60000, 16, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "f.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + bytes(99))
    refused(tmp_path / "f.png", UnsupportedError, "60000 x 60000")
    np.save(tmp_path / "f.npy", np.zeros((40, 40), np.uint8))
    raw = (tmp_path / "f.npy").read_bytes().replace(b"(40, 40), }" + b" " * 6, b"(60000, 60000), }")
    (tmp_path / "f.npy").write_bytes(raw)
    refused(tmp_path / "f.npy", UnsupportedError, "60000 x 60000")
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((40, 40), np.uint8), metadata=None)
    with tifffile.TiffFile(tmp_path / "f.tif", mode="r+") as tiff:
        tiff.pages.first.tags["ImageWidth"].overwrite(60000)
        tiff.pages.first.tags["ImageLength"].overwrite(60000)
    refused(tmp_path / "f.tif", UnsupportedError, "60000 x 60000")


def test_a_frame_just_above_the_limit(phantom, write):
    path = write(phantom.dataset(phantom.breast(), Rows=14200, Columns=14200))
    refused(path, UnsupportedError, "14200 x 14200 pixels, more than the 200 million")


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_a_large_frame_with_a_short_body_is_refused_before_it_is_made(phantom, write, syntax):
    data = phantom.dataset(phantom.breast())
    if syntax:
        data.compress(syntax, generate_instance_uid=False)
    data.Rows = data.Columns = 14000
    refused(write(data), UnreadableError)


def test_sizes_of_other_formats_are_held_against_their_bodies(tmp_path):
    header = struct.pack(">IIBBBBB", 14000, 14000, 16, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "f.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + bytes(99))
    refused(tmp_path / "f.png", UnreadableError, "cut short")
    (tmp_path / "f.pgm").write_bytes(b"P5 14000 14000 65535\n" + bytes(99))
    refused(tmp_path / "f.pgm", UnreadableError, "392,000,000", "99")
    with (tmp_path / "f.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": (14000, 14000)})
    refused(tmp_path / "f.npy", UnreadableError, "392,000,000")


def test_a_deflated_bomb(phantom, write, tmp_path):
    data = phantom.dataset(phantom.breast())
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = write(data)
    raw = path.read_bytes()
    start = 144 + struct.unpack("<I", raw[140:144])[0]
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = engine.compress(bytes(10**7)) + engine.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(raw[:start] + zeros * 50 + engine.flush())
    assert path.stat().st_size < 10**6
    refused(path, UnsupportedError, "inflates to more than")


def test_a_jpeg_frame_of_another_size_than_its_header(phantom, write):
    data = phantom.dataset(phantom.breast(12, rows=64))
    data.compress(JPEG2000Lossless, generate_instance_uid=False)
    data.Rows = 48
    refused(write(data), UnreadableError, "declares 40 x 48", "holds 40 x 64")


def test_a_compressed_syntax_over_plain_pixels_and_the_reverse(phantom, write):
    data = phantom.dataset(phantom.breast())
    data.file_meta.TransferSyntaxUID = RLELossless
    path = write(phantom.dataset(phantom.breast()))
    raw = path.read_bytes()
    plain, rle = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"
    path.write_bytes(raw.replace(plain, rle))
    refused(path, UnreadableError, "says that it is compressed")
    data = phantom.dataset(phantom.breast())
    data.compress(RLELossless, generate_instance_uid=False)
    path = write(data)
    path.write_bytes(path.read_bytes().replace(rle, plain))
    refused(path, UnreadableError, "says that it is not compressed")
    path.write_bytes(raw.replace(plain, b"1.2.840.10008.1.2.9\0"))
    refused(path, UnsupportedError, "1.2.840.10008.1.2.9")


def test_more_frames_than_the_header_says(phantom, write):
    data = phantom.dataset(phantom.breast())
    data.PixelData = 3 * data.PixelData
    refused(write(data), UnreadableError, "11,520", "3 frames", "NumberOfFrames is 1")


def test_no_permission(phantom, write):
    # The tests may run as root, whom no file mode stops: the refusal of the system is played instead.
    path = write(phantom.dataset(phantom.breast()))
    with mock.patch("scanward.formats.guard.open", side_effect=PermissionError(13, "Permission denied"), create=True):
        refused(path, UnreadableError, "may not be read", "permission")


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.dcm").touch()
    refused(tmp_path / "empty.dcm", UnreadableError, "is empty")
    refused(tmp_path / "nowhere.dcm", UnreadableError, "does not exist")
    (tmp_path / "text.txt").write_text("hello")
    refused(tmp_path / "text.txt", UnsupportedError, "of no format that Scanward knows")
    refused(Path("/dev/zero"), UnreadableError, "not a regular file")
    assert stat.S_ISDIR(tmp_path.stat().st_mode)
    with pytest.raises(UnsupportedError, match="of no format"):
        read(tmp_path / "text.txt")


def test_a_file_name_of_two_lines_stays_on_one(tmp_path):
    path = tmp_path / "two\nlines.dcm"
    path.write_text("no image")
    with pytest.raises(UnsupportedError) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_header_of_two_lines_stays_on_one(phantom, write):
    path = write(phantom.dataset(phantom.breast(), Modality="XAY", SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1"))
    path.write_bytes(path.read_bytes().replace(b"XAY ", b"X\nY "))
    assert "modality X Y" in refused(path, UnsupportedError)


def test_nothing_reaches_the_terminal(phantom, write, tmp_path, capfd):
    Pillow.fromarray(phantom.breast(8)).save(tmp_path / "f.tif", compression="tiff_lzw")
    raw = (tmp_path / "f.tif").read_bytes()
    (tmp_path / "f.tif").write_bytes(raw[:8] + b"\xff" * 600 + raw[608:])
    refused(tmp_path / "f.tif", UnreadableError)
    path = write(phantom.dataset(phantom.breast(), PixelSpacing=[0.1, 0.1]))
    path.write_bytes(path.read_bytes().replace(b"0.1\\0.1 ", b"0.x\\0.1 "))
    assert read(path).spacing is None
    assert capfd.readouterr() == ("", "")


def mutated(raw: bytes, flips: list[tuple[float, int]], cut: float, junk: bytes) -> bytes:
    """`raw` with bytes replaced at relative places, cut at a relative length, and junk put where the first flip is."""
    data = bytearray(raw)
    for place, value in flips:
        data[int(place * (len(data) - 1))] = value
    if junk and flips:
        at = int(flips[0][0] * len(data))
        data[at:at] = junk
    return bytes(data[: int(cut * len(data))])


PLACE = st.floats(0, 1, exclude_max=True)
MUTATION = {
    "flips": st.lists(st.tuples(PLACE, st.integers(0, 255)), max_size=8),
    "cut": st.one_of(st.just(1.0), st.just(1.0), PLACE),
    "junk": st.one_of(st.just(b""), st.just(b""), st.binary(max_size=12)),
}


@pytest.fixture(scope="module")
def dicoms(phantom, tmp_path_factory) -> list[bytes]:
    """One small mammogram in several transfer syntaxes."""
    files = []
    for syntax in (None, RLELossless, JPEG2000Lossless, JPEGLSLossless, DeflatedExplicitVRLittleEndian):
        data = phantom.dataset(phantom.breast(), PixelSpacing=[0.1, 0.1], PixelPaddingValue=0)
        if syntax == DeflatedExplicitVRLittleEndian:
            data.file_meta.TransferSyntaxUID = syntax
        elif syntax:
            data.compress(syntax, generate_instance_uid=False)
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
        files.append(buffer.getvalue())
    return files


@fuzz
@given(which=st.integers(0, 4), **MUTATION)
def test_mutated_dicom_bytes(dicoms, tmp_path, which, flips, cut, junk):
    path = tmp_path / "film.dcm"
    path.write_bytes(mutated(dicoms[which], flips, cut, junk))
    image_or_sentence(path)
    sources, errors = find([tmp_path])
    assert len(sources) + len(errors) == 1


@pytest.fixture(scope="module")
def lossless_jpeg(phantom, tmp_path_factory) -> bytes:
    """A mammogram in lossless JPEG, whose decoder aborts its whole process on some damaged frames."""
    need("dcmcjpeg")
    folder = tmp_path_factory.mktemp("jpeg")
    phantom.dataset(phantom.breast()).save_as(folder / "a.dcm", enforce_file_format=True)
    subprocess.run(["dcmcjpeg", "+e1", str(folder / "a.dcm"), str(folder / "b.dcm")], check=True)
    return (folder / "b.dcm").read_bytes()


@settings(fuzz, max_examples=60)
@given(flips=st.lists(st.tuples(PLACE, st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_lossless_jpeg(lossless_jpeg, tmp_path, flips):
    start = lossless_jpeg.rindex(b"\xff\xd8")
    path = tmp_path / "film.dcm"
    path.write_bytes(lossless_jpeg[:start] + mutated(lossless_jpeg[start:], flips, 1.0, b""))
    image_or_sentence(path)


WHOLE = st.one_of(st.integers(0, 65535), st.sampled_from([0, 1, 8, 12, 16, 32, 40, 48, 65535]))
TEXT = st.one_of(st.sampled_from(["", "MG", "CT", "MONOCHROME1", "RGB", "1e400", "nan", "-0", "1\\2\\3"]),
                 st.text(st.characters(codec="latin-1"), max_size=16))  # fmt: skip
ELEMENTS = st.one_of(
    st.tuples(st.sampled_from([0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
                               0x00280120, 0x00280121]), st.just("US"), WHOLE),
    st.tuples(st.sampled_from([0x00080060, 0x00280004, 0x00280008, 0x00280030, 0x00181164, 0x00181114, 0x00281052,
                               0x00281053, 0x00200032, 0x00200037, 0x00080016, 0x0008001C, 0x00180015]),
              st.sampled_from(["LO", "UT", "CS", "DS", "IS", "UI", "UN"]), TEXT),
)  # fmt: skip


def element(tag: int, kind: str, value: int | str) -> bytes:
    """One element in little-endian explicit VR, true to no dictionary."""
    body = struct.pack("<H", value) if isinstance(value, int) else value.encode("latin-1")
    body += b"\0" * (len(body) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind.encode()
    return head + (struct.pack("<HI", 0, len(body)) if kind in ("UT", "UN") else struct.pack("<H", len(body))) + body


@fuzz
@given(changes=st.lists(ELEMENTS, min_size=1, max_size=5))
def test_replaced_dicom_header_values(phantom, tmp_path, changes):
    data = phantom.dataset(phantom.breast())
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    raw = buffer.getvalue()
    start = 144 + struct.unpack("<I", raw[140:144])[0]
    kept = {int(e.tag): e for e in data if int(e.tag) < 0x7FE00000}
    parts: dict[int, bytes] = {}
    for tag, item in kept.items():
        value = item.value if isinstance(item.value, int) else str(item.value)
        parts[tag] = element(tag, item.VR, value)
    parts |= {tag: element(tag, kind, value) for tag, kind, value in changes}
    pixels = raw[raw.index(b"\xe0\x7f\x10\0") :]
    path = tmp_path / "film.dcm"
    path.write_bytes(raw[:start] + b"".join(parts[t] for t in sorted(parts)) + pixels)
    image_or_sentence(path)


@pytest.fixture(scope="module")
def others(phantom, tmp_path_factory) -> dict[str, bytes]:
    """One small file of each other format."""
    folder = tmp_path_factory.mktemp("seeds")
    volume = np.random.default_rng(0).integers(-1000, 1000, (3, 34, 36)).astype(np.int16)
    Pillow.fromarray(phantom.breast(16)).save(folder / "a.png")
    tifffile.imwrite(folder / "a.tif", phantom.breast(16), metadata=None)
    tifffile.imwrite(folder / "b.tif", phantom.breast(8), metadata=None, compression="zlib")
    Pillow.fromarray(phantom.breast(8)).save(folder / "c.tif", compression="tiff_lzw")
    np.save(folder / "a.npy", phantom.breast(12).astype(np.float32) / 3)
    Pillow.fromarray(phantom.breast(8)).save(folder / "a.pgm")
    nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)), folder / "a.nii")
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(folder / "a.mha"))
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(folder / "b.mha"), useCompression=True)
    (folder / "a.nii.gz").write_bytes(gzip.compress((folder / "a.nii").read_bytes(), mtime=0))
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@fuzz
@given(which=st.integers(0, 9), early=st.booleans(), **MUTATION)
def test_mutated_files_of_the_other_formats(others, tmp_path, which, early, flips, cut, junk):
    name, raw = list(others.items())[which]
    reach = min(1.0, 400 / len(raw)) if early else 1.0  # headers are short, and matter more than pixels
    path = tmp_path / name
    path.write_bytes(mutated(raw, [(place * reach, value) for place, value in flips], cut, junk))
    image_or_sentence(path)
    path.unlink()
