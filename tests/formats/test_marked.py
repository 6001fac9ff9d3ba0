"""What is forged is known for it in every format, by the file itself where it has room, and by the mark beside it."""

import json

import cv2
import nibabel
import numpy as np
import pytest
import tifffile

import scanward
from scanward.formats import read
from scanward.formats.marked import forged_in
from scanward.formats.sources import Source
from scanward.formats.write import companion_of, write_altered
from scanward.formats.write_volume import write_altered_volume

FILM = np.random.default_rng(0).integers(0, 4096, (64, 48)).astype(np.uint16)
CHEST = np.random.default_rng(0).integers(-1000, 200, (12, 40, 48)).astype(np.int16)


def pgm(path):
    path.write_bytes(b"P5\n48 64\n4095\n" + FILM.astype(">u2").tobytes())


def meta(path):
    head = "ObjectType = Image\nNDims = 3\nDimSize = 48 40 12\nElementSpacing = 1 1 2\nElementType = MET_SHORT\n"
    path.write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + CHEST.tobytes())


def nifti(path):
    nibabel.Nifti1Image(CHEST.transpose(2, 1, 0), np.diag([1, 1, 2, 1])).to_filename(path)


WRITERS = {"png": lambda path: cv2.imwrite(str(path), FILM), "tif": lambda path: tifffile.imwrite(path, FILM),
           "pgm": pgm, "npy": lambda path: np.save(path, FILM), "mha": meta, "nii": nifti, "nii.gz": nifti}


def copy_of(path, folder, synthetic=True, description="Forgery: a test."):
    image = read(path)
    if image.modality == "MG":
        return write_altered(image, folder / f"copy{path.suffix}", description=description, synthetic=synthetic)
    return write_altered_volume(image, image, path, folder, description=description, synthetic=synthetic)


@pytest.fixture(params=WRITERS)
def forged(request, tmp_path):
    host = tmp_path / f"host.{request.param}"
    WRITERS[request.param](host)
    assert not read(host).provenance.synthetic
    return copy_of(host, tmp_path)


def test_it_is_read_as_synthetic_and_without_the_mark_beside_it_the_file_itself_says_so(forged):
    room = forged.suffix != ".npy"
    assert read(forged).provenance.synthetic and forged_in(Source((forged,), "file")) == room
    companion_of(forged).unlink()
    assert read(forged).provenance.synthetic == room


def test_what_is_made_of_it_stays_marked(forged, tmp_path):
    again = copy_of(forged, tmp_path / "again", synthetic=False, description="By mits-gan.")
    assert json.loads(companion_of(again).read_text())["synthetic"] and read(again).provenance.synthetic


@pytest.mark.parametrize("text", ["", "[" * 9000, "[1]", '{"synthetic": true}', '{"scanward": "1", "synthetic": "no"}'])
def test_what_lies_there_and_is_no_mark_is_none(text, tmp_path):
    np.save(tmp_path / "a.npy", FILM)
    companion_of(tmp_path / "a.npy").write_text(text)
    assert not read(tmp_path / "a.npy").provenance.synthetic


def test_a_scan_says_it_of_npy_that_has_no_room_for_it(tmp_path, run, bright):
    np.save(tmp_path / "host.npy", FILM)
    path = copy_of(tmp_path / "host.npy", tmp_path)
    assert "It is marked as synthetic data." in run("scan", path)[1]
    assert json.loads(run("scan", path, "--json")[1])["synthetic"] is True
    assert scanward.load(path).provenance.synthetic
    run("scan", path, "-o", tmp_path / "out")
    assert "It is marked as synthetic data." in (tmp_path / "out" / "report.html").read_text()
    assert "synthetic" not in run("scan", tmp_path / "host.npy")[1]
