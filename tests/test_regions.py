"""Where findings lie, by hand."""

import numpy as np

from scanward.box import Box
from scanward.regions import hottest, mask_of, outline_in, outline_of, outlines_of, region_of
from scanward.verdict import Evidence, Finding, Verdict


def verdict_of(heats: dict[str, tuple[np.ndarray, float]], findings: tuple[Finding, ...]) -> Verdict:
    evidence = tuple(Evidence(name, 0.9, 0.5, heat, threshold) for name, (heat, threshold) in heats.items())
    together = np.maximum.reduce([heat for heat, _ in heats.values()])
    return Verdict(0.9, 0.5, "tampered", together, findings, evidence, "default", "CT")


def solid() -> tuple[np.ndarray, Finding]:
    """A block, whose upper slice has a single pixel and whose lower has two parts; .3 is the threshold itself."""
    heat = np.zeros((9, 12, 14), np.float32)
    heat[3, 5:8, 6:11] = 0.5
    heat[4, 6, 8] = np.float32(0.3)
    heat[2, 5:8, 6:8] = 0.5
    heat[2, 5:7, 10] = 0.5
    heat[3, 6, 7] = 0.9
    return heat, Finding(Box(2, 5, 6, 5, 8, 11), 0.9, method="a")


def test_a_finding_without_an_outline_is_its_box():
    finding = Finding(Box(0, 3, 2, 1, 9, 5), 0.7)
    assert outline_of(finding).tolist() == [[2, 3], [5, 3], [5, 9], [2, 9]]


def test_an_outline_runs_through_the_centres_of_pixels():
    finding = Finding(Box(0, 3, 2, 1, 9, 5), 0.7, outline=((2, 3), (4, 3), (4, 8)))
    assert outline_of(finding).tolist() == [[2.5, 3.5], [4.5, 3.5], [4.5, 8.5]]


def test_mask_is_each_methods_own_heat_inside_its_findings():
    heat_a, heat_b = np.zeros((2, 4, 6), np.float32), np.zeros((2, 4, 6), np.float32)
    heat_a[1, 1, :] = 0.4
    heat_b[1, :, 4] = 0.7
    findings = (Finding(Box(1, 0, 0, 2, 4, 2), 0.4, method="a"), Finding(Box(0, 0, 3, 2, 4, 6), 0.7, method="b"))
    verdict = verdict_of({"a": (heat_a, 0.4), "b": (heat_b, 0.8)}, findings)
    expected = np.zeros((2, 4, 6), bool)
    expected[1, 1, :2] = True
    assert np.array_equal(mask_of(verdict), expected)
    assert region_of(verdict, findings[1]).shape == (2, 4, 3)
    assert not region_of(verdict, findings[1]).any()
    assert hottest(verdict, findings[1]) == (1, 0, 4)


def test_the_outline_in_a_slice_is_of_the_largest_part_there():
    heat, finding = solid()
    verdict = verdict_of({"a": (heat, 0.3), "b": (np.ones_like(heat), 0.3)}, (finding,))

    def corners(index):
        line = outline_in(verdict, finding, index)
        return None if line is None else sorted(map(tuple, line.tolist()))

    assert corners(1) is None and corners(5) is None
    assert corners(2) == [(6.5, 5.5), (6.5, 7.5), (7.5, 5.5), (7.5, 7.5)]
    assert corners(3) == [(6.5, 5.5), (6.5, 7.5), (10.5, 5.5), (10.5, 7.5)]
    assert corners(4) == [(8, 6), (8, 7), (9, 6), (9, 7)]
    assert hottest(verdict, finding) == (3, 6, 7)
    assert [(z, sorted(map(tuple, line.tolist()))) for z, line in outlines_of(verdict, finding)] == [
        (z, corners(z)) for z in (2, 3, 4)]


def test_what_stays_below_the_threshold_keeps_its_own_outline():
    heat, finding = solid()
    verdict = verdict_of({"a": (heat, 0.95)}, (finding,))
    assert np.array_equal(outline_in(verdict, finding, 4), outline_of(finding))
    assert outline_in(verdict, finding, 5) is None
    assert [z for z, line in outlines_of(verdict, finding) if np.array_equal(line, outline_of(finding))] == [2, 3, 4]
