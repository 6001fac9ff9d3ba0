"""What every attack in the table promises: those of films on synthetic films and a real one, and at the end every
attack of every modality."""

import dataclasses
import json
from functools import cache

import cv2
import numpy as np
import pytest
from forging import applied, chest
from outside import DATA
from scipy import ndimage

from scanward.anatomy.breast import breast_small
from scanward.anatomy.lung import lungs_of
from scanward.attacks.base import Anatomy, Attack, Donor, Lesion, Patch, Record, Tamper, forge, replay
from scanward.attacks.blend import region_of
from scanward.attacks.ct_diffusion import network
from scanward.attacks.diffusion import remove
from scanward.attacks.mammo_cgan.inject import window
from scanward.box import Box
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image, digest
from scanward.methods import METHODS, build

NAMES = [m.name for m in METHODS if m.kind == "attack" and m.modality == "MG"]
FAMILIES = {"copy-move", "splice", "inpaint", "resample", "noise", "blur", "jpeg", "self-blend", "faithful-mass",
            "mammo-cgan", "mammo-cgan-b", "mammo-cgan-remove", "mammo-digital", "mammo-digital-remove",
            "mammo-calcifications", "mammo-distortion", "partial-conv", "diffusion"}
SEEDS = range(12)


@cache
def built(name: str) -> Attack:
    """An attack keeps nothing of what it forged, so one of each, whose weights are read once, is enough."""
    return build(name, "attack")


@pytest.fixture(params=NAMES)
def attack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Attack:
    # What an attack promises does not hang on how finely diffusion draws; at its own 24 steps this file takes minutes.
    monkeypatch.setattr(remove, "STEPS", 2)
    return built(request.param)


@pytest.fixture(scope="session")
def forged() -> dict[tuple[str, int], list[Tamper]]:
    """What the attacks made of the hosts, by name and bits."""
    return {}


@pytest.fixture
def tampers(attack: Attack, host: Image, donor: Donor, place: Lesion,
            forged: dict[tuple[str, int], list[Tamper]]) -> list[Tamper]:
    """A tamper for each of `SEEDS`, made once for all tests that only look at them."""
    if (attack.name, host.bits) not in forged:
        before = digest(host)
        forged[attack.name, host.bits] = [forge(attack, host, place, seed, donor=donor) for seed in SEEDS]
        assert digest(host) == before, "the host itself was changed"
    return forged[attack.name, host.bits]


def test_table_names_and_families(attack: Attack) -> None:
    assert attack.name in NAMES
    assert attack.family in FAMILIES
    assert attack.needs_donor == (attack.name == "splice")


def test_every_family_is_in_the_table() -> None:
    assert {build(name, "attack").family for name in NAMES} == FAMILIES


def test_replays_bit_for_bit_through_json(attack: Attack, host: Image, donor: Donor, tampers: list[Tamper]) -> None:
    for tamper in tampers:
        record = Record(**json.loads(json.dumps(tamper.record.to_json(), allow_nan=False)))
        again = replay(attack, record, host, donor)
        assert np.array_equal(tamper.image.pixels, again.image.pixels)
        assert np.array_equal(tamper.mask, again.mask)
        assert record.method == attack.name


def test_replay_refuses_another_host(attack: Attack, host: Image, donor: Donor, place: Lesion) -> None:
    tamper = forge(attack, host, place, 0, donor=donor)
    other = host.with_plane(host.plane[::-1])
    with pytest.raises(ValueError, match="host"):
        replay(attack, tamper.record, other, donor)


