"""Splices put the donor's lesion in, whatever the two depths; composed masses look like their parameters."""

import numpy as np
import pytest
from forging import applied

from scanward.attacks.base import Donor, Lesion, forge, replay
from scanward.attacks.grain import grain
from scanward.attacks.splice import ComposedMass, Splice
from scanward.errors import ArgumentError
from scanward.image import Image


def drawn(host: Image, donor: Donor, place: Lesion, seed: int = 0, **changed) -> dict:
    params = Splice().draw(host, place, np.random.default_rng(seed), donor=donor)
    return params | changed


def core(place: Lesion, share: float, shape: tuple[int, int] = (200, 160)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - place.y, x - place.x) < share * place.diameter / 2


@pytest.mark.parametrize("mode", Splice.MODES)
def test_the_lesion_shows_in_the_host(mode: str, host: Image, donor: Donor) -> None:
    place = Lesion((0, 100, 60), 40)
    rises = []
    for seed in range(6):
        params = drawn(host, donor, place, seed, mode=mode)
        params["shape"] |= {"kind": "ellipse", "feather": 6.0}
        forged, _ = applied(Splice(), host, params, donor.image)
        rises.append((forged - host.plane)[core(place, 0.35)].mean() / host.largest)
    assert np.median(rises) > 0.05, "a bright disc of 60 grey levels in 255 was put in"


def test_modes_sizes_and_turns_are_drawn(host: Image, donor: Donor) -> None:
    params = [drawn(host, donor, Lesion((0, 100, 60), 30), seed) for seed in range(60)]
    assert {p["mode"] for p in params} == set(Splice.MODES)
    assert {p["scale"] for p in params} == {1.0, 30 / 24}
    assert any(p["turn"] % 90 for p in params) and any(p["turn"] % 90 == 0 for p in params)


def test_a_splice_into_itself_changes_nothing(host: Image) -> None:
    place = Lesion((0, 100, 60), 30)
    params = drawn(host, Donor(host, place), place, scale=1.0, turn=0.0, mirror=False, gain=1.0, offset=0.0)
    for mode in ("feather", "poisson"):
        forged, _ = applied(Splice(), host, params | {"mode": mode}, host)
        assert np.array_equal(forged, host.plane)


def test_additive_adds_nothing_from_a_flat_donor(host: Image) -> None:
    flat = Image(np.full((1, 100, 100), 77, np.float32), "MG", bits=8)
    params = drawn(host, Donor(flat, Lesion((0, 50, 50), 30)), Lesion((0, 100, 60), 30), mode="additive")
    forged, _ = applied(Splice(), host, params, flat)
    assert np.allclose(forged, host.plane, atol=1e-4 * host.largest)


def test_gradient_domain_has_no_seam(host: Image, donor: Donor) -> None:
    """Across a sharp edge Poisson steps no more than the grain does, though the donor is much darker."""
    dark = Donor(donor.image.with_plane(donor.image.plane * 0.4), donor.lesion)
    place = Lesion((0, 100, 60), 40)
    params = drawn(host, dark, place, gain=1.0, offset=0.0, scale=1.0)
    params["shape"] |= {"kind": "ellipse", "aspect": 1.0, "feather": 0.0}

    def seam(mode: str) -> float:
        forged, mask = applied(Splice(), host, params | {"mode": mode}, dark.image)
        edge = mask[:, 1:] != mask[:, :-1]
        return float(np.abs(np.diff(forged, axis=1))[edge].mean()) / host.largest

    assert seam("poisson") < 0.03 < seam("feather")


def test_without_a_lesion_the_donors_breast_is_used(host: Image, donor: Donor) -> None:
    tamper = forge(Splice(), host, Lesion((0, 100, 60), 30), 3, donor=Donor(donor.image))
    y, x = tamper.record.params["source"]
    assert donor.image.plane[round(y), round(x)] > 20


def test_a_missing_donor_is_refused(host: Image, donor: Donor, place: Lesion) -> None:
    with pytest.raises(ArgumentError, match="donor"):
        forge(Splice(), host, place, 0)
    record = forge(Splice(), host, place, 0, donor=donor).record
    with pytest.raises(ValueError, match="donor"):
        replay(Splice(), record, host)


def test_a_lesion_outside_the_donor_is_refused(host: Image, donor: Donor, place: Lesion) -> None:
    with pytest.raises(ArgumentError, match="outside"):
        forge(Splice(), host, place, 0, donor=Donor(donor.image, Lesion((0, 500, 10), 20)))


def mass(host: Image, place: Lesion, seed: int = 4, **changed) -> tuple[np.ndarray, np.ndarray, dict]:
    attack = ComposedMass()
    params = attack.draw(host, place, np.random.default_rng(seed)) | changed
    return *applied(attack, host, params), params


def test_a_mass_is_brightest_inside_and_by_its_peak(host: Image) -> None:
    place = Lesion((0, 100, 60), 50)
    forged, mask, params = mass(host, place, grain="keep", spicules=0, texture=0.0, steep=1.0)
    added = forged - host.plane
    assert added[100, 60] == pytest.approx(params["peak"], rel=0.05)
    assert added[mask].min() > 0
    assert added[core(place, 0.3)].mean() > 1.3 * added[mask & ~core(place, 0.6)].mean()


def test_a_masses_grain_is_kept_smoothed_or_replaced(make_film) -> None:
    host, place = make_film(6, 16), Lesion((0, 100, 60), 60)
    level = {}
    for kind in ("keep", "smooth", "synthetic"):
        forged, _, _ = mass(host, place, grain=kind, attenuation=1.0, spicules=0)
        inside = core(place, 0.5)[80:120, 40:80]
        level[kind] = grain(forged[80:120, 40:80], inside.astype(np.float32))
    own = grain(host.plane[80:120, 40:80])
    assert level["keep"] == pytest.approx(own, rel=0.1)
    assert level["smooth"] < 0.4 * own
    assert level["synthetic"] == pytest.approx(own, rel=0.3)


def test_spicules_reach_out(host: Image) -> None:
    place = Lesion((0, 100, 60), 60)
    plain, _, _ = mass(host, place, spicules=0, grain="keep")
    spiked, _, _ = mass(host, place, spicules=20, grain="keep")
    more = (spiked - plain) > 0.01 * host.largest
    assert more.sum() > 20
    assert not more[core(place, 0.3)].any()
