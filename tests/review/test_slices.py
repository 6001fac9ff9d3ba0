"""The slices of a CT as the viewer asks for them, and how they lie in the patient."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import os
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import web_studies
from web_people import client, sign_in

from scanward.box import Box
from scanward.errors import UnreadableError
from scanward.image import Provenance
from scanward.report.slices import layout, pack, packed_slice, unpacked
from scanward.web.volumes import Plane, planes_of

NAME = "0000000000000001"


@pytest.fixture
def chest():
    return web_studies.chest()


@pytest.fixture
def key(inbox, chest):
    return web_studies.put(inbox.root, "CT", images=((chest, "tampered", (Box(8, 26, 14, 16, 38, 26),)),))


def test_a_slice_is_int16_hu(inbox, chest, key):
    http = client(inbox)
    for z in (0, 11, 23):
        answer = http.get(f"/pictures/{key}/{NAME}/volume/{z}")
        assert answer.headers["x-shape"] == "64,64"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-encoding"] == "gzip"
        assert np.array_equal(np.frombuffer(answer.content, "<i2").reshape(64, 64), np.rint(chest.pixels[z]))


def test_who_unpacks_nothing_gets_it_unpacked(inbox, chest, key):
    answer = client(inbox).get(f"/pictures/{key}/{NAME}/volume/3", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in answer.headers
    assert answer.content == np.rint(chest.pixels[3]).astype("<i2").tobytes()


@pytest.mark.parametrize("path", [
    "{key}/{name}/volume/24", "{key}/{name}/volume/-1", "{key}/{name}/volume/99999999999999999999999",
    "{key}/{other}/volume/0", "{other}/{name}/volume/0", "{key}/../volume/0", "{key}/{name}/volume/0/"])
def test_there_is_no_such_slice(inbox, key, path):
    answer = client(inbox).get("/pictures/" + path.format(key=key, name=NAME, other="0" * 16))
    assert answer.status_code == 404


def test_a_slice_is_no_number(inbox, key):
    assert client(inbox).get(f"/pictures/{key}/{NAME}/volume/one").status_code in (404, 422)


def test_nobody_gets_a_slice_without_signing_in(inbox, users, key):
    http = client(inbox, users)
    assert http.get(f"/pictures/{key}/{NAME}/volume/0").status_code == 401
    sign_in(http)
    assert http.get(f"/pictures/{key}/{NAME}/volume/0").status_code == 200


def test_a_volume_of_an_earlier_version_is_an_overview(inbox, key):
    folder = inbox.root / "done" / key / "pictures" / NAME
    path = folder / "volume.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())))
    http = client(inbox)
    assert http.get(f"/pictures/{key}/{NAME}/volume/0").status_code == 404
    page = http.get(f"/studies/{key}").text
    assert 'class="still"' in page and "<canvas" not in page
    with pytest.raises(UnreadableError, match="not packed slice by slice; scan the study again"):
        layout(path)
    path.write_bytes(b"")
    assert http.get(f"/studies/{key}").status_code == 200


def test_it_is_one_file_for_other_programs(tmp_path):
    values = np.random.default_rng(0).integers(-1024, 3000, (5, 4, 3)).astype(np.int16)
    affine = np.array([[-.7, 0, 0, 10], [0, -.8, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    paths = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    for path in paths:
        pack(values, affine, path, known=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    read = nibabel.load(paths[0])
    assert np.array_equal(np.asarray(read.dataobj).transpose(2, 1, 0), values)
    assert np.allclose(read.affine, affine)
    found = layout(paths[0])
    assert (found.shape, found.known) == ((5, 4, 3), True)
    assert np.allclose(found.affine, affine)
    slices = [gzip.decompress(b"".join(packed_slice(paths[0], z)[1])) for z in range(5)]
    assert [np.frombuffer(one, "<i2").tolist() for one in slices] == [plane.ravel().tolist() for plane in values]
    with pytest.raises(IndexError):
        packed_slice(paths[0], 5)


def shown(values: np.ndarray, plane: Plane, at: tuple[int, int, int]) -> np.ndarray:
    """A plane as it is drawn, of (z, y, x) values, through the voxel `at` (x, y, z)."""
    volume = np.take(values.transpose(2, 1, 0), [at[plane.through]], plane.through)
    made = np.moveaxis(volume, (plane.down, plane.across, plane.through), (0, 1, 2))[..., 0]
    return made[::-1 if plane.turned[1] else 1, ::-1 if plane.turned[0] else 1]


@pytest.mark.parametrize(("order", "signs"), list(itertools.product(
    itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3))))
def test_however_it_was_scanned_heads_are_up(tmp_path, order, signs):
    """A point on the patient's left, at the back, near the head is at the right or lower or upper end it belongs to."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (to, sign) in enumerate(zip(order, signs, strict=True)):
        affine[to, axis] = sign * (axis + 1)  # voxel axis to the patient's right, front or head
    values = np.zeros((6, 6, 6), np.int16)
    want = {0: -1, 1: -1, 2: 1}  # left, back, head
    at = tuple(5 if want[to] * sign > 0 else 0 for to, sign in zip(order, signs, strict=True))
    values[at[2], at[1], at[0]] = 7
    pack(values, affine, tmp_path / "v.nii.gz", known=True)
    axial, coronal, sagittal = planes_of(layout(tmp_path / "v.nii.gz"))
    for plane, corner in ((axial, (-1, -1)), (coronal, (0, -1)), (sagittal, (0, -1))):
        assert shown(values, plane, at)[corner] == 7, plane.name
    assert axial.edges == ("R", "L", "A", "P") and coronal.edges == ("R", "L", "H", "F")
    assert sagittal.edges == ("A", "P", "H", "F")


