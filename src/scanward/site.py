"""A site's own thresholds: what its scanners' authentic images say a threshold must be, and no lower than ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from scanward.errors import ArgumentError
from scanward.verdict import Evidence

LEAST = 10
"""Authentic images that a threshold is made from, at least."""
DOUBTS = 2.5
"""Times as often as an alarm, an authentic image may be left in doubt or raise one."""
_EDGE = 1e-4


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

    def thresholds_of(self, evidence: Evidence) -> tuple[float, float | None]:
        """The threshold here, and where doubt begins; `ArgumentError` where other weights gave the evidence."""
        method = evidence.method
        if method not in self.thresholds:
            return evidence.threshold, evidence.doubt
        if self.weights_sha256.get(method) != evidence.weights_sha256:
            raise ArgumentError(f"The site file was made with other weights of {method} than are installed; run "
                                "`scanward calibrate` again.")
        threshold = max(evidence.threshold, self.thresholds[method])
        return threshold, None if evidence.doubt is None else min(threshold, max(evidence.doubt, self.doubts[method]))

    def to_json(self) -> dict[str, Any]:
        """The object that `scanward calibrate` writes."""
        return {"format": "scanward-site", **asdict(self)}


def site_of(scores: Mapping[str, Sequence[float]], weights_sha256: Mapping[str, str | None], images: int,
            false_alarms: float) -> Site:
    """From each detector's scores of authentic images: its threshold, and doubt from `DOUBTS` times the rate on."""
    return Site({name: threshold_of(found, false_alarms) for name, found in scores.items()},
                {name: threshold_of(found, min(0.49, DOUBTS * false_alarms)) for name, found in scores.items()},
                weights_sha256, images, false_alarms)


def threshold_of(scores: Sequence[float], false_alarms: float) -> float:
    """The score that an authentic image of this kind exceeds with probability `false_alarms` at most.

    With enough images the conformal one (Vovk et al. 2005; the ⌊rate · (n + 1)⌋th largest score), which holds for any
    distribution. With fewer, the upper end of Student's prediction interval of one more logit.
    """
    count = len(scores)
    if count < LEAST:
        raise ArgumentError(f"{count} authentic images cannot tell a threshold; give {LEAST} or more.")
    if not 0 < false_alarms < 0.5:
        raise ArgumentError(f"--false-alarms {false_alarms:g} is not a rate; give one above 0 and below 0.5.")
    allowed = int(false_alarms * (count + 1))
    if allowed >= 1:
        return float(np.nextafter(np.sort(scores)[-allowed], 2))
    logits = np.array([math.log(p / (1 - p)) for p in np.clip(scores, _EDGE, 1 - _EDGE)])
    spread = float(logits.std(ddof=1)) * math.sqrt(1 + 1 / count)
    bound = float(logits.mean() + stats.t.ppf(1 - false_alarms, count - 1) * spread)
    return float(1 / (1 + math.exp(-bound)))


def read_site(path: Path) -> Site:
    """A site file; `ArgumentError` for what is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["format"] != "scanward-site":
            raise ValueError
        thresholds, doubts = ({str(name): float(value) for name, value in found[key].items()}
                              for key in ("thresholds", "doubts"))
        hashes = {str(name): None if value is None else str(value)
                  for name, value in found["weights_sha256"].items()}
        if thresholds.keys() != doubts.keys() or not all(0 <= v <= 1 for v in (*thresholds.values(), *doubts.values())):
            raise ValueError
        return Site(thresholds, doubts, hashes, int(found["images"]), float(found["false_alarms"]))
    except OSError as error:
        raise ArgumentError(f"The site file {path} cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ArgumentError(f"{path} is not a site file; make one with `scanward calibrate`.") from None
