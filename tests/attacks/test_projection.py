"""Insertion in the projections: the beam by hand, the scanner read out of its own noise, the lesion as asked for."""

import json
from itertools import pairwise

import numpy as np
import pytest
from forging import chest
from scipy import ndimage

from scanward.attacks.base import Lesion
from scanward.attacks.pieces import piece_at
from scanward.attacks.projection import Projection, ProjectionRemove
from scanward.attacks.projection.beam import PLAIN, Beam, Kernel
from scanward.attacks.projection.scanner import paths, scanner_of
from scanward.errors import ArgumentError
from scanward.image import Image

BEAM = Beam(41, 0.7)
AXIS = (np.arange(41) - 20) * 0.7
SPACING = (1.5, 0.7, 0.7)


def blob(sigma, y=0.0, x=0.0):
    return np.exp(-((AXIS[:, None] - y) ** 2 + (AXIS - x) ** 2) / (2 * sigma**2))[None]


def lung(noise=0.0, shape=(40, 120, 120), **more):
    """Lung without a vessel, 84 mm wide, with noise of a soft kernel."""
    drawn = np.random.default_rng(1).standard_normal(shape)
    drawn = ndimage.gaussian_filter(drawn, (0, 0.8, 0.8))
    return Image(np.rint(noise * drawn / drawn.std() - 860).astype(np.float32), "CT", SPACING, **more)


def forged(host, attack, lesion, seed=0, **more):
    """The values, the change and the truth in the box, and the box's slices."""
    drawn = json.loads(json.dumps(attack.draw(host, lesion, np.random.default_rng(seed), **more), allow_nan=False))
    patch = attack.apply(host, drawn)
    return patch.values, patch.values - host.pixels[patch.box.slices], patch.mask, patch.box.slices


def diameter(mask, spacing):
    return (6 / np.pi * mask.sum() * np.prod(spacing)) ** (1 / 3)


def test_a_blob_comes_back_from_its_projections():
    made = BEAM.reconstruct(BEAM.project(900 * blob(2.5, 2.1, -3.0)), PLAIN)
    assert np.abs(made - 900 * blob(2.5, 2.1, -3.0)).max() < 0.02 * 900


def test_every_projection_holds_what_the_plane_holds():
    sums = BEAM.project(blob(2.0))[..., 0].sum(1) * BEAM.pitch
    assert sums == pytest.approx(2 * np.pi * 4, rel=1e-3)  # the integral of a Gaussian


def test_the_kernel_blurs_a_blob_as_its_formula_says():
    kernel = Kernel(0.2)
    made = BEAM.reconstruct(BEAM.project(blob(2.0)), kernel)[0]
    # exp(-ln 2 (f / c)²) is a Gaussian of variance ln 2 / (2 π² c²), and variances add
    wider = 4 + np.log(2) / (2 * np.pi**2 * 0.2**2)
    assert np.abs(made - 4 / wider * blob(np.sqrt(wider))[0]).max() < 0.02


def test_the_gain_is_the_variance_of_reconstructed_noise():
    white = np.random.default_rng(0).standard_normal((len(BEAM.angles), BEAM.cells, 600))
    made = BEAM.reconstruct(white, Kernel(0.4))[:, 12:-12, 12:-12]
    assert BEAM.gain(Kernel(0.4), np.ones(len(BEAM.angles))) == pytest.approx(made.var(), rel=0.1)


@pytest.mark.parametrize("cutoff", [0.25, 0.45])
@pytest.mark.parametrize("thickness", [1.5, 3.0])
def test_a_scanner_is_read_out_of_the_noise_that_it_makes(cutoff, thickness):
    beam, count = Beam(120, 0.7), 24
    white = np.random.default_rng(0).standard_normal((len(beam.angles), beam.cells, count))
    planes = beam.reconstruct(white, Kernel(cutoff))
    common = 2 ** (-2 * (1.5 / thickness) ** 2)  # of slices 1.5 mm apart, as Gaussians of this width at half height
    for below, here in pairwise(planes):
        here[:] = common * below + np.sqrt(1 - common**2) * here
    host = Image((30 * planes / planes.std() - 860).astype(np.float32), "CT", SPACING)
    found = scanner_of(host, (12, 60, 60))
    assert found.kernel.cutoff == pytest.approx(cutoff, rel=0.25)
    assert found.thickness == pytest.approx(thickness, rel=0.2)
    assert found.noise == pytest.approx(30, rel=0.3)  # of the calmest patches


def test_rays_along_a_body_are_noisier_than_rays_across_it():
    pixels = np.full((3, 200, 200), -1000, np.float32)
    pixels[:, 80:120] = 40  # 28 mm high, 140 mm wide
    along, across = paths(Image(pixels, "CT", SPACING), (1, 100, 100), np.array([np.pi / 2, 0.0]))
    assert along / across == pytest.approx(np.exp(0.02 * 1.04 * (140 - 28) / 2), rel=0.05)


@pytest.mark.parametrize(("size", "density", "seed"), [
    (6, 40, 1), (8, 300, 2), (12, -500, 3), (14, 20, 4), (17, 0, 337130), (20, 100, 5), (28, -200, 6), (16, 60, 7)])
def test_diameter_and_density_are_those_asked_for_in_one_piece(size, density, seed):
    host = lung(noise=12, shape=(70, 120, 120))
    values, change, mask, _ = forged(host, Projection(density=density), Lesion((35.3, 60.2, 59.6), size), seed)
    assert ndimage.label(mask)[1] == 1
    assert diameter(mask, SPACING) == pytest.approx(size, rel=0.15)
    if size >= 12:
        core = ndimage.distance_transform_edt(mask, SPACING) > 3
        assert values[core].mean() == pytest.approx(density, abs=25)
    away = ndimage.distance_transform_edt(~mask, SPACING)
    assert np.abs(change[away > 4]).max() < 60 and np.abs(change[away > size + 8]).max(initial=0) <= 2