def test_changes_only_where_it_says(attack: Attack, host: Image, place: Lesion, tampers: list[Tamper]) -> None:
    for tamper in tampers:
        changed = tamper.image.plane != host.plane
        if "shape" not in tamper.record.params:
            box, _ = window(host.plane.shape, tamper.record.params)
            square = np.zeros(host.plane.shape, bool)
            square[box] = True
            assert not ((changed | tamper.mask[0]) & ~square).any()
            continue
        shape = tamper.record.params["shape"]
        # a mass and a bump fade towards the edge of their shape, so their truth is smaller than it
        fading = attack.name in ("composed-mass", "faithful-mass") or tamper.record.params.get("variant") == "lowfreq"
        reach = shape["feather"] / 2 + 2 + (0.6 * place.diameter if fading else 0)
        near = ndimage.distance_transform_edt(~tamper.mask[0]) <= reach
        assert not (changed & ~near).any()
        region = region_of(shape, host.plane.shape)
        support = np.zeros(host.plane.shape, bool)
        support[region.box] = region.weight > 0
        assert not (changed & ~support).any()


def test_most_of_the_mask_changes(host: Image, tampers: list[Tamper]) -> None:
    shares = [(tamper.image.plane != host.plane)[tamper.mask[0]].mean() for tamper in tampers]
    assert np.median(shares) > 0.4


def test_values_keep_the_hosts_depth(host: Image, tampers: list[Tamper]) -> None:
    for tamper in tampers:
        pixels = tamper.image.pixels
        assert pixels.dtype == np.float32
        assert np.array_equal(pixels, np.rint(pixels))
        assert pixels.min() >= 0
        assert pixels.max() <= host.largest


def test_mask_has_the_size_asked_for(attack: Attack, host: Image, donor: Donor) -> None:
    for seed, diameter in enumerate([12.0, 30.0, 60.0] * 3):
        tamper = forge(attack, host, Lesion((0, 100, 70), diameter), seed, donor=donor)
        assert tamper.mask.shape == host.shape
        assert tamper.mask.dtype == np.bool_
        found = 2 * np.sqrt(tamper.mask.sum() / np.pi)
        y, x = ndimage.center_of_mass(tamper.mask[0])
        if "shape" not in tamper.record.params:  # the generators decide how much of their square is lesion
            assert found <= 1.8 * diameter
            assert np.hypot(y - 100, x - 70) < 0.9 * diameter
            continue
        least = 0.6 if tamper.record.params.get("variant") == "lowfreq" else 0.8
        assert least * diameter <= found <= 1.12 * diameter
        assert np.hypot(y - 100, x - 70) < 0.3 * diameter


def test_strength_scales_the_change(attack: Attack, host: Image, donor: Donor, place: Lesion,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remove, "STEPS", 1)  # 36 drawings; strength scales whatever was drawn

    def change(strength: float, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        params = attack.draw(host, place, rng, strength=strength, donor=donor)
        return applied(attack, host, params, donor.image)[0] - host.plane

    for seed in SEEDS:
        full, quarter, hardly = (change(s, seed) for s in (1.0, 0.25, 1e-6))
        assert np.abs(full).max() > 0
        assert np.allclose(quarter, 0.25 * full, atol=1e-5 * host.largest)
        assert np.abs(hardly).max() <= 1e-5 * host.largest


@pytest.mark.parametrize("corner", [(0, 0), (199, 159), (0, 80), (100, 0)])
def test_places_at_the_border_are_clipped(attack: Attack, host: Image, donor: Donor, corner: tuple[int, int]) -> None:
    for seed in range(4):
        tamper = forge(attack, host, Lesion((0, *map(float, corner)), 24.0), seed, donor=donor)
        assert tamper.mask.any()
        assert np.isfinite(tamper.image.pixels).all()


@pytest.mark.parametrize("bad", [(-1, 60, 20), (100, 160, 20), (100, 60, 2.9), (100, 60, 161), (float("nan"), 60, 20),
                                 (100, 60, float("inf"))], ids=str)
def test_refuses_places_that_cannot_be(attack: Attack, host: Image, donor: Donor, bad: tuple[float, ...]) -> None:
    y, x, diameter = bad
    with pytest.raises(ArgumentError) as caught:
        forge(attack, host, Lesion((0, y, x), diameter), 0, donor=donor)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.01, float("nan")])
