"""Mammo-CGAN at work: the eight stages from a host to a forged host (Bar-on 2020, section 2.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from scanward.arguments import check_word
from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, check_lesion, check_strength, patch_of
from scanward.attacks.grain import resynthesised, white
from scanward.attacks.mammo_cgan.merge import (
    SIDE,
    TRUTH,
    Intensities,
    centre_mask,
    check,
    intensities_of,
    merge,
    resized,
    square_side,
    symmetric,
    weight,
)
from scanward.image import Image
from scanward.weights import Trained

Generators = Callable[[Plane, Plane], tuple[Plane, Plane]]
"""A square (64, 64) with its centre zeroed, and noise (3, 64, 64), to what the first and the second generator made."""

GRAINS = ("white", "host", "resynthesised")


@dataclass(frozen=True)
class Stages:
    """The square at each of the eight stages, in the host's stored values where it has the host's size."""

    original: Plane
    """1. The square cut out of the host, O (a, a)."""
    small: Plane
    """2. Resized bilinearly, (64, 64), black 0 and white 1."""
    zeroed: Plane
    """3. Without its central 44×44."""
    painted: Plane
    """4. What the first generator made of it."""
    completed: Plane
    """5. What the second made of that and a little noise."""
    large: Plane
    """6. Back at the host's size and intensities, (a, a)."""
    noisy: Plane
    """7. With grain: G (a, a)."""
    merged: Plane
    """8. Merged with the original: M (a, a)."""
    weight: Plane
    """W (a, a), what of G went into M."""


class MammoCgan(Trained):
    """A mass injected by two cascaded conditional GANs.

    `sigma`, `threshold`, `alpha` and `power` go before what `merge.py` derives from the host, all in its stored values.
    `grain` says what stage 7 adds: `white` noise (published); the `host`'s own, which the way through 64×64 takes away:
    the hard case, in which the grain of the forged square is the original's; or new grain `resynthesised` from that.
    """

    name = "mammo-cgan"
    family = "mammo-cgan"
    weights_name = "mammo-cgan"
    needs_donor = False
    everything = False

    def __init__(self, arrays: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, *,
                 sigma: float | None = None, threshold: float | None = None, alpha: float | None = None,
                 power: float | None = None, grain: str = "white") -> None:
        super().__init__(arrays, settings)
        check_word("grain", grain, GRAINS)
        given = {"sigma": sigma, "threshold": threshold, "alpha": alpha, "power": power}
        self._given_values = {name: float(value) for name, value in given.items() if value is not None}
        self._grain = grain

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """The square, the host's intensities, the seed of all noise, and the symmetry under which the generators see
        the square: it decides a lesion's shape more than their noise does. `ArgumentError` for what cannot be used."""
        check_lesion(host.plane.shape, lesion, host.name)
        check_strength(strength)
        params = {"y": float(lesion.y), "x": float(lesion.x), "diameter": float(lesion.diameter),
                  "side": square_side(lesion.diameter), "strength": float(strength),
                  "grain": self._grain, "seed": int(rng.integers(2**31)), "turn": int(rng.integers(8))}
        how = replace(intensities_of(host.plane, cut(host.plane, params)), **self._given_values)
        check(how)
        return params | {"intensities": how.to_json()}

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region and its truth: W ≥ 0.65, or where W is most if it is nowhere as much."""
        stages = self.stages(host, params)
        box, inner = window(host.plane.shape, params)
        change = np.float32(params["strength"]) * (stages.merged - stages.original)
        share = stages.weight[inner]
        return patch_of(box, host.plane[box] + change[inner], share >= min(TRUTH, 0.9 * float(share.max())))

    def stages(self, host: Image, params: dict[str, Any]) -> Stages:
        """Every stage of what `apply` does with these parameters, at full strength."""
        how = Intensities(**params["intensities"])
        original, small, zeroed, painted, completed = self.generated(host, params)
        antialias, side = bool(self._weights[1].get("antialias", True)), original.shape[0]
        large = resized(completed, side, antialias) * np.float32(how.white - how.black) + np.float32(how.black)
        if params["grain"] == "white":
            noisy = large + np.float32(how.sigma) * white(large.shape, params["seed"] + 1)
        else:
            lost = original - resized(resized(original, SIDE, antialias), side, antialias)
            noisy = large + (lost if params["grain"] == "host" else resynthesised(lost, params["seed"] + 1))
        share = weight(noisy, how, everything=self.everything)
        return Stages(original, small, zeroed, painted, completed, large, noisy, merge(noisy, original, share), share)

    def generated(self, host: Image, params: dict[str, Any]) -> tuple[Plane, Plane, Plane, Plane, Plane]:
        """Stages 1 to 5."""
        how = Intensities(**params["intensities"])
        original = cut(host.plane, params)
        small = resized(original, SIDE, bool(self._weights[1].get("antialias", True)))
        small = (small - np.float32(how.black)) / np.float32(how.white - how.black)
        zeroed = np.where(centre_mask(), 0, small).astype(np.float32)
        noise = np.random.default_rng(params["seed"]).standard_normal((3, SIDE, SIDE), dtype=np.float32)
        turn = int(params.get("turn", 0))
        made = self.generators(symmetric(zeroed, turn), noise)
        painted, completed = (symmetric(square, turn, back=True) for square in made)
        return original, small, zeroed, painted, completed

    @cached_property
    def generators(self) -> Generators:
        """The trained pair."""
        return load_generators(*self._weights)


class MammoCganB(MammoCgan):
    """Another pair of generators: other widths, another seed, other training patients."""

    name = "mammo-cgan-b"
    weights_name = "mammo-cgan-b"
    family = "mammo-cgan-b"


class MammoCganRemove(MammoCgan):
    """The twin trained on healthy tissue, which paints a lesion over. Its whole square counts, so W has no S."""

    name = "mammo-cgan-remove"
    family = "mammo-cgan-remove"
    weights_name = "mammo-cgan-remove"
    everything = True


def window(shape: tuple[int, ...], params: dict[str, Any]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of an image (y, x) that the square covers, and the same part of the square."""
    side = int(params["side"])
    box, inner = [], []
    for middle, length in ((params["y"], shape[0]), (params["x"], shape[1])):
        start = math.floor(middle - (side - 1) / 2 + 0.5)
        low, high = max(0, start), min(length, start + side)
        box.append(slice(low, high))
        inner.append(slice(low - start, high - start))
    return (box[0], box[1]), (inner[0], inner[1])


def cut(plane: Plane, params: dict[str, Any]) -> Plane:
    """The square (a, a), mirrored where it reaches over the image's border."""
    side = int(params["side"])
    box, inner = window(plane.shape, params)
    pads = [(part.start, side - part.stop) for part in inner]
    return np.pad(plane[box], pads, mode="symmetric").astype(np.float32)


def load_generators(arrays: dict[str, Any], settings: dict[str, Any]) -> Generators:
    """A `Cascade` of the weights' own preset, in evaluation mode, f32."""
    import torch

    from scanward.attacks.mammo_cgan.network import PRESETS, Cascade
    from scanward.nets.blocks import filled

    net = filled(Cascade(PRESETS[settings["preset"]]), arrays)

    @torch.inference_mode()
    def run(zeroed: Plane, noise: Plane) -> tuple[Plane, Plane]:
        first, second = net(torch.from_numpy(zeroed)[None, None], torch.from_numpy(noise)[None])
        return first[0, 0].numpy(), second[0, 0].numpy()

    return run