def test_noise_grows_where_attenuation_is_added_and_stays_correlated_as_the_scans():
    host = lung(noise=40)
    core = np.hypot(np.arange(120)[:, None] - 60, np.arange(120) - 60) < 8
    drawn = [forged(host, Projection(density=40), Lesion((20, 60, 60), 24), seed) for seed in range(4)]
    before, after = host.pixels[18:23, core].std(1).mean(), []
    for values, _, _, box in drawn:
        whole = host.pixels.copy()
        whole[box] = values
        after.append(whole[18:23, core].std(1).mean())
    # on average over angles a ray crosses some 24 mm of 900 HU: the variance grows by exp(0.02 · 0.9 · 24) - 1
    assert 1.02 < np.mean(after) / before < 1.35


def test_a_vessel_that_is_denser_stays_as_it_is():
    host = lung()
    host.pixels[:, 56:64, 56:64] = 300
    _, change, _, box = forged(host, Projection(density=0), Lesion((20, 60, 60), 20))
    z, y, x = (slice(a - s.start, b - s.start) for (a, b), s in zip(((18, 23), (58, 62), (58, 62)), box, strict=True))
    assert np.abs(change[z, y, x]).max() < 60


def test_what_was_put_in_is_taken_out_again_and_the_noise_stays():
    host = lung(noise=30)
    lesion = Lesion((20.4, 60, 61), 14.0)
    values, _, mask, box = forged(host, Projection(density=20), lesion)
    host.pixels[box] = values
    again, _, gone, where = forged(host, ProjectionRemove(), lesion)
    assert ndimage.label(gone)[1] == 1
    assert diameter(gone, SPACING) == pytest.approx(14, rel=0.2)
    host.pixels[where] = again
    inside = np.zeros(host.shape, bool)
    inside[box] = mask
    assert host.pixels[inside].mean() == pytest.approx(-860, abs=40)
    assert 15 < host.pixels[17:24, 54:67, 55:68].std() < 60


def test_a_removal_leaves_a_vessel_that_does_not_touch_the_nodule():
    host = lung()
    z, y, x = np.mgrid[:40, :120, :120]
    host.pixels[np.hypot((z - 20) * 1.5, np.hypot(y - 60, x - 60) * 0.7) < 4] = 20
    host.pixels[:, 60:63, 72:75] = 20  # 8.4 mm from the centre
    _, change, _, box = forged(host, ProjectionRemove(), Lesion((20, 60, 60), 8.0))
    assert change[20 - box[0].start, 60 - box[1].start, 60 - box[2].start] < -700
    assert np.abs(change[20 - box[0].start, 61 - box[1].start, 73 - box[2].start]) < 60


@pytest.mark.parametrize("spacing", [(5.0, 0.4, 0.4), (0.4, 0.5, 0.9), (2.5, 2.5, 2.5), (3.0, 4.0, 4.0)])
def test_any_spacing_holds_a_nodule_of_its_size(spacing):
    shape = tuple(int(60 / s) for s in spacing)
    host = Image(np.full(shape, -860, np.float32), "CT", spacing)
    _, _, mask, _ = forged(host, Projection(density=0), Lesion(tuple(n / 2 for n in shape), 16.0))
    assert diameter(mask, spacing) == pytest.approx(16, rel=0.15)


def test_a_nodule_at_the_scans_corner_is_cut_there():
    host = chest()
    for corner in ((0, 0, 0), (23, 119, 119), (0, 60, 119)):
        values, _, _, box = forged(host, Projection(), Lesion(corner, 12.0))
        assert all(0 <= s.start <= c < s.stop <= n for s, c, n in zip(box, corner, host.shape, strict=True))
        assert np.isfinite(values).all()


def test_values_are_those_that_the_file_can_hold():
    host = lung(noise=30, grid=(2.0, -1024.0, 3070.0))
    host = Image((2 * np.rint(host.pixels / 2)).astype(np.float32), "CT", SPACING, grid=host.grid)
    for attack in (Projection(density=700), ProjectionRemove()):
        values = forged(host, attack, Lesion((20, 60, 60), 14))[0]
        assert np.array_equal(values, 2 * np.rint(values / 2)) and values.min() >= -1024


def test_densities_are_drawn_without_calcium_and_refused_where_none_can_be_made():
    host, drawn = lung(shape=(30, 60, 60)), []
    for seed in range(40):
        params = Projection().draw(host, Lesion((15, 30, 30), 8.0), np.random.default_rng(seed))
        drawn.append(params["density_hu"])
    assert -180 <= min(drawn) < -90 and 30 < max(drawn) < 100  # the second percentile to the eighth and a little more
    with pytest.raises(ArgumentError, match="--density"):
        Projection(density=801)


def test_pieces_by_hand():
    mask = np.zeros((1, 5, 9), bool)
    mask[0, 1, :2] = mask[0, 3, 4:7] = mask[0, 1, 8] = True
    assert np.argwhere(piece_at(mask, (0, 0, 0), (1, 1, 1))).tolist() == [[0, 3, 4], [0, 3, 5], [0, 3, 6]]
    mask[0, 3, 6] = False
    assert np.argwhere(piece_at(mask, (0, 2, 1), (1, 1, 1))).tolist() == [[0, 1, 0], [0, 1, 1]]
    assert np.argwhere(piece_at(mask, (0, 2, 5), (1, 1, 1))).tolist() == [[0, 3, 4], [0, 3, 5]]
    assert not piece_at(np.zeros((1, 2, 2), bool), (0, 0, 0), (1, 1, 1)).any()
