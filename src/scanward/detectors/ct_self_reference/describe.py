"""What is odd about a finding, in words."""

from __future__ import annotations

from scanward.box import told
from scanward.detectors.ct_self_reference.kind import KINDS, facts_of, kind_of
from scanward.detectors.ct_self_reference.reference import Reference
from scanward.image import Image
from scanward.verdict import Finding

CALM, LOUD = 0.85, 1.2
"""Noise below and above which it differs from what was expected."""


def described(image: Image, reference: Reference, finding: Finding) -> str:
    """How a finding's noise compares with what this scan has at such places and, where that and its density tell, what
    seems to have been done, in a sentence."""
    z0, y0, x0, z1, y1, x1 = finding.box
    place = told((z0 + z1) // 2, (y0 + y1) // 2, (x0 + x1) // 2)
    facts = facts_of(image, reference, finding.box)
    what = "less noise" if facts.fine < CALM else "more noise" if facts.fine > LOUD else "noise of another kind"
    kind = kind_of(facts)
    return (f"About {place} there is {what} than at like places of this scan, {facts.fine:.1f} times as "
            f"much{'; ' + KINDS[kind] if kind else ''}.")
