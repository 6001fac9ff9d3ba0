"""The chest phantom: anatomy where a chest has it, noise as its scanner makes it, and what detectors say of it."""

import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from scanward import formats
from scanward.anatomy.lung import lungs_of
from scanward.attacks.projection.beam import Beam
from scanward.attacks.projection.scanner import scanner_of
from scanward.datasets.phantom import chest_phantom
from scanward.datasets.phantom.scanner import Protocol, scanned
from scanward.datasets.phantom.tree import Tree, drawn, grown
from scanward.errors import ArgumentError
from scanward.formats.made_series import write_made_series
from scanward.image import Image

SMALL = Protocol(shape=(16, 160, 160), spacing=(10.0, 2.0, 2.0))


@pytest.fixture(scope="module")
def phantom():
    return chest_phantom()


def test_a_seed_makes_one_chest_and_another_seed_another():
    first, again, other = (chest_phantom(seed, SMALL).pixels for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_organs_lie_where_a_chest_has_them(phantom):
    pixels, (_, high, wide) = phantom.pixels, phantom.shape
    lungs = lungs_of(phantom)
    assert 2 < lungs.mask.sum() * np.prod(lungs.spacing) / 1e6 < 6  # litres
    assert -890 < np.median(pixels[36][(pixels[36] < -500) & (pixels[36] > -960)]) < -820
    heart = np.argwhere(np.abs(pixels[20, high // 4:high // 2] - 42) < 60)
    assert heart[:, 1].mean() > wide / 2 + 5  # the patient's left is the image's right
    right, left = (np.argmax(pixels[:, 162, column] < -600) for column in (76, 212))
    assert right > left + 2  # the liver lifts the right diaphragm
    assert np.median(pixels[60, 150:160, 140:148]) < -900  # the trachea
    assert np.median(pixels[:, :10]) == pytest.approx(-1000, abs=3)
    assert (pixels > 400).any((1, 2)).all()  # bone in every slice


def test_the_scanner_can_be_read_out_of_the_noise_that_it_made():
    protocol = Protocol(shape=(24, 144, 144))
    lung = np.full((48, 144, 144), -850.0, np.float32)
    found = scanner_of(Image(scanned(lung, protocol, np.random.default_rng(0)), "CT", protocol.spacing), (12, 72, 72))
    assert found.kernel(np.array([protocol.kernel.cutoff]))[0] == pytest.approx(0.5, abs=0.12)
    assert found.thickness == pytest.approx(protocol.thickness, rel=0.2)
    assert found.noise == pytest.approx(protocol.noise, rel=0.2)


def test_noise_is_loud_where_rays_were_absorbed_and_lies_along_them():
    protocol = Protocol(shape=(24, 128, 128), spacing=(2.5, 2.0, 2.0))
    tissue = np.full((48, 128, 128), -1000.0, np.float32)
    tissue[:, 52:76, 8:120] = 0  # a slab of water, wide and thin
    loud, calm = (scanned(tissue, replace(protocol, noise=noise), np.random.default_rng(0)) for noise in (24.0, 0.0))
    noise = loud - calm
    inside, outside = noise[:, 58:70, 50:78], noise[:, 4:20, 50:78]
    assert inside.std() > 1.4 * outside.std()
    # the rays along the slab are the noisy ones, and their noise runs along it
    along, across = (np.diff(inside, axis=axis).std() for axis in (2, 1))
    assert along < 0.8 * across


def test_the_noise_is_that_of_a_reconstruction():
    """Against projections of white noise, reconstructed by the beam that attacks use."""
    beam, kernel = Beam(65, 1.0), Protocol().kernel
    rng = np.random.default_rng(3)
    planes = beam.reconstruct(rng.standard_normal((len(beam.angles), beam.cells, 12)), kernel)
    middle = planes[:, 16:-16, 16:-16]
    air = np.full((24, 64, 64), -1000.0, np.float32)
    protocol = Protocol(shape=(12, 64, 64), spacing=(2.5, 1.0, 1.0), kernel=kernel, finer=2, thickness=0.01)
    ours = scanned(air + 1000, replace(protocol, noise=200.0), rng)[:, 16:-16, 16:-16]
    for step in (1, 2, 3, 4):
        correlations = [np.mean(part[:, :, step:] * part[:, :, :-step]) / np.mean(part * part)
                        for part in (middle, ours - ours.mean())]
        assert correlations[0] == pytest.approx(correlations[1], abs=0.06)


def test_a_tree_reaches_every_point_of_its_field_and_thins_on_the_way():
    rng = np.random.default_rng(0)
    field = rng.uniform(-30, 30, (64, 3))
    tree = grown((0.0, 0.0, -40.0), field, 0.4, 3.0, rng)
    assert {tuple(end) for end in np.round(tree.end, 6)} >= {tuple(point) for point in np.round(field, 6)}
    assert tree.radius[0] == pytest.approx(0.4 * 64 ** (1 / 3)) and tree.radius.min() == 0.4
    starts, ends = ({tuple(one) for one in np.round(side, 6)} for side in (tree.start[1:], tree.end))
    assert starts <= ends  # it hangs together


def test_a_segment_fills_its_cylinder():
    axis = np.arange(-10, 11) * 1.0
    tree = Tree(np.array([[-20.0, 0, 0]]), np.array([[20.0, 0, 0]]), np.array([4.0]))
    share = drawn(tree, (axis, axis, axis), 1.0)
    assert share.sum((1, 2)) == pytest.approx(np.pi * 16, rel=0.03)
    thin = drawn(replace(tree, radius=np.array([0.25])), (axis, axis, axis), 1.0)
    assert 0.1 < thin[10].max() < 0.3  # thinner than a voxel: fainter


def test_a_series_of_it_is_valid_says_that_it_is_synthetic_and_reads_as_it_was(tmp_path):
    image = chest_phantom(1, SMALL)
    folder = write_made_series(image, tmp_path / "chest", description="Synthesised chest phantom, no patient")
    back = formats.read(formats.one_source(folder))
    assert np.array_equal(back.pixels, image.pixels) and back.spacing == image.spacing
    assert back.provenance.synthetic
    first = pydicom.dcmread(folder / "0001.dcm")
    assert "no patient" in first.DerivationDescription and first.ImageType[0] == "DERIVED"
    assert (tmp_path / "chest.scanward.json").is_file()
    before = (folder / "0001.dcm").read_bytes()
    with pytest.raises(ArgumentError, match="exists already"):
        write_made_series(image, folder, description="again")
    again = write_made_series(image, tmp_path / "there" / "chest", description="Synthesised chest phantom, no patient")
    assert (again / "0001.dcm").read_bytes() == before


@pytest.mark.needs("dciodvfy")
def test_dciodvfy_has_no_error_to_tell_of(tmp_path):
    folder = write_made_series(chest_phantom(1, SMALL), tmp_path / "chest", description="Synthesised chest phantom")
    done = subprocess.run(["dciodvfy", "-new", str(folder / "0016.dcm")], capture_output=True, text=True, check=False)
    wrong = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
    assert [line for line in wrong if "(0008,001c)" not in line] == []  # Synthetic Data is younger than the program
