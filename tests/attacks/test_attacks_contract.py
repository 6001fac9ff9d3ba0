"""What every attack in the table promises, on synthetic films and on a real one."""

import json
from functools import cache

import cv2
import numpy as np
import pytest
from outside import DATA
from scipy import ndimage

from scanward.attacks.base import Attack, Donor, Place, Record, Tamper, digest, forge, replay
from scanward.attacks.blend import region_of
from scanward.attacks.diffusion import remove
from scanward.attacks.mammo_cgan.inject import window
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.methods import METHODS, build

NAMES = [m.name for m in METHODS if m.kind == "attack" and m.modality == "MG"]
FAMILIES = {"copy-move", "splice", "inpaint", "resample", "noise", "blur", "jpeg", "self-blend", "faithful-mass",
            "mammo-cgan", "mammo-cgan-b", "mammo-cgan-remove", "partial-conv", "diffusion"}
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
def tampers(attack: Attack, host: Image, donor: Donor, place: Place,
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


def test_replay_refuses_another_host(attack: Attack, host: Image, donor: Donor, place: Place) -> None:
    tamper = forge(attack, host, place, 0, donor=donor)
    other = host.with_plane(host.plane[::-1])
    with pytest.raises(ValueError, match="host"):
        replay(attack, tamper.record, other, donor)


def test_changes_only_where_it_says(attack: Attack, host: Image, place: Place, tampers: list[Tamper]) -> None:
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
        tamper = forge(attack, host, Place(100, 70, diameter), seed, donor=donor)
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


def test_strength_scales_the_change(attack: Attack, host: Image, donor: Donor, place: Place,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remove, "STEPS", 1)  # 36 drawings; strength scales whatever was drawn

    def change(strength: float, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        params = attack.draw(host, place, rng, strength=strength, donor=donor.image, donor_place=donor.place)
        return attack.apply(host, params, donor=donor.image)[0] - host.plane

    for seed in SEEDS:
        full, quarter, hardly = (change(s, seed) for s in (1.0, 0.25, 1e-6))
        assert np.abs(full).max() > 0
        assert np.allclose(quarter, 0.25 * full, atol=1e-5 * host.largest)
        assert np.abs(hardly).max() <= 1e-5 * host.largest


@pytest.mark.parametrize("corner", [(0, 0), (199, 159), (0, 80), (100, 0)])
def test_places_at_the_border_are_clipped(attack: Attack, host: Image, donor: Donor, corner: tuple[int, int]) -> None:
    for seed in range(4):
        tamper = forge(attack, host, Place(*map(float, corner), 24.0), seed, donor=donor)
        assert tamper.mask.any()
        assert np.isfinite(tamper.image.pixels).all()


@pytest.mark.parametrize("bad", [Place(-1, 60, 20), Place(100, 160, 20), Place(100, 60, 2.9), Place(100, 60, 161),
                                 Place(float("nan"), 60, 20), Place(100, 60, float("inf"))], ids=str)
def test_refuses_places_that_cannot_be(attack: Attack, host: Image, donor: Donor, bad: Place) -> None:
    with pytest.raises(ArgumentError) as caught:
        forge(attack, host, bad, 0, donor=donor)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.01, float("nan")])
def test_refuses_strengths_out_of_range(attack: Attack, host: Image, donor: Donor, place: Place,
                                        strength: float) -> None:
    with pytest.raises(ArgumentError, match="strength"):
        forge(attack, host, place, 0, strength=strength, donor=donor)


def test_refuses_a_volume(attack: Attack, donor: Donor, place: Place) -> None:
    with pytest.raises(UnsupportedError, match="volume"):
        forge(attack, Image(np.zeros((3, 64, 64), np.float32), "CT"), place, 0, donor=donor)


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_a_flat_host_gives_no_nonsense(attack: Attack, donor: Donor, level: float) -> None:
    flat = Image(np.full((1, 96, 96), level, np.float32), "MG", bits=8)
    for seed in range(6):
        tamper = forge(attack, flat, Place(48, 48, 24), seed, donor=donor)
        assert np.isfinite(tamper.image.pixels).all()
        assert tamper.mask.any()


def test_a_tiny_host_works(attack: Attack, donor: Donor) -> None:
    tiny = Image(np.arange(64, dtype=np.float32).reshape(1, 8, 8), "MG", bits=8)
    for seed in range(6):
        assert forge(attack, tiny, Place(4, 4, 3), seed, donor=donor).mask.any()


def test_a_float_host_is_not_rounded(attack: Attack, donor: Donor, place: Place, make_film) -> None:
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
    for seed in range(3):
        tamper = forge(attack, host, Place(512, 500, 80), seed, donor=Donor(donor, Place(891, 477, 60)))
        again = replay(attack, tamper.record, host, Donor(donor))
        assert np.array_equal(tamper.image.pixels, again.image.pixels)
        # what passes for tissue stays within the film's own brightness
        assert abs(tamper.image.plane[tamper.mask[0]].mean() - host.plane[tamper.mask[0]].mean()) < 90
