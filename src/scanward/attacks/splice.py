"""Splices: a real lesion of another film, or a composed one, put into the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, Region, check_lesion, compose, membrane, poisson, region_of, start
from scanward.attacks.copy_move import fetch
from scanward.attacks.grain import headroom, moments, ring, smooth, span
from scanward.attacks.mass import density
from scanward.attacks.patches import synthetic_grain
from scanward.attacks.places import draw_places
from scanward.errors import ArgumentError
from scanward.image import Image


class Splice:
    """A lesion of a donor film, resampled to the wanted size, turned, and matched to its new surroundings."""

    name = "splice"
    family = "splice"
    needs_donor = True
    MODES = ("feather", "poisson", "mixed", "additive")

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """A third of the splices whose sizes allow it are copied 1:1, without resampling.

        Without the donor's own lesion, tissue of the donor's breast is taken in place of a lesion. `ArgumentError`
        without a donor, and as `start`.
        """
        params = start(host, lesion, rng, strength)
        image = _required(donor.image if donor else None)
        source = donor.lesion if donor else None
        if source is None:
            size = min(lesion.diameter, 0.5 * min(image.plane.shape))
            source = draw_places(image, rng, 1, max(3.0, size))[0]
        check_lesion(image.plane.shape, source, image.name)
        scale = lesion.diameter / source.diameter
        if 0.5 <= scale <= 2 and rng.random() < 0.35:
            scale = 1.0
        turn = float(90 * rng.integers(4)) if rng.random() < 0.6 else float(rng.uniform(-180, 180))
        params |= {"mode": str(rng.choice(self.MODES, p=[0.35, 0.25, 0.15, 0.25])), "scale": float(scale),
                   "source": [float(source.y), float(source.x)], "turn": turn,
                   "mirror": bool(rng.random() < 0.5)}
        region = region_of(params["shape"], host.plane.shape)
        params["gain"], params["offset"] = _matched(host, image, region, self._fetch(image, region, params), rng)
        return params

    @staticmethod
    def _fetch(donor: Image, region: Region, params: dict[str, Any]) -> Plane:
        shape, (y, x) = params["shape"], params["source"]
        return fetch(donor.plane, region, (shape["y"], shape["x"]), (y, x), params["turn"], params["scale"],
                     params["mirror"])

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region and its truth. `ArgumentError` without a donor."""
        donor = _required(donor)
        plane = host.plane
        region = region_of(params["shape"], plane.shape)
        crop, inside = region.cut(plane), region.weight > 0
        lesion = self._fetch(donor, region, params) * np.float32(params["gain"]) + np.float32(params["offset"])
        if params["mode"] in ("poisson", "mixed"):
            lesion = poisson(crop, lesion, inside, mixed=params["mode"] == "mixed")
        elif params["mode"] == "additive":
            background = membrane(smooth(lesion, max(1.0, params["shape"]["diameter"] / 16)), inside)
            lesion = crop + lesion - background
        return compose(plane, region, lesion, params["strength"])


class ComposedMass:
    """A mass made from shape and texture models, with grain of its own or none; no donor."""

    name = "composed-mass"
    family = "splice"
    needs_donor = False
    grains: tuple[str, ...] = ("smooth", "synthetic")

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Irregular or spiculated, with one of the class's kinds of grain. Raises as `start`."""
        params = start(host, lesion, rng, strength, feather=float(rng.uniform(0.03, 0.15) * lesion.diameter))
        params["shape"]["kind"] = "blob"
        region = region_of(params["shape"], host.plane.shape)
        contrast = span(host.plane)
        level, spread = moments(host.plane[region.box], region.weight > 0.5)
        peak = float(np.clip(rng.uniform(1.2, 4.0) * spread, 0.04 * contrast, 0.2 * contrast))
        peak = min(peak, headroom(host.largest, host.integer, level, contrast))
        params |= {"peak": peak, "grain": str(rng.choice(self.grains)),
                   "attenuation": float(rng.uniform(0.4, 1.0)), "steep": float(rng.uniform(0.5, 1.4)),
                   "texture": float(rng.uniform(0.1, 0.35)), "spicules": 0, "seed": int(rng.integers(2**31))}
        if rng.random() < 0.4:
            params["spicules"] = int(rng.integers(8, 28))
        return params

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region and its truth: where the mass has a tenth of its density."""
        plane = host.plane
        region = region_of(params["shape"], plane.shape)
        crop = region.cut(plane)
        body = density(region, params)
        mass = crop + np.float32(params["peak"]) * body
        if params["grain"] != "keep":
            low = smooth(crop, max(1.5, params["shape"]["diameter"] / 24))
            share = np.float32(params["attenuation"]) * np.clip(3 * body, 0, 1)
            mass -= share * (crop - low)
            if params["grain"] == "synthetic":
                mass += share * synthetic_grain(crop, region.weight, params["seed"])
        patch = compose(plane, region, mass, params["strength"])
        patch.mask[0] &= body >= 0.1 * float(body.max())
        return patch


class FaithfulMass(ComposedMass):
    """The same mass under the host's own grain, left as it is: nothing but the seam and the shape betray it."""

    name = "faithful-mass"
    family = "faithful-mass"
    grains = ("keep",)


def _required(donor: Image | None) -> Image:
    if donor is None:
        raise ArgumentError("A splice needs a donor image to take the lesion from; give one.")
    return donor


def _matched(host: Image, donor: Image, region: Region, fetched: Plane,
             rng: np.random.Generator) -> tuple[float, float]:
    """Gain and offset that give the lesion's surroundings the mean and spread of the host's.

    The spread of a ring of tissue is a rough measure, so the gain stays within twice the ratio of both images'
    contrasts; that ratio also carries 8-bit donors into 16-bit hosts.
    """
    around = ring(region.weight)
    host_mean, host_spread = moments(host.plane[region.box], around)
    donor_mean, donor_spread = moments(fetched, around)
    ratio = span(host.plane) / span(donor.plane)
    gain = host_spread / donor_spread if donor_spread > 0 else ratio
    gain = float(np.clip(gain, 0.6 * ratio, 1.5 * ratio) * rng.uniform(0.85, 1.15))
    return gain, host_mean - gain * donor_mean
