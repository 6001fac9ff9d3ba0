"""What calcifications are like, by morphology, in millimetres.

Names, sizes and distributions are those of the ACR BI-RADS Atlas, 5th edition (2013), Mammography, section C,
"Calcifications": suspicious are amorphous, fine pleomorphic (below 0.5 mm) and fine linear or fine-linear branching
(thinner than 0.5 mm, along ducts) ones; punctate ones (below 0.5 mm) are probably benign where they are grouped, and
watched. Typically benign are coarse or "popcorn-like" ones (above 2 to 3 mm) and rims (a deposit on the surface of a
sphere, less than 1 mm thick). A group is at least five within 1 cm. What lies between these bounds was chosen by eye.
"""

from __future__ import annotations

from dataclasses import dataclass

GROUPED, LINEAR, SEGMENTAL, SINGLE = "grouped", "linear", "segmental", "single"
FEWEST = 5
"""Calcifications of a group."""
MOST = 70


@dataclass(frozen=True)
class Kind:
    """One morphology; pairs are the least and the most, drawn for each calcification unless said otherwise."""

    share: float
    """How often it is drawn where none is named."""
    width: tuple[float, float]
    """Mm; the logarithm is drawn evenly, since small ones are more."""
    longer: tuple[float, float]
    """Length over width, of those that lie along no duct."""
    rough: float
    """How far the outline wanders, in half widths."""
    depth: tuple[float, float]
    """Along the rays, in widths."""
    dome: float
    """Power of the depth towards the outline: 1/2 is a sphere's, 2 is hazy."""
    dense: tuple[float, float]
    """What a millimetre adds, of the film's range from black to white; drawn once for all."""
    each: tuple[float, float]
    """Share of that."""
    crowd: tuple[float, float]
    """How many a mm² of their ellipse; drawn once."""
    spread: tuple[float, float, float]
    """How often they are grouped, linear, segmental."""


GROUPS = {
    "punctate": Kind(0.2, (0.18, 0.48), (1.0, 1.25), 0.12, (0.7, 1.0), 0.5, (0.70, 1.50), (0.6, 1.0), (0.10, 0.35),
                     (0.9, 0.0, 0.1)),
    "amorphous": Kind(0.25, (0.25, 0.50), (1.0, 1.7), 0.30, (0.5, 0.8), 1.5, (0.60, 1.00), (0.5, 1.0), (0.40, 1.00),
                      (0.7, 0.0, 0.3)),
    "fine-pleomorphic": Kind(0.35, (0.14, 0.48), (1.0, 2.4), 0.40, (0.6, 1.1), 0.6, (0.80, 1.70), (0.4, 1.0),
                             (0.15, 0.50), (0.6, 0.2, 0.2)),
    "fine-linear": Kind(0.2, (0.13, 0.28), (1.0, 2.0), 0.30, (0.8, 1.2), 0.5, (0.90, 1.70), (0.6, 1.0), (0.10, 0.30),
                        (0.0, 0.5, 0.5)),
}
"""Drawn where no morphology is named. What a millimetre adds was chosen by eye, and is of physics' order: at 20 keV
calcium minerals attenuate some 6 to 17 /cm more than tissue, fat and gland differ by about 0.35 /cm, and 4 cm of that
make half of a film's range, so that a mm of mineral adds 0.2 to 0.6 of it; films processed for presentation show fine
detail with more contrast than that."""
BENIGN = ("popcorn", "rim")
"""One coarse calcification each, for readers' controls."""
MORPHOLOGIES = (*GROUPS, *BENIGN)
