"""Volumes and rasters as others read them: the same values and the same geometry, or a refusal."""

import gzip
import io
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  the name its own documentation uses
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from PIL import Image as Pillow
from volume_files import CODES, UPRIGHT, metaimage, nifti

from scanward.errors import InputError
from scanward.formats import Source, read
from scanward.formats.content import read_content

sitk.ProcessObject.SetGlobalWarningDisplay(False)
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001, 7: 1.0}
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def stored(dtype="int16", order="<"):
    """(z, y, x) of this type, no two slices, rows or columns alike."""
    values = np.random.default_rng(0).integers(0, 120, (4, 34, 40)).astype(dtype)
    return values.astype(values.dtype.newbyteorder(order))


def of_nibabel(path, unit=1.0):
    """(z, y, x) HU towards left, back and head, and the (z, y, x) spacing."""
    file = nibabel.load(path)
    turn = ornt_transform(io_orientation(file.affine), axcodes2ornt("LPS"))
    values = apply_orientation(file.get_fdata(), turn).transpose(2, 1, 0)
    sizes = nibabel.affines.voxel_sizes(file.affine) * unit
    return values, tuple(sizes[np.argsort(io_orientation(file.affine)[:, 0])][::-1])


def of_itk(path):
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    return sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]


def same(path, judged):
    image, (values, spacing) = read(path), judged
    assert np.allclose(image.pixels, values.astype(np.float32), rtol=1e-6, atol=0)
    assert image.spacing == pytest.approx(spacing, rel=1e-5)


def turned(axes, signs, sizes):
    """A sform (RAS) of a volume whose axis i goes along the patient's `axes[i]`."""
    made = np.zeros((3, 4))
    for own, (patient, sign) in enumerate(zip(axes, signs, strict=True)):
        made[patient, own] = sign * sizes[own]
    made[:, 3] = 20, 16, -50
    return made


orientations = st.tuples(st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3))
scales = st.one_of(st.sampled_from([(1.0, 0.0), (1.0, -1024.0), (0.1, -1024.0), (0.0, 0.0), (-2.0, 5.5)]), st.tuples(
    st.floats(0.001, 100), st.floats(-5000, 5000)).map(lambda pair: tuple(float(np.float32(v)) for v in pair)))


@quick
@given(st.sampled_from(sorted(CODES)), st.sampled_from("<>"), scales, orientations,
       st.sampled_from(sorted(MILLIMETRES)), st.booleans())
def test_nifti(tmp_path, dtype, order, scale, orientation, unit, zipped):
    path = tmp_path / ("packed.nii.gz" if zipped else "ct.nii")  # of two of one name ITK reads the plain one
    # a unit of a metre would make voxels larger than Scanward believes
    factor = MILLIMETRES[unit]
    sizes = np.array((0.7, 0.6, 0.9)) / factor
    nifti(path, stored(dtype, order), *scale, sform=turned(*orientation, sizes), pixdim=sizes, units=unit,
          zipped=zipped)
    same(path, of_nibabel(path, factor))
    values, spacing = of_itk(path)
    if dtype not in ("int64", "uint64"):  # ITK scales these in whole numbers
        # ITK computes in float32
        assert np.allclose(read(path).pixels, values, rtol=1e-5, atol=1e-5 * max(abs(scale[1]), abs(scale[0]) * 120))
    assert read(path).spacing == pytest.approx(spacing, rel=1e-5)


@quick
@given(st.tuples(*[st.floats(-0.3, 0.3)] * 3), st.sampled_from(["LPS", "RAS", "LAI", "PSR", "IRP"]))
def test_both_forms_of_one_oblique_grid_are_read(tmp_path, turn, towards):
    """As nibabel writes them: near a half turn a quaternion in float32 says a direction to a thousandth."""
    axes = np.eye(4)
    axes[:3, :3] = sitk_matrix(turn) @ nibabel.orientations.inv_ornt_aff(axcodes2ornt(towards), (4, 4, 4))[:3, :3].T
    grid = nibabel.Nifti1Image(stored().transpose(2, 1, 0), axes * [0.7, 0.6, 2.5, 1])
    grid.set_qform(grid.affine, 1)
    grid.set_sform(grid.affine, 1)
    path = tmp_path / "ct.nii"
    path.write_bytes(grid.to_bytes())
    same(path, of_nibabel(path))