def test_sides_are_named_only_where_the_file_knows_them(inbox, chest):
    known = dataclasses.replace(chest, provenance=Provenance(
        to_world=((0.8, 0.0, 0.0, 0.0), (0.0, 0.8, 0.0, 0.0), (0.0, 0.0, 2.5, 0.0))))
    for name, image, letters in (("A", chest, 0), ("B", known, 4)):
        key = web_studies.put(inbox.root, name, images=((image, "authentic", ()),))
        found = layout(inbox.root / "done" / key / "pictures" / NAME / "volume.nii.gz")
        assert {len(plane.edges) for plane in planes_of(found)} == {letters}
        assert [plane.turned for plane in planes_of(found)] == [(False, False), (False, True), (False, True)]


def _emptied(packed, number):
    """With a member whose header says that it is no byte long."""
    data, start = bytearray(packed), 0
    for _ in range(number):
        start += int.from_bytes(data[start + 16:start + 20], "little")
    data[start + 16:start + 20] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("harm", [
    lambda packed: packed[:60], lambda packed: packed[:40] + bytes(8) + packed[48:], lambda packed: b"",
    lambda packed: _emptied(packed, 0), lambda packed: _emptied(packed, 1)],
    ids=["cut in its head", "other bytes in its head", "empty", "a head without length", "a slice without length"])
def test_of_a_damaged_volume_the_page_stays_and_slices_are_not_there(inbox, key, harm):
    http = client(inbox)
    path = inbox.root / "done" / key / "pictures" / NAME / "volume.nii.gz"
    path.write_bytes(harm(path.read_bytes()))
    assert http.get(f"/studies/{key}").status_code == 200
    assert http.get(f"/pictures/{key}/{NAME}/volume/{10**15}").status_code == 404


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_a_slice_that_is_cut_short_is_not_there(inbox, key, coding):
    path = inbox.root / "done" / key / "pictures" / NAME / "volume.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    asked = client(inbox).get(f"/pictures/{key}/{NAME}/volume/23", headers={"Accept-Encoding": coding})
    assert asked.status_code == 404


def test_a_damaged_slice_is_never_whole(tmp_path):
    path = tmp_path / "v.nii.gz"
    pack(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4), path, known=True)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))  # the checksum
    with pytest.raises(UnreadableError, match=r"v\.nii\.gz is damaged"):
        list(unpacked(packed_slice(path, 4)[1], path))


@pytest.mark.parametrize("how", [lambda parts, path: parts, unpacked], ids=["packed", "unpacked"])
def test_a_large_slice_is_never_in_memory_whole(tmp_path, how):
    values = np.random.default_rng(0).integers(-1000, 1000, (2, 4000, 4000), np.int16)
    pack(values, np.eye(4), tmp_path / "v.nii.gz", known=True)
    tracemalloc.start()
    try:
        _, parts = packed_slice(tmp_path / "v.nii.gz", 1)
        assert sum(map(len, how(parts, tmp_path / "v.nii.gz"))) > 20_000_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_what_a_link_leads_to_and_a_pipe_are_no_volume(inbox, key, tmp_path):
    http = client(inbox)
    path = inbox.root / "done" / key / "pictures" / NAME / "volume.nii.gz"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert http.get(f"/pictures/{key}/{NAME}/volume/0").status_code == 404
    path.unlink()
    os.mkfifo(path)
    assert http.get(f"/pictures/{key}/{NAME}/volume/0").status_code == 404
    assert http.get(f"/studies/{key}").status_code == 200


def test_an_answer_that_nobody_waits_for_leaves_no_file_open(tmp_path):
    path = tmp_path / "v.nii.gz"
    pack(np.zeros((2, 4, 4), np.int16), np.eye(4), path, known=False)
    length, parts = packed_slice(path, 1)
    assert not any(os.path.samefile(one, path) for one in Path("/proc/self/fd").iterdir() if one.exists())
    assert len(b"".join(parts)) == length
