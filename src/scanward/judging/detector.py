"""A method of `scanward scan` as one detector, for benches, which run detectors."""

from __future__ import annotations

from scanward import methods, weights
from scanward.detectors.base import Detector
from scanward.image import Image
from scanward.judging.case import Case
from scanward.judging.judge import MIDDLE, judge
from scanward.judging.witnesses import detector, names_of
from scanward.verdict import Evidence


class Combined:
    """What a plain scan answers."""

    name = methods.DEFAULT

    def load(self) -> None:
        """Load every detector."""
        for name in names_of():
            detector(name).load()

    def detect(self, image: Image) -> Evidence:
        """The combined verdict as evidence."""
        verdict = judge(Case(image))
        judged = verdict.label != "inconclusive" or verdict.doubtful
        return Evidence(self.name, verdict.score, verdict.threshold, verdict.heat, MIDDLE, verdict.findings, judged,
                        verdict.reason, verdict.weights_sha256, verdict.seconds)


def one_detector(method: str = methods.DEFAULT) -> Detector:
    """`method` as one detector."""
    return Combined() if method == methods.DEFAULT else detector(method)


def thresholds(method: str = methods.DEFAULT) -> tuple[float, float]:
    """(image, heat) thresholds of a method, both fixed on the validation split."""
    names = methods.find(method, "detector").weights if method != methods.DEFAULT else ()
    if not names:
        return MIDDLE, MIDDLE
    settings = weights.entry(names[0]).settings
    return float(settings["threshold"]), float(settings["heat_threshold"])