def sitk_matrix(turn):
    """(3, 3) of turns about the axes, by SimpleITK."""
    return np.array(sitk.Euler3DTransform((0, 0, 0), *turn).GetMatrix()).reshape(3, 3)


NAN = float("nan")
BOTH, NIBABEL, ITK = (of_nibabel, of_itk), (of_nibabel,), (of_itk,)
SHEARED = UPRIGHT + np.array([[0, 0, 0, 0], [0, 0, 0.6, 0], [0, 0, 0, 0]])
TURNED = float(np.sin((np.pi - 0.3) / 2))
"""The quaternion's d of a turn about z by 0.3 rad less than that of `UPRIGHT`."""
FLIPPED = UPRIGHT * [[-1], [1], [1]]
NIFTI = {
    "qform": ({"codes": (1, 0)}, BOTH),
    "qform and sform": ({"codes": (1, 1)}, BOTH),
    "qfac 0": ({"codes": (1, 0), "qfac": 0}, BOTH),
    "qfac -1": ({"codes": (1, 0), "qfac": -1}, BOTH),
    "qfac 5": ({"codes": (1, 0), "qfac": 5}, ()),
    "a negative pixdim": ({"codes": (1, 0), "pixdim": (-0.7, 0.6, 2.5)}, ()),  # ITK mirrors it
    "a negative pixdim beside a sform": ({"pixdim": (-0.7, 0.6, 2.5)}, ()),
    "a negative pixdim beside both forms": ({"codes": (1, 1), "pixdim": (0.7, 0.6, -2.5)}, ()),
    "a negative pixdim and neither form": ({"codes": (0, 0), "pixdim": (0.7, -0.6, 2.5)}, ()),
    "no pixdim": ({"codes": (1, 0), "pixdim": (0, 0.6, 2.5)}, BOTH),
    "no pixdim beside a sform": ({"pixdim": (0.7, 0.6, 0)}, ()),  # ITK takes 1 mm
    "no pixdim beside a sform of 1 mm": ({"pixdim": (0.7, 0.6, 0), "sform": UPRIGHT * [[1], [1], [0.4]]}, BOTH),
    "no pixdim beside both forms": ({"codes": (1, 1), "pixdim": (0.7, 0.6, 0)}, ()),
    "pixdim NaN": ({"codes": (1, 0), "pixdim": (0.7, 0.6, NAN)}, ()),
    "pixdim NaN beside a sform": ({"pixdim": (0.7, NAN, 2.5)}, ()),
    "pixdim infinite": ({"codes": (0, 0), "pixdim": (0.7, 0.6, float("inf"))}, ()),
    "neither": ({"codes": (0, 0)}, NIBABEL),  # ITK turns it about x
    "unit 7": ({"units": 7}, BOTH),
    "time units": ({"units": 2 + 8}, BOTH),
    "fourth axis of one": ({"dims": (1,)}, ITK),
    "fifth axis of one": ({"dims": (1, 1)}, ITK),
    "fourth axis": ({"dims": (2,)}, ()),
    "two axes too few": ({"dims": (0,)}, ()),
    "slope NaN": ({"slope": NAN, "inter": NAN}, BOTH),
    "slope 0 and an intercept": ({"slope": 0, "inter": -1024}, ()),  # nibabel leaves it out, ITK adds it
    "slope NaN and an intercept": ({"slope": NAN, "inter": -1024}, ()),
    "intercept NaN": ({"slope": 2, "inter": NAN}, ()),
    "slope infinite": ({"slope": float("inf"), "inter": 5}, ()),
    "sheared": ({"sform": SHEARED}, ()),
    "sheared, with a qform": ({"sform": SHEARED, "codes": (1, 1)}, ()),
    "sform of another handedness than the qform": ({"sform": FLIPPED, "codes": (1, 1)}, ()),
    "sform of another size than pixdim": ({"pixdim": (7, 0.6, 2.5)}, ()),
    "sform elsewhere than the qform": ({"origin": (29, 16, -50), "codes": (1, 1)}, ()),
    "sform elsewhere than the qform, which ITK prefers": ({"origin": (20, 16, -51), "codes": (1, 2)}, ()),
    "sform a thousandth of a voxel from the qform": ({"origin": (20.0006, 16, -50), "codes": (1, 1)}, BOTH),
    "qform at NaN": ({"origin": (NAN, 16, -50), "codes": (1, 0)}, ()),
    "sform at NaN": ({"sform": UPRIGHT + np.array([[0, 0, 0, NAN], [0] * 4, [0] * 4])}, ()),
    "qform turned by 0.3 rad": ({"quatern": (0, 0, TURNED), "codes": (1, 1)}, ()),
    "qform turned by 0.3 rad, which ITK prefers": ({"quatern": (0, 0, TURNED), "codes": (1, 2)}, ()),
    "sform wider than pixdim by 1 in 300": ({"pixdim": (0.7, 0.602, 2.5)}, ()),
    "sform wider than pixdim by 1 in 2000": ({"pixdim": (0.70035, 0.6003, 2.5)}, ()),  # ITK takes pixdim
    "sform wider than pixdim by 1 in 200,000": ({"pixdim": (0.7000035, 0.6, 2.5)}, BOTH),
    "codes 5": ({"codes": (5, 5)}, BOTH),
    "a sform code that is none": ({"codes": (0, 6)}, ()),  # nibabel takes it for 0
    "a sform code that is none beside a qform": ({"codes": (1, 1007)}, ()),
    "two codes that are none": ({"codes": (16, 16)}, ()),
    "a qform code below 0": ({"codes": (-1, 1)}, ()),
    "a qform that is none": ({"codes": (1, 0), "quatern": (2, 0, 0)}, ()),
    "a qform that is none beside a sform": ({"codes": (1, 1), "quatern": (2, 0, 0)}, ()),
    "a sform of nothing": ({"sform": UPRIGHT * 0}, ()),
}


