"""From an order to a forgery in memory."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from scanward import methods
from scanward.arguments import refused
from scanward.attacks.base import Anatomy, Attack, Lesion, Patch, Tamper, drawn, forge
from scanward.attacks.blend import check_strength
from scanward.attacks.grain import grain
from scanward.attacks.mammo_cgan import MammoCgan
from scanward.errors import ArgumentError, UnsupportedError
from scanward.forgery.kinds import KINDS
from scanward.forgery.order import Order
from scanward.formats.guard import shown
from scanward.image import Image, Modality
from scanward.weights import Trained

SMALLEST_MM = 3.0
ROSE = 5.0
"""Signal to noise over all pixels of a change, below which it is seen by nobody who does not know it, and nothing is
learned from it (Rose, J. Opt. Soc. Am. 38, 1948)."""
WORDS = ("margin", "morphology", "grain", "noise", "extent")
"""Options whose values are words; those of the others are numbers."""


def default_method(action: str, modality: Modality, *, digital: bool = False, options: Collection[str] = ()) -> str:
    """The method of an order that names none: the first of the table that does this to such images, that for `digital`
    mammograms where the file says that it is one (`digital_in`); the other of the two where only it has the `options`.

    `UnsupportedError` where there is none.
    """
    able = [row for row in methods.METHODS if row.action == action and row.modality == modality]
    first = [next((row for row in able if row.digital == kind), None) for kind in (digital, not digital)]
    found = [row for row in first if row is not None]
    if not found:
        raise UnsupportedError(f"This version of scanward has no method to {action} lesions in {modality} images; give "
                               "a mammogram.")
    return next((row for row in found if set(options) <= set(row.options)), found[0]).name


def check_together(order: Order) -> None:
    """`ArgumentError` for what says nothing without, or beside, another part of a new order; records of old ones may
    hold it."""
    if order.world and order.at is None:
        raise ArgumentError("A place in a CT's millimetres (--world) has to be named; write --at X,Y,Z, or leave "
                            "--world out.")
    grain_of = order.options.get("grain", "white")
    if "sigma" in order.options and isinstance(grain_of, str) and grain_of != "white":
        raise ArgumentError(f"The deviation of white noise (--sigma) says nothing with --grain {grain_of}, which adds "
                            "none; leave one of them out.")


def check_order(order: Order, action: str, *, stages: bool = False) -> Attack:
    """The method of an order, built, with its weights at hand.

    `ArgumentError` for a method that does not `action`, lacks an option or (where wanted) stages, and for a size,
    strength or seed out of range; `WeightsError` where weights are missing.
    """
    able = [row for row in methods.METHODS if row.action == action]
    row = next((row for row in able if row.name == order.method), None)
    if row is None:
        raise ArgumentError(f"No method to {action} lesions is called {order.method!r}; choose one of: "
                            f"{', '.join(r.name for r in able)}.")
    for name in order.options:
        if name not in row.options:
            has = f"it has {', '.join('--' + o for o in row.options)}" if row.options else "it has no options"
            raise ArgumentError(f"The method {row.name} has no option --{name}; {has}.")
        if not isinstance(order.options[name], str if name in WORDS else Real):
            raise refused(name, "a word" if name in WORDS else "a number", order.options[name])
    low, high = order.size_mm
    if not SMALLEST_MM <= low <= high < math.inf:
        raise ArgumentError(f"A size of {low:g}{f' to {high:g}' if high != low else ''} mm cannot be made; choose from "
                            f"{SMALLEST_MM:g} mm.")
    if order.seed < 0:
        raise ArgumentError(f"The seed {order.seed} is negative; choose one from 0.")
    check_strength(order.strength)
    if order.view is not None and not row.views:
        raise ArgumentError(f"The method {row.name} injects no lesion into two views of a breast; add --method "
                            f"{next(r.name for r in able if r.views)}.")
    seen = {} if order.view is None else {"view": order.view}
    attack = _built(row.name, tuple(sorted((order.options | seen).items())))
    if stages and not isinstance(attack, MammoCgan):
        raise ArgumentError(f"--stages shows the stages of Mammo-CGAN, and the method {row.name} has none; leave it "
                            "out.")
    return attack


@lru_cache(maxsize=4)
def _built(name: str, options: tuple[tuple[str, Any], ...]) -> Attack:
    attack: Attack = methods.build(name, "attack", **dict(options))
    if isinstance(attack, Trained):
        attack.check_weights()
    return attack


def lesions_in(attack: Attack, image: Image, order: Order, seed: int) -> tuple[list[Lesion], Anatomy]:
    """Where an order wants lesions in an image, and the anatomy that they lie in. Raises as `inject`."""
    modality = methods.find(order.method, "attack").modality
    kind = KINDS[modality]
    if image.modality != modality:
        refusal = kind.refusal.format(modality=image.modality, method=attack.name)
        raise UnsupportedError(f"{shown(image.name)} {refusal}")
    return kind.lesions(image, order, seed)


def plan_image(attack: Attack, image: Image, order: Order, seed: int) -> list[Lesion]:
    """Where `forge_image` would make lesions, once all is drawn that may be refused. Raises as `inject`."""
    lesions, anatomy = lesions_in(attack, image, order, seed)
    drawn(attack, image, lesions, seed, strength=order.strength, anatomy=anatomy)
    return lesions


def forge_image(attack: Attack, image: Image, order: Order, seed: int) -> Tamper:
    """One forgery of an image in memory. Raises as `inject`; `ArgumentError`, too, where nothing would come of it."""
    tamper = carried_out(attack, image, order, seed)
    if not all(_stands_out(tamper, image, patch) for patch in tamper.patches):
        raise ArgumentError(f"The forgery would change nothing in {shown(image.name)} that stands out from its noise; "
                            "choose another place, a larger strength or size, or other options.")
    return tamper


def carried_out(attack: Attack, image: Image, order: Order, seed: int) -> Tamper:
    """As `forge_image`, whatever comes of it."""
    lesions, anatomy = lesions_in(attack, image, order, seed)
    return forge(attack, image, lesions, seed, strength=order.strength, anatomy=anatomy)


def _stands_out(tamper: Tamper, image: Image, patch: Patch) -> bool:
    """Whether what a patch changes where its truth is, beyond one stored step, is `ROSE` times the host's noise."""
    host, truth = image.pixels[patch.box.slices], patch.mask
    step = image.grid[0] if image.grid is not None else float(image.integer)
    beyond = np.maximum(np.abs(tamper.image.pixels[patch.box.slices] - host)[truth] - step, 0)
    middle = int(truth.sum((1, 2)).argmax())
    return float(np.linalg.norm(beyond)) > ROSE * grain(host[middle], truth[middle].astype(np.float32))