def test_refuses_strengths_out_of_range(attack: Attack, host: Image, donor: Donor, place: Lesion,
                                        strength: float) -> None:
    with pytest.raises(ArgumentError, match="strength"):
        forge(attack, host, place, 0, strength=strength, donor=donor)


def test_refuses_a_volume(attack: Attack, donor: Donor, place: Lesion) -> None:
    with pytest.raises(UnsupportedError, match="volume"):
        forge(attack, Image(np.zeros((3, 64, 64), np.float32), "CT"), place, 0, donor=donor)


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_a_flat_host_gives_no_nonsense(attack: Attack, donor: Donor, level: float) -> None:
    flat = Image(np.full((1, 96, 96), level, np.float32), "MG", bits=8)
    for seed in range(6):
        tamper = forge(attack, flat, Lesion((0, 48, 48), 24), seed, donor=donor)
        assert np.isfinite(tamper.image.pixels).all()
        assert tamper.mask.any()


def test_a_tiny_host_works(attack: Attack, donor: Donor) -> None:
    tiny = Image(np.arange(64, dtype=np.float32).reshape(1, 8, 8), "MG", bits=8)
    for seed in range(6):
        assert forge(attack, tiny, Lesion((0, 4, 4), 3), seed, donor=donor).mask.any()


def test_a_float_host_is_not_rounded(attack: Attack, donor: Donor, place: Lesion, make_film) -> None:
    host = make_film(3, 8, integer=False)
    host = host.with_plane(host.plane / 255)
    tamper = forge(attack, host, place, 1, donor=donor)
    inside = tamper.image.plane[tamper.mask[0]]
    assert (inside != np.rint(inside)).any()


@pytest.mark.data("mias/images")
def test_forges_a_real_film(attack: Attack) -> None:
    folder = DATA / "mias" / "images"
    planes = [cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in ("mdb003", "mdb005")]
    host, donor = (Image(p.astype(np.float32)[None], "MG", (1.0, 0.2, 0.2), 8) for p in planes)
    if attack.name == "mammo-calcifications":
        with pytest.raises(UnsupportedError, match=r"0\.2 mm, too coarse .*\.$"):
            forge(attack, host, Lesion((0, 512, 500), 80), 0)
        return
    for seed in range(3):
        tamper = forge(attack, host, Lesion((0, 512, 500), 80), seed, donor=Donor(donor, Lesion((0, 891, 477), 60)))
        again = replay(attack, tamper.record, host, Donor(donor))
        assert np.array_equal(tamper.image.pixels, again.image.pixels)
        # what passes for tissue stays within the film's own brightness
        assert abs(tamper.image.plane[tamper.mask[0]].mean() - host.plane[tamper.mask[0]].mean()) < 90


EVERY = [m for m in METHODS if m.kind == "attack"]


@dataclasses.dataclass(frozen=True)
class Case:
    """An attack with something to forge."""

    attack: Attack
    host: Image
    lesions: tuple[Lesion, Lesion]
    """Two that have room beside one another; the first has a fraction of a voxel."""
    anatomy: Anatomy
    donor: Donor
    other: Image
    """What it does not forge."""


@cache
def places(modality: str, make_film) -> dict:
    film, scan = make_film(1, 8), chest()
    if modality == "CT":
        return {"host": scan, "lesions": (Lesion((12, 60.4, 35), 8.0), Lesion((11, 60, 85), 10.0)),
                "anatomy": lungs_of(scan), "other": film}
    return {"host": film, "lesions": (Lesion((0, 80.4, 60), 20.0), Lesion((0, 130, 60), 24.0)),
            "anatomy": breast_small(film.plane), "other": scan}


@pytest.fixture(params=EVERY, ids=lambda row: f"{row.modality} {row.name}")
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, make_film, donor: Donor) -> Case:
    monkeypatch.setattr(remove, "STEPS", 1)
    monkeypatch.setattr(network, "STEPS", 1)
    return Case(build(request.param.name, "attack"), donor=donor, **places(request.param.modality, make_film))