@pytest.mark.parametrize("case", NIFTI)
def test_nifti_headers(tmp_path, case):
    options, judges = NIFTI[case]
    path = nifti(tmp_path / "ct.nii", stored(), **options)
    if not judges:
        with pytest.raises(InputError, match=r"ct\.nii (has|says|is sheared)"):
            read(path)
    for judge in judges:
        if judge is of_itk and "dims" in options:
            assert np.array_equal(read(path).pixels, sitk.GetArrayFromImage(sitk.ReadImage(str(path))).squeeze())
        else:
            same(path, judge(path))


@quick
@given(st.sampled_from(sorted(CODES)), st.sampled_from("<>"), orientations, st.sampled_from([None, zlib, gzip]),
       st.booleans())
def test_metaimage(tmp_path, dtype, order, orientation, packed, beside):
    values = stored(dtype, order)
    steps = turned(*orientation, (1, 1, 1))[:, :3] * [[-1], [-1], [1]]
    data = packed.compress(values.tobytes()) if packed else values.tobytes()
    more = {"CompressedData": True, "CompressedDataSize": len(data)} if packed else {}
    path = metaimage(tmp_path / f"ct.{'mhd' if beside else 'mha'}", values, data, Offset="1 2 3",
                     TransformMatrix=" ".join(map(str, steps.T.ravel())), **more)
    same(path, of_itk(path))


