"""What a site's thresholds still find: forgeries made in the site's own authentic images, judged, and thrown away."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np

from scanward.anatomy.breast import Breast, breast_small
from scanward.anatomy.lung import Lungs, lungs_of
from scanward.attacks.base import Attack, Lesion, Tamper, forge
from scanward.attacks.places import draw_places, share_inside
from scanward.errors import ScanwardError
from scanward.forgery.chest import auto_place
from scanward.formats import Source, read
from scanward.image import Image, Modality
from scanward.judging.case import Case
from scanward.judging.judge import judge
from scanward.judging.site import Sight, Site
from scanward.judging.witnesses import placed
from scanward.methods import build
from scanward.verdict import BESIDE

IMAGES = 16
"""Of the site's, spread evenly, that are forged in."""
SIZES_MM = (6.0, 12.0, 25.0)
ATTACKS: dict[Modality, tuple[str, ...]] = {"MG": ("composed-mass", "inpaint-telea", "resample"),
                                            "CT": ("ct-gan-b", "projection", "ct-gan-b-remove")}
"""A lesion where there was none, a removal, and tissue that was worked over; on CT none that detectors learn."""
BREAST_MM = 120.0
"""The square root of a breast's area, where an image says no spacing."""


def forged_and_found(sources: Sequence[Source], site: Site, modality: Modality | None = None,
                     spacing: tuple[float, float] | None = None) -> Iterator[tuple[float, bool, bool]]:
    """One forgery after the other: its diameter in mm, whether it was found before, and whether it is now.

    Nothing is written. Images that cannot be read, or have no room, are passed over.
    """
    some = [sources[i] for i in np.unique(np.linspace(0, len(sources) - 1, IMAGES).astype(int))] if sources else []
    for source in some:
        with suppress(ScanwardError):
            host = read(source, modality=modality, spacing=spacing)
            anatomy = lungs_of(host) if host.modality == "CT" else breast_small(host.plane)
            attacks = ATTACKS[host.modality]
            for number, mm in enumerate(SIZES_MM):
                seed = zlib.crc32(f"{source.path.name} {mm}".encode())  # the same wherever the folder lies
                name = attacks[(number + zlib.crc32(source.path.name.encode())) % len(attacks)]
                with suppress(ScanwardError):
                    forged = _forged(host, anatomy, build(name, "attack"), mm, seed)
                    if forged is not None:
                        yield mm, *_found(forged, site)


def summed(found: Sequence[tuple[float, bool, bool]]) -> tuple[Sight, ...]:
    """By size."""
    return tuple(Sight(mm, len(rows), sum(row[1] for row in rows), sum(row[2] for row in rows))
                 for mm in sorted({row[0] for row in found}) for rows in [[row for row in found if row[0] == mm]])


def _forged(host: Image, anatomy: Breast | Lungs, attack: Attack, mm: float, seed: int) -> Tamper | None:
    if isinstance(anatomy, Lungs):
        rng = np.random.default_rng(seed)
        return forge(attack, host, auto_place(host, anatomy, mm, rng), int(rng.integers(2**31)), anatomy=anatomy)
    return _forged_in_film(host, anatomy, attack, mm, seed)


def _forged_in_film(host: Image, breast: Breast, attack: Attack, mm: float, seed: int) -> Tamper | None:
    tissue = breast.at_full_size(host.plane.shape)
    pixel = host.spacing[1] if host.spacing else BREAST_MM / max(1.0, float(np.sqrt(tissue.sum())))
    rng = np.random.default_rng(seed)
    if not 3 <= mm / pixel <= min(tissue.shape) / 2:
        return None
    places: list[Lesion] = draw_places(host.plane, rng, 16, mm / pixel, breast)
    place = max(places, key=lambda one: share_inside(tissue, one))
    if share_inside(tissue, place) < 0.9:
        return None
    return forge(attack, host, place, int(rng.integers(2**31)), anatomy=breast)


def _found(made: Tamper, site: Site) -> tuple[bool, bool]:
    """At the shipped thresholds and at the site's: an alarm with a region that meets what was forged."""
    evidence = [one for one in judge(Case(made.image)).evidence if one.method not in BESIDE]
    before, now = (any(one.label == "tampered" and any(made.mask[region.box.slices].any() for region in one.findings)
                       for one in some) for some in (evidence, [placed(one, site) for one in evidence]))
    return before, now