def one_sentence(error: Exception) -> bool:
    return str(error).endswith(".") and "\n" not in str(error)


def test_several_lesions_replay_and_change_nothing_outside_their_patches(case: Case) -> None:
    before = digest(case.host)
    tamper = forge(case.attack, case.host, case.lesions, 1, donor=case.donor, anatomy=case.anatomy)
    record = Record(**json.loads(json.dumps(tamper.record.to_json(), allow_nan=False)))
    again = replay(case.attack, record, case.host, case.donor)
    assert digest(case.host) == before, "the host itself was changed"
    assert np.array_equal(tamper.image.pixels, again.image.pixels)
    assert np.array_equal(tamper.mask, again.mask)
    outside, mask = np.ones(case.host.shape, bool), np.zeros(case.host.shape, bool)
    for patch, lesion in zip(tamper.patches, case.lesions, strict=True):
        assert patch.values.dtype == np.float32
        inside = zip(patch.box.slices, lesion.centre, strict=True)
        assert all(part.start <= middle < part.stop for part, middle in inside)
        assert patch.mask.any()
        outside[patch.box.slices] = False
        mask[patch.box.slices] |= patch.mask
    assert not ((tamper.image.pixels != case.host.pixels) & outside).any()
    assert np.array_equal(tamper.mask, mask)


def test_known_anatomy_changes_nothing(case: Case) -> None:
    drawn = [case.attack.draw(case.host, case.lesions[0], np.random.default_rng(2), donor=case.donor, anatomy=anatomy)
             for anatomy in (case.anatomy, None)]
    assert drawn[0] == drawn[1]


def test_strength_scales_every_change_to_nothing(case: Case) -> None:
    host = dataclasses.replace(case.host, integer=False)  # or rounding would hide what is small

    def change(strength: float) -> np.ndarray:
        params = case.attack.draw(host, case.lesions[0], np.random.default_rng(3), strength=strength, donor=case.donor,
                                  anatomy=case.anatomy)
        patch = case.attack.apply(host, params, donor=case.donor.image)
        return patch.values - host.pixels[patch.box.slices]

    full, half, hardly = (change(strength) for strength in (1.0, 0.5, 1e-6))
    assert np.abs(full).max() > 1
    assert np.allclose(half, 0.5 * full, atol=1e-3)
    assert np.abs(hardly).max() < 2e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_places_outside_are_refused_in_one_sentence(case: Case, axis: int) -> None:
    for wrong in (-1, case.host.shape[axis], float("nan"), float("inf")):
        centre = list(case.lesions[0].centre)
        centre[axis] = wrong
        lesion = Lesion(tuple(centre), case.lesions[0].diameter)
        with pytest.raises(ArgumentError) as caught:
            forge(case.attack, case.host, lesion, 1, donor=case.donor)
        assert one_sentence(caught.value)


@pytest.mark.parametrize("diameter", [-1.0, 0.0, 1e6, float("nan"), float("inf")])
def test_diameters_that_cannot_be_are_refused_in_one_sentence(case: Case, diameter: float) -> None:
    lesion = Lesion(case.lesions[0].centre, diameter)
    with pytest.raises(ArgumentError) as caught:
        forge(case.attack, case.host, lesion, 1, donor=case.donor)
    assert one_sentence(caught.value)


def test_images_of_another_modality_are_refused_in_one_sentence(case: Case) -> None:
    with pytest.raises(UnsupportedError) as caught:
        forge(case.attack, case.other, case.lesions[0], 1, donor=case.donor)
    assert one_sentence(caught.value)


def test_a_patch_fills_its_box_with_finite_values() -> None:
    box, mask = Box(0, 2, 3, 1, 4, 6), np.ones((1, 2, 3), bool)
    values = mask.astype(np.float32)
    Patch(box, values, mask)
    for wrong in ((box, values[:, 1:], mask), (box, values, mask[:, 1:]), (box, values + np.float32(np.nan), mask)):
        with pytest.raises(ValueError, match="must"):
            Patch(*wrong)
