"""No alarm is raised in a mammogram for the implant that it shows."""

import dataclasses

import numpy as np

from scanward.image import Image
from scanward.judging.case import Case
from scanward.judging.witnesses import Pixels
from scanward.verdict import Evidence


@dataclasses.dataclass
class Sure:
    """A detector that has made up its mind."""

    score: float
    name: str = "sure"

    def load(self):
        pass

    def detect(self, image):
        return Evidence(self.name, self.score, 0.5, np.ones(image.shape, np.float32), 0.5)


def view(implant, modality="MG"):
    y, x = np.mgrid[:400, :400]
    distance = np.hypot(y - 200, x)
    plane = np.where(distance < 180, 900 + 250 * np.sin(y / 15) * np.cos(x / 20), 0).astype(np.float32)
    if implant:
        plane[distance < 110] = 3000
    return Case(Image(plane[None], modality, spacing=(1.0, 0.1, 0.1), bits=12))


def test_an_alarm_in_a_view_with_an_implant_is_inconclusive_with_the_reason():
    said = Pixels(Sure(0.9)).testify(view(implant=True))
    assert (said.label, said.findings) == ("inconclusive", ()) and not said.heat.any()
    assert said.reason == ("It is a view with an implant, by its looks, and detectors were tested on no such images.")
    assert Pixels(Sure(0.9)).testify(view(implant=False)).label == "tampered"
    assert Pixels(Sure(0.1)).testify(view(implant=True)).label == "authentic", "nothing was to be held back"
