"""A site's own thresholds: what its scanners' authentic images say a threshold must be, and no lower than ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from scanward.arguments import PathLike, path_of
from scanward.brief import brief
from scanward.disk import whole_file
from scanward.errors import ArgumentError
from scanward.verdict import Evidence

LEAST = 10
"""Authentic images that a threshold is made from, at least."""
DOUBTS = 2.5
"""Times as often as an alarm, an authentic image may be left in doubt or raise one."""
NEVER = 1 + 1e-9
"""Just above every score."""
LARGEST = 1 << 16
"""Bytes of a site file: no site needs more, and what is larger is none."""
_EDGE = 1e-4


@dataclass(frozen=True)
class Sight:
    """Of forgeries of one size in the site's own images, how many raise an alarm at the shipped thresholds, and how
    many at the site's."""

    mm: float
    forged: int
    before: int
    now: int


@dataclass(frozen=True)
class Site:
    """Thresholds of a site, for the weights they were made with."""

    thresholds: Mapping[str, float]
    """By detector; where it is lower than the shipped one, the shipped one stands."""
    doubts: Mapping[str, float]
    """By detector: scores from here to the threshold are neither."""
    weights_sha256: Mapping[str, str | None]
    images: int
    """Authentic images they come from."""
    false_alarms: float
    """The rate that each detector is to keep to."""
    found: tuple[Sight, ...] = ()
    """What is still found; empty where that was not looked at."""

    __repr__ = brief

    def thresholds_of(self, evidence: Evidence) -> tuple[float, float]:
        """The threshold here, which is never under the shipped one, and where doubt begins; of a detector of a modality
        that the site was not calibrated for, the shipped one and nowhere."""
        if evidence.method not in self.thresholds:
            return evidence.threshold, evidence.threshold
        threshold = max(evidence.threshold, self.thresholds[evidence.method])
        return threshold, min(threshold, self.doubts[evidence.method])

    def check(self, method: str, weights_sha256: str | None) -> None:
        """`ArgumentError` unless this site was calibrated for the detector with these weights."""
        if method not in self.thresholds:
            raise ArgumentError(f"The site file holds no threshold of {method}; it is for the default method.")
        if self.weights_sha256.get(method) != weights_sha256:
            raise ArgumentError(f"The site file was made with other weights of {method} than are installed; run "
                                "`scanward calibrate` again.")

    def to_json(self) -> dict[str, Any]:
        """The object that `scanward calibrate` writes."""
        return {"format": "scanward-site", **asdict(self)}

    def save(self, path: PathLike) -> None:
        """Write the site file that `scan --site` and `read_site` take, in place of what is there; `ArgumentError` where
        it cannot be written."""
        with whole_file(path_of(path, "path")) as file:
            file.write((json.dumps(self.to_json(), indent=1) + "\n").encode())


def site_of(scores: Mapping[str, Sequence[float]], weights_sha256: Mapping[str, str | None], images: int,
            false_alarms: float) -> Site:
    """From each detector's scores of authentic images: its threshold, and doubt from `DOUBTS` times the rate on."""
    if images < LEAST:
        raise ArgumentError(f"Of {images} usable authentic images no threshold can be told; give {LEAST} or more.")
    for name, found in scores.items():
        if len(found) < LEAST:
            raise ArgumentError(f"{name} could judge {len(found)} of the {images} authentic images; give {LEAST} or "
                                "more that it can.")
    return Site({name: threshold_of(found, false_alarms) for name, found in scores.items()},
                {name: threshold_of(found, min(0.49, DOUBTS * false_alarms)) for name, found in scores.items()},
                weights_sha256, images, false_alarms)


def threshold_of(scores: Sequence[float], false_alarms: float) -> float:
    """The score that an authentic image of this kind exceeds with probability `false_alarms` at most.

    With enough images the conformal one (Vovk et al. 2005; the ⌊rate · (n + 1)⌋th largest score), which holds for any
    distribution. With fewer, the upper end of Student's prediction interval of one more logit, and above them all.
    """
    count = len(scores)
    if count < LEAST:
        raise ArgumentError(f"{count} authentic images cannot tell a threshold; give {LEAST} or more.")
    check_rate(false_alarms)
    allowed = int(false_alarms * (count + 1))
    if allowed >= 1:
        return float(np.nextafter(np.sort(scores)[-allowed], 2))
    logits = np.array([math.log(p / (1 - p)) for p in np.clip(scores, _EDGE, 1 - _EDGE)])
    spread = float(logits.std(ddof=1)) * math.sqrt(1 + 1 / count)
    bound = float(logits.mean() + stdtrit(count - 1, 1 - false_alarms) * spread)
    return max(float(1 / (1 + math.exp(-bound))), float(np.nextafter(max(scores), 2)))


def check_rate(false_alarms: float) -> None:
    """`ArgumentError` for what is no rate of false alarms."""
    if not 0 < false_alarms < 0.5:
        raise ArgumentError(f"--false-alarms {false_alarms:g} is not a rate; give one above 0 and below 0.5.")


def read_site(path: PathLike) -> Site:
    """The thresholds in a site file, which `scanward calibrate` and `Site.save` write; `ArgumentError` for what is
    none."""
    path = path_of(path, "path")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        found = json.loads(data) if len(data) <= LARGEST else {}
        if found["format"] != "scanward-site":
            raise ValueError
        thresholds, doubts = ({str(name): float(value) for name, value in found[key].items()}
                              for key in ("thresholds", "doubts"))
        hashes = {str(name): None if value is None else str(value)
                  for name, value in found["weights_sha256"].items()}
        values = (*thresholds.values(), *doubts.values())
        if thresholds.keys() != doubts.keys() or not all(0 <= value <= NEVER for value in values):
            raise ValueError
        sights = tuple(Sight(float(one["mm"]), *(int(one[key]) for key in ("forged", "before", "now")))
                       for one in found.get("found", ()))
        return Site(thresholds, doubts, hashes, int(found["images"]), float(found["false_alarms"]), sights)
    except OSError as error:
        raise ArgumentError(f"The site file {path} cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise ArgumentError(f"{path} is not a site file; make one with `scanward calibrate`.") from None
