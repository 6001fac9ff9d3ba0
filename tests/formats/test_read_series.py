"""A CT series is sorted by position, measured by position, and refused in one sentence when it is no even stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from outside import DATA
from pydicom.dataset import Dataset
from stacks import repaint, stack

from scanward.errors import UnsupportedError
from scanward.formats import find, read
from scanward.formats.series import versions


def series(phantom, write, places, **changes) -> Path:
    """One folder with a slice at each place, named so that names and positions disagree; HU = place - 24."""
    for i, z in enumerate(places):
        elements = changes.get(f"slice{i}", {})
        path = write(phantom.ct_slice(z, 1000 + int(z), **elements), f"ct/{(7 * i + 3) % 101:03d}.dcm")
    return path.parent


def test_slices_are_sorted_and_spaced_by_position(phantom, write):
    folder = series(phantom, write, [5.0, -2.5, 0.0, 7.5, 2.5])
    (source,), errors = find([folder])
    assert (source.kind, source.path, errors) == ("series", folder, [])
    image = read(source)
    assert image.pixels[:, 0, 0].tolist() == [-26, -24, -22, -19, -17]
    assert image.spacing == pytest.approx((2.5, 0.7, 0.6))
    assert (image.modality, image.integer, image.name) == ("CT", True, str(folder))
    assert np.array_equal(read(folder).pixels, image.pixels)


def test_slices_on_a_turned_plane_ascend_along_its_normal(phantom, write):
    axes = [0, 1, 0, 0, 0, 1]  # sagittal: the normal is +x
    where = {f"slice{i}": {"ImageOrientationPatient": axes, "ImagePositionPatient": [-z, 3, 4]} for i, z in
             enumerate([0.0, 1.0, 2.0])}  # fmt: skip
    image = read(series(phantom, write, [0.0, 1.0, 2.0], **where))
    assert image.pixels[:, 0, 0].tolist() == [-22, -23, -24]
    assert image.spacing[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("places", "changes", "words"),
    [
        ([0, 1, 2, 4, 5], {}, "gap"),
        ([0, 1, 2, 3.5, 4.5], {}, "uneven"),
        ([0, 1, 1, 2], {"slice2": {"PixelData": bytes(40 * 48 * 2)}},
         r"several slices with other voxels at one position \(\S+, \S+\)"),
        ([0, 1, 1, 1, 2, 2], {}, r"at one position \(\S+, \S+, \S+; \S+, \S+\)"),
        ([0, *[1] * 20], {}, r"at one position \((\S+, ){11}\S+ and 8 more\)"),
        ([0, 1, 2], {"slice1": {"PixelSpacing": [0.8, 0.6]}}, "pixel spacings"),
        ([0, 1, 2], {"slice2": {"Rows": 40, "PixelData": bytes(40 * 40 * 2)}}, "40 x 48 and 40 x 40"),
        ([0, 1, 2], {"slice1": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}}, "orientation"),
        ([0, 1, 2], {f"slice{i}": {"ImagePositionPatient": [0, 0.3 * i, i]} for i in range(3)}, "tilted"),
    ],
)
def test_what_is_no_even_stack_is_refused(phantom, write, places, changes, words):
    folder = series(phantom, write, places, **changes)
    with pytest.raises(UnsupportedError, match=words) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_copies_of_a_slice_are_named_as_such(phantom, write):
    folder = series(phantom, write, [0, 1, 2])
    path = sorted(folder.iterdir())[1]
    (folder / "copy.dcm").write_bytes(path.read_bytes())
    with pytest.raises(UnsupportedError, match=rf"copies of one slice at one position \({path.name}, copy\.dcm\)"):
        read(folder)


def test_a_slice_without_position_is_refused_by_name(phantom, write):
    folder = series(phantom, write, [0, 1, 2], slice1={"ImagePositionPatient": []})
    with pytest.raises(Exception, match=r"010\.dcm does not say where its slice lies"):
        read(folder)


def test_a_series_is_no_mammogram(phantom, write):
    with pytest.raises(UnsupportedError, match="no mammogram"):
        read(series(phantom, write, [0, 1]), modality="MG")


@pytest.mark.data("ct")
@pytest.mark.parametrize(
    ("name", "shape", "step"),
    [
        ("cptac-lscc-C3N-00247", (99, 512, 512), 3.0),
        ("lung-fused-ct-pathology-1", (98, 512, 512), 1.0),
        ("lidc-idri-0001", (16, 512, 512), 2.5),
    ],
)
def test_real_series(name, shape, step):
    (source,), errors = find([DATA / "ct" / name])
    image = read(source)
    assert (image.shape, errors) == (shape, [])
    assert image.spacing[0] == pytest.approx(step)
    # Air and lung, and soft tissue, make the two modes of any chest CT.
    assert np.mean((image.pixels > -1100) & (image.pixels < -700)) > 0.1
    assert np.mean((image.pixels > -150) & (image.pixels < 150)) > 0.1


def test_no_file_is_passed_over_however_often_a_position_is_there(phantom, write):
    """Eight volumes are made of it at most; what is in none of them comes apart."""
    paths = [write(phantom.ct_slice(0.0, 1000 + i, InstanceNumber=i), f"ct/{i:03d}.dcm") for i in range(11)]
    whole, lost = versions([*paths, write(phantom.ct_slice(1.0, 1000), "ct/other.dcm")])
    assert len(whole) == 8
    assert {path for one in whole for path in one} | set(lost) >= set(paths) and len(lost) == 3


def test_slices_that_name_no_modality_are_one_series_by_their_class(phantom, write):
    folder = series(phantom, write, [0, 1, 2, 3], **{f"slice{i}": {"Modality": None} for i in range(4)})
    (source,), errors = find([folder])
    assert (source.kind, len(source.paths), errors) == ("series", 4, [])
    assert read(folder).shape[0] == 4


def test_a_directory_of_any_name_lies_beside_a_series(phantom, write, tmp_path):
    folder = series(phantom, write, [0, 1, 2])
    directory = phantom.dataset(np.zeros((2, 2), np.uint16), **dict.fromkeys((
        "SOPClassUID", "SOPInstanceUID", "Modality", "Rows", "Columns", "PixelData", "SeriesInstanceUID")))
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    path = write(directory, "ct/DIRFILE")
    (source,), errors = find([folder])
    assert (len(source.paths), errors) == (3, [])
    with pytest.raises(UnsupportedError, match=r"DIRFILE is no image, .*Directory.*; name the folder"):
        read(path)


@pytest.mark.parametrize(("elements", "words"), [
    ({"ModalityLUTSequence": [Dataset()]}, "by a table .ModalityLUTSequence."),
    ({"RescaleType": "EDW"}, "RescaleType EDW and no HU"),
])
def test_what_is_not_in_hu_is_refused(phantom, write, elements, words):
    with pytest.raises(UnsupportedError, match=words):
        read(write(phantom.ct_slice(0.0, 1000, **elements)))
    with pytest.raises(UnsupportedError, match=words):
        read(series(phantom, write, [0, 1, 2], slice1=elements))


@pytest.mark.parametrize("kind", ["Houndsfield Unit", "HOUNSFIELD UNITS", "hu ", "US"])
def test_hu_are_known_as_makers_spell_them(phantom, write, kind):
    image = read(write(phantom.ct_slice(0.0, 1000, RescaleType=kind)))
    assert np.array_equal(image.pixels, read(write(phantom.ct_slice(0.0, 1000))).pixels)


def test_parts_of_a_scan_that_overlap_are_named(phantom, write):
    """As a scanner puts several acquisitions into one series."""
    made = {f"slice{i}": {"AcquisitionNumber": 1 + (i > 2), "PixelData": bytes([i]) * 40 * 48 * 2} for i in range(5)}
    with pytest.raises(UnsupportedError, match="they are of acquisitions 1 and 2, so scan each"):
        read(series(phantom, write, [0, 1, 2, 2, 3], **made))


@pytest.mark.parametrize(("elements", "named"), [({}, True), ({"LossyImageCompression": "01"}, False),
                                                 ({"SOPInstanceUID": "1.2.3"}, False)])
def test_two_slices_of_one_uid_and_place_with_other_voxels_are_called_a_change(tmp_path, elements, named):
    paths = stack(tmp_path)
    data = pydicom.dcmread(paths[4])
    repaint(data, data.pixel_array[::-1])
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    data.save_as(tmp_path / "again.dcm")
    with pytest.raises(UnsupportedError, match="several slices with other voxels at one position") as refused:
        read(tmp_path)
    assert ("004.dcm and again.dcm carry one SOP Instance UID, as no two images may: one of the two was changed"
            in str(refused.value)) == named
