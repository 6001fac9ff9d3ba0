"""MetaImage headers and streams of which ITK would make another volume: refused."""

from __future__ import annotations

import gzip
import os
import zlib

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
from volume_files import metaimage, nifti

from scanward.errors import InputError
from scanward.formats import read

VALUES = np.random.default_rng(0).integers(-1000, 2000, (4, 34, 40), np.int16)
FORGED = VALUES[:, ::-1]
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def of_itk(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("line", [
    "Color = 2 2 2", "Color =", "ElementMin =", "ElementMax = x", "ElementSize = 1 1", "ID =", "ParentID =",
    "SequenceID = 1 1", "CenterOfRotation = 0 0", "ElementNBits =", "Name =", "Anything =", "Comment = =",
    "ImagePosition = 1 2", "Position = 1 2 3 4", "elementdatafile = forged.raw"])
def test_a_line_behind_which_itk_reads_on_is_refused(tmp_path, line):
    """It takes the next line for numbers that this one lacks, and so the last for the file of the voxels."""
    path = metaimage(tmp_path / "ct.mhd", VALUES)
    assert np.array_equal(read(path).pixels, of_itk(path))
    (tmp_path / "forged.raw").write_bytes(FORGED.tobytes())
    said = path.read_text().splitlines()
    path.write_text("\n".join([*said[:-1], line, said[-1], "ElementDataFile = forged.raw"]) + "\n")
    with pytest.raises(InputError, match=r"ct\.mhd (gives|has|goes)"):
        read(path)
    path.write_text("\n".join([*said[:-1], line, said[-1]]))
    with pytest.raises(InputError, match=r"ct\.mhd (gives|has)"):
        read(path)


@pytest.mark.parametrize("last", ["= forged.raw", ": forged.raw", "ct.raw\nElementDataFile = forged.raw"])
def test_the_voxels_lie_where_the_last_line_says(tmp_path, last):
    """MetaIO passes over several signs of equality, which may be a file's name."""
    path = metaimage(tmp_path / "ct.mhd", VALUES, ElementDataFile=last)
    (tmp_path / "forged.raw").write_bytes(FORGED.tobytes())
    (tmp_path / last.split("\n")[0]).write_bytes(VALUES.tobytes())
    with pytest.raises(InputError, match=r"ct\.mhd (gives its|goes on behind) ElementDataFile"):
        read(path)


@pytest.mark.parametrize("key", ["Offset", "Position", "Origin", "ImagePosition"])
def test_the_place_has_four_names(tmp_path, key):
    path = metaimage(tmp_path / "ct.mha", VALUES, **{key: "5 6 7"})
    assert sitk.ReadImage(str(path)).GetOrigin() == (5, 6, 7)
    assert np.array(read(path).provenance.to_world)[:, 3].tolist() == [5, 6, 7]
    metaimage(path, VALUES, Offset="1 2 3", **({key: "5 6 7"} if key != "Offset" else {"Origin": "5 6 7"}))
    with pytest.raises(InputError, match="which differ and mean the same"):
        read(path)


@pytest.mark.parametrize("suffix", ["mha", "mhd"])
@pytest.mark.parametrize("case", ["size 0", "size short", "size long", "no size", "two streams", "forged first",
                                  "longer", "cut", "two members", "no stream"])
def test_a_stream_that_is_not_all_of_the_volume_is_refused(tmp_path, suffix, case):
    """ITK begins at the file's first byte and ends where CompressedDataSize says, and shows what memory held."""
    sound, forged = zlib.compress(VALUES.tobytes()), zlib.compress(FORGED.tobytes())
    data = {"two streams": sound + forged, "forged first": forged + sound, "cut": sound[:-9], "no stream": b"",
            "longer": zlib.compress(VALUES.tobytes() + b"\0"),
            "two members": gzip.compress(VALUES[:2].tobytes()) + gzip.compress(VALUES[2:].tobytes())}.get(case, sound)
    size = {"size 0": 0, "size short": len(data) // 2, "size long": len(data) + 9, "no size": None}.get(case, len(data))
    path = metaimage(tmp_path / f"ct.{suffix}", VALUES, sound, CompressedData=True, CompressedDataSize=len(sound))
    assert np.array_equal(read(path).pixels, of_itk(path))
    metaimage(path, VALUES, data, CompressedData=True, CompressedDataSize=size,
              HeaderSize=len(forged) if case == "forged first" else None)
    with pytest.raises(InputError, match=r"/ct\.(mha|raw) .*\.$"):
        read(path)


@pytest.mark.parametrize("blank", ["\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\0", "\x7f", "\r"])
@pytest.mark.parametrize("place", ["5{} 6 7", "{}5 6 7", "5 6 7{}", "5{}6{}7"])
def test_numbers_between_what_python_alone_takes_for_blanks(tmp_path, blank, place):
    path = metaimage(tmp_path / "ct.mha", VALUES, Offset="5 6 7\r", Comment="a\tb ~")
    assert sitk.ReadImage(str(path)).GetOrigin() == (5, 6, 7)
    assert np.array(read(path).provenance.to_world)[:, 3].tolist() == [5, 6, 7]
    metaimage(path, VALUES, Offset=place.format(*[blank] * 2) + " ")
    with pytest.raises(InputError, match=r"ct\.mha has a line in its header that is no plain text; write it .*\.$"):
        read(path)


@pytest.mark.parametrize(("said", "python"), [
    (b"\xe2\x80\x83ct.raw", b"ct.raw"), (b"ct\xff.raw", b"ct\xef\xbf\xbd.raw"), (b"\xc2\xa0ct.raw", b"ct.raw")])
def test_a_file_of_voxels_whose_name_python_reads_otherwise(tmp_path, said, python):
    """It decodes the name, or strips it, and MetaIO takes its bytes."""
    path = metaimage(tmp_path / "ct.mhd", VALUES)
    (tmp_path / os.fsdecode(python)).write_bytes(VALUES.tobytes())
    (tmp_path / os.fsdecode(said)).write_bytes(FORGED.tobytes())
    path.write_bytes(path.read_bytes().replace(b"= ct.raw", b"= " + said))
    assert np.array_equal(of_itk(path), FORGED)
    with pytest.raises(InputError, match="no plain text"):
        read(path)


def test_what_simpleitk_writes_is_read(tmp_path):
    """Every word of a NIfTI header becomes a line that MetaIO does not know."""
    picture = sitk.ReadImage(str(nifti(tmp_path / "ct.nii", VALUES)))
    picture.SetMetaData("0008|0060", "CT")
    for name, packed in (("a.mha", False), ("b.mha", True), ("c.mhd", False), ("d.mhd", True)):
        sitk.WriteImage(picture, str(tmp_path / name), packed)
        assert b"bitpix = 16\n" in (tmp_path / name).read_bytes()
        judged = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / name)), "LPS"))
        assert np.array_equal(read(tmp_path / name).pixels, judged)