TEN = "0.98480775 0.17364818 0 -0.17364818 0.98480775 0 0 0 1"
SIZED = {"ElementSpacing": None}
META = {
    "BinaryData absent": ({"BinaryData": None}, True),
    "BinaryData 1": ({"BinaryData": 1}, True),
    "BinaryData T": ({"BinaryData": "T"}, True),
    "BinaryData yes": ({"BinaryData": "yes"}, False),
    "text": ({"BinaryData": False}, False),
    "ElementByteOrderMSB": ({"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "False"}, True),
    "two byte orders": ({"BinaryDataByteOrderMSB": False, "ElementByteOrderMSB": True}, False),
    "ElementSize": (dict(**SIZED, ElementSize="0.7 0.6 2.5"), True),
    "ElementSize beside ElementSpacing": ({"ElementSize": "9 9 9"}, True),
    "neither": (SIZED, True),
    "a colon": ({**SIZED, "ElementSpacing: 3 3 3\nFoo": 1}, True),
    "negative spacing": ({"ElementSpacing": "-0.7 0.6 2.5"}, True),
    "decimal commas": ({"ElementSpacing": "0,7 0,6 2,5"}, False),
    "too few numbers": ({"ElementSpacing": "0.7"}, False),
    "no size": ({"ElementSpacing": "0 1 1"}, False),
    "a spacing without a sign": ({**SIZED, "ElementSpacing 3 3 3\nFoo": 1}, False),
    "an empty line": ({"ElementSpacing": "3 3 3\n"}, True),
    "two spacings": ({"ElementSpacing": "1 1 1\nElementSpacing = 2 2 2"}, False),
    "DimSize of parts": ({"DimSize": "40.5 34 4"}, False),
    "Orientation": ({"Orientation": TEN, "Position": "1 2 3"}, True),
    "Rotation": ({"Rotation": TEN, "Origin": "1 2 3"}, True),
    "two directions": ({"Rotation": TEN, "TransformMatrix": "1 0 0 0 1 0 0 0 1"}, False),
    "two places": ({"Offset": "1 2 3", "Position": "1 2 4"}, False),
    "directions that are longer": ({"TransformMatrix": "2 0 0 0 2 0 0 0 2"}, False),
    "sheared": ({"TransformMatrix": "1 0 0 0 1 0 0 0.24 0.97"}, False),
    "CenterOfRotation": ({"TransformMatrix": TEN, "CenterOfRotation": "9 9 9"}, True),
    "AnatomicalOrientation": ({"AnatomicalOrientation": "RAI"}, True),
    "to be scaled": ({"ElementToIntensityFunctionSlope": 2}, False),
    "to be moved": ({"ElementToIntensityFunctionOffset": -1024}, False),
    "scaled by 1": ({"ElementToIntensityFunctionSlope": 1, "ElementToIntensityFunctionOffset": 0}, True),
    "MR": ({"Modality": "MET_MOD_MR"}, False),
    "CT": ({"Modality": "MET_MOD_CT"}, True),
    "a tube": ({"ObjectType": "Tube"}, False),
    "no ObjectType": ({"ObjectType": None}, True),
    "centimetres": ({"DistanceUnits": "cm"}, False),
    "millimetres": ({"DistanceUnits": "mm"}, True),
    "two channels": ({"ElementNumberOfChannels": 2}, False),
    "one channel": ({"ElementNumberOfChannels": 1}, True),
    "four axes": ({"NDims": 4}, False),
    "a list": ({"ElementDataFile": "LIST 2D"}, False),
    "a missing file": ({"ElementDataFile": "other.raw"}, False),
    "HeaderSize": ({"HeaderSize": 16}, True),
    "HeaderSize -1": ({"HeaderSize": -1}, True),
    "HeaderSize -2": ({"HeaderSize": -2}, False),
    "HeaderSize in words": ({"HeaderSize": "none"}, False),
    "ElementMin": ({"ElementMin": 0, "ElementMax": 1, "Name": "x", "Color": "1 1 1 1"}, True),
}


@pytest.mark.parametrize("case", META)
def test_metaimage_headers(tmp_path, case):
    fields, is_read = META[case]
    before = b"x" * 16 if "HeaderSize" in fields else b""
    path = metaimage(tmp_path / "ct.mhd", stored(), before + stored().tobytes(), **fields)
    if is_read:
        same(path, of_itk(path))
    else:
        with pytest.raises(InputError, match=r"/ct\.(mhd|raw) "):
            read(path)


@pytest.mark.parametrize("fields, head, is_read", [
    ({"HeaderSize": -1}, b"x" * 9, True), ({"HeaderSize": 0}, b"", True), ({"HeaderSize": 9}, b"x" * 9, False)])
def test_metaimage_in_one_file_with_a_header_of_its_own(tmp_path, fields, head, is_read):
    path = metaimage(tmp_path / "ct.mha", stored(), head + stored().tobytes(), **fields)
    if is_read:
        same(path, of_itk(path))
    else:
        with pytest.raises(InputError, match="HeaderSize of 9"):
            read(path)


@pytest.mark.parametrize("name, dtype", [("MET_LONG", "int32"), ("MET_ULONG", "uint32")])
def test_met_long_has_32_bits(tmp_path, name, dtype):
    path = metaimage(tmp_path / "ct.mhd", stored(dtype), ElementType=name)
    same(path, of_itk(path))
    metaimage(path, stored(dtype), stored("int64").tobytes(), ElementType=name)
    with pytest.raises(InputError, match=r"ct\.raw holds 43,520 bytes of voxels where its header asks for 21,760"):
        read(path)


def test_what_a_file_is_says_its_content(tmp_path):
    plain = nifti(tmp_path / "ct.nii", stored()).read_bytes()
    half = gzip.compress(plain[:200]) + gzip.compress(plain[200:9000]) + gzip.compress(plain[9000:])
    meta = metaimage(tmp_path / "ct.mha", stored()).read_bytes()
    for name, data in (("plain.nii.gz", plain), ("zipped.nii", gzip.compress(plain)), ("0a1b2c", gzip.compress(plain)),
                       ("members.nii.gz", half), ("several", half), ("meta", meta), ("meta.nii", meta)):
        (tmp_path / name).write_bytes(data)
        same(tmp_path / name, of_itk(tmp_path / ("ct.mha" if "meta" in name else "ct.nii")))
    (tmp_path / "meta.mha.gz").write_bytes(gzip.compress(meta))
    with pytest.raises(InputError, match="gzip file without a NIfTI volume, which has to be unpacked"):
        read(tmp_path / "meta.mha.gz")


def test_a_volume_beside_one_that_itk_shows_in_its_place_is_not_sealed(tmp_path):
    """Asked for `ct.nii.gz`, it takes the voxels of `ct.nii`."""
    values, other = stored(), tmp_path / "ct.nii"
    path, alone = nifti(tmp_path / "ct.nii.gz", values, zipped=True), nifti(tmp_path / "other.nii", values)
    same(path, of_itk(path))
    nifti(other, values[:, ::-1])
    assert np.array_equal(of_itk(path)[0], of_itk(other)[0])
    assert read(path).shape == values.shape
    with pytest.raises(InputError, match=r"ct\.nii\.gz lies beside ct\.nii, .*; keep one of the two"):
        read_content(Source((path,), "file"))
    same(other, of_itk(other))
    nifti(tmp_path / "other.nii.gz", values[:, ::-1], zipped=True)
    same(alone, of_itk(alone))


RASTERS = ("uint8", "uint16", "uint32", "int16", "int32", "float32", "float64")


@quick
@given(st.sampled_from(RASTERS), st.sampled_from("<>"), st.sampled_from([None, "zlib"]), st.booleans(),
       st.sampled_from([None, 1, 7]), st.booleans())
def test_tiff(tmp_path, dtype, order, compression, white, rows, tiled):
    values, path = stored(dtype)[0], tmp_path / "film.tif"
    tifffile.imwrite(path, values, byteorder=order, compression=compression, rowsperstrip=None if tiled else rows,
                     tile=(16, 16) if tiled else None, photometric="miniswhite" if white else "minisblack")
    judged = tifffile.imread(path)
    assert np.array_equal(judged, values)
    if (white and dtype[0] != "u") or (white and dtype == "uint32"):
        with pytest.raises(InputError, match=r"film\.tif (stores white|holds values)"):
            read(path)
    else:
        assert np.array_equal(read(path).plane, np.iinfo(dtype).max - judged if white else judged)


@pytest.mark.parametrize("dtype, predictor, photometric", [
    ("uint8", 1, 0), ("uint8", 2, 0), ("uint8", 1, 1), ("uint8", 2, 1), ("uint16", 1, 1), ("uint16", 2, 1),
    ("int32", 1, 1), ("int32", 2, 1), ("float32", 1, 1)])
def test_tiff_of_lzw(tmp_path, dtype, predictor, photometric):
    values, path = stored(dtype)[0], tmp_path / "film.tif"
    info = {317: predictor, 262: photometric}
    Pillow.fromarray(values).save(path, compression="tiff_lzw", tiffinfo=info)
    with Pillow.open(path) as picture:
        judged = np.asarray(picture)  # larger is brighter, whatever the file says
    assert np.array_equal(read(path).plane, judged)


def test_tiff_of_several_pages_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "film.tif", np.stack([stored("uint16")[0]] * 2), photometric="minisblack")
    with pytest.raises(InputError, match="holds further pages"):
        read(tmp_path / "film.tif")


@pytest.mark.parametrize("further", ["a second picture", "a smaller one", "layers"])
def test_a_tiff_with_pictures_beside_its_page_is_refused(tmp_path, further):
    """Some programs open SubIFDs or layers in place of the page."""
    path, page = tmp_path / "x.tiff", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    with tifffile.TiffWriter(path) as file:
        if further == "layers":
            file.write(page, extratags=[(37724, 7, 40, b"Adobe Photoshop Document Data Block\0MIB8", True)])
        else:
            file.write(page, subifds=1)
            file.write(page[::-1] if further == "a second picture" else page[::2, ::2], subfiletype=1)
    with pytest.raises(InputError, match="further pictures or layers"):
        read(path)



@pytest.mark.parametrize("mode", ["L", "I;16", "LA", "RGB", "RGBA", "P"])
def test_png(tmp_path, mode):
    grey = Pillow.fromarray(stored("uint16" if mode == "I;16" else "uint8")[0])
    picture = grey if mode == "I;16" else grey.convert(mode)
    if mode == "P":
        picture.putpalette(bytes(255 - v for v in range(256) for _ in "rgb"))
    picture.save(tmp_path / "film.png")
    with Pillow.open(tmp_path / "film.png") as again:
        judged = np.asarray(again if mode == "I;16" else again.convert("L"))
    assert np.array_equal(read(tmp_path / "film.png").plane, judged)


@pytest.mark.parametrize("dtype", [*CODES, "float16"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("shape", ["(z, y, x)", "(y, x)", "(y, x, 1)", "columns first"])
def test_npy(tmp_path, dtype, order, shape):
    values = stored(dtype, order)
    values = {"(z, y, x)": values, "(y, x)": values[0], "(y, x, 1)": values[0][..., None],
              "columns first": np.asfortranarray(values)}[shape]
    np.save(tmp_path / "it.npy", values)
    judged = np.load(tmp_path / "it.npy")
    assert np.array_equal(read(tmp_path / "it.npy").pixels.ravel(), judged.ravel())
    assert read(tmp_path / "it.npy").modality == ("CT" if values.ndim == 3 and values.shape[2] > 1 else "MG")


@pytest.mark.parametrize("largest", [120, 255, 1000, 65535])
@pytest.mark.parametrize("plain", [True, False])
def test_pgm(tmp_path, largest, plain):
    values, body = stored("uint16")[0], io.BytesIO()
    if plain:
        np.savetxt(body, values, "%d")
    else:
        body.write(values.astype(">u2" if largest > 255 else "u1").tobytes())
    (tmp_path / "film.pgm").write_bytes(f"P{2 if plain else 5}\n40 34\n{largest}\n".encode() + body.getvalue())
    assert np.array_equal(read(tmp_path / "film.pgm").plane, values)
