"""Pictures of volumes, held against a ball whose place and size are known."""

import base64
import re

import chest_cases
import cv2
import numpy as np
import pytest
from chest_cases import CENTRE, RADIUS, SHAPE, SPACING, ball, chest, verdict
from hypothesis import given
from hypothesis import strategies as st

from scanward.box import Box
from scanward.image import Image
from scanward.report.heat import FOUND
from scanward.report.html import Case, write_report
from scanward.report.montage import montage, shown_slices, summary
from scanward.report.planes import finding_planes, planes_through
from scanward.verdict import Finding

SIDE, REACH = 240, 30.0


def extent(picture: np.ndarray) -> tuple[float, ...]:
    """Height, width, and row and column of the middle of what is bright."""
    rows, columns = np.nonzero(picture > -450)
    return float(np.ptp(rows) + 1), float(np.ptp(columns) + 1), float(rows.mean()), float(columns.mean())


def test_a_ball_is_round_in_every_plane_and_in_its_middle():
    planes = planes_through(chest(), CENTRE, REACH, SIDE)
    assert [plane.title for plane in planes] == ["axial", "coronal", "sagittal"]
    for plane in planes:
        height, width, row, column = extent(plane.cut(chest().pixels))
        assert (height, width) == pytest.approx([2 * RADIUS * SIDE / (2 * REACH)] * 2, abs=7)
        assert (row, column) == pytest.approx([(SIDE - 1) / 2] * 2, abs=1)


@pytest.mark.parametrize(("up", "above"), [(1.0, True), (-1.0, False)])
def test_the_head_is_up(up, above):
    """Slices that ascend to the feet are turned, those that ascend to the head are not."""
    image = chest(to_world=((SPACING[2], 0, 0, 0), (0, SPACING[1], 0, 0), (0, 0, up * SPACING[0], 0)))
    marker = np.zeros(SHAPE, np.float32)
    marker[CENTRE[0] + 8, CENTRE[1], CENTRE[2]] = 1
    for plane in planes_through(image, CENTRE, REACH, SIDE)[1:]:
        row, column = np.unravel_index(plane.cut(marker).argmax(), (SIDE, SIDE))
        assert (row < SIDE / 2) == above
        assert column == pytest.approx(SIDE / 2, abs=2)


def test_planes_are_named_by_how_they_lie_in_the_patient():
    sagittal = chest(to_world=((0, 0, 2.0, 0), (0.8, 0, 0, 0), (0, -0.5, 0, 0)))
    assert [p.title for p in planes_through(sagittal, CENTRE, REACH, SIDE)] == ["sagittal", "axial", "coronal"]


def blue(picture: np.ndarray) -> np.ndarray:
    return (np.abs(picture.astype(int) - FOUND).max(axis=2) < 30)


def test_the_region_of_a_finding_is_outlined_in_each_plane():
    heat, finding = ball(CENTRE, 6.0, 0.8)
    picture = finding_planes(chest(), verdict(heat, [finding]), finding, side=SIDE)
    panels = [picture[30:30 + SIDE, 8 + i * (SIDE + 8):][:, :SIDE] for i in range(3)]
    for panel in panels:
        rows, columns = np.nonzero(blue(panel))
        # Six millimetres each way at four pixels a millimetre; in z a voxel is eight pixels.
        assert (np.ptp(rows), np.ptp(columns)) == pytest.approx((48, 48), abs=10)
        assert (rows.mean(), columns.mean()) == pytest.approx((SIDE / 2, SIDE / 2), abs=4)
        assert not blue(panel)[SIDE // 2 - 4:SIDE // 2 + 4, SIDE // 2 - 4:SIDE // 2 + 4].any()
    low = finding_planes(chest(), verdict(heat, [finding], threshold=0.9), finding, side=SIDE)
    assert blue(low).sum() > blue(picture).sum(), "the box around what stays below the threshold"


def test_a_large_finding_is_shown_whole():
    heat, finding = ball(CENTRE, 25.0, 0.8)
    picture = finding_planes(chest(), verdict(heat, [finding]), finding, side=SIDE)
    panel = picture[30:30 + SIDE, 8:8 + SIDE]
    assert not blue(panel)[0].any() and not blue(panel)[:, 0].any() and blue(panel).any()


def test_a_finding_at_the_edge_of_the_volume_has_its_planes():
    heat, finding = ball((0, 0, SHAPE[2] - 1), 6.0, 0.8)
    assert finding_planes(chest(), verdict(heat, [finding]), finding, side=SIDE).shape == (278, 752, 3)


def test_the_montage_shows_slices_of_every_finding_the_hottest_first():
    heats, found = zip(*(ball((z, 90, 50), 4.0, 0.8) for z in (5, 20, 33)), strict=True)
    shown = shown_slices(verdict(np.maximum.reduce(heats), found))
    assert {5, 20, 33} <= set(shown) and len(shown) == 12 and shown == sorted(set(shown))
    assert all(any(f.box.z0 <= z < f.box.z1 for f in found) for z in shown)
    assert all(sum(f.box.z0 <= z < f.box.z1 for z in shown) >= 3 for f in found)
    assert shown_slices(verdict(np.maximum.reduce(heats), found), most=2) == [5, 20]


@given(depth=st.integers(2, 400), spans=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 60)), max_size=40),
       most=st.integers(1, 15))
def test_slices_in_a_montage_are_few_and_exist(depth, spans, most):
    starts = [(min(depth - 1, int(part * depth)), length) for part, length in spans]
    found = [Finding(Box(z, 0, 0, min(depth, z + length), 2, 2), 0.5) for z, length in starts]
    heat = np.zeros((depth, 2, 2), np.float32)
    for f in found:
        heat[f.box.slices] += 0.01
    shown = shown_slices(verdict(heat, found), most)
    assert shown == sorted(set(shown)) and 0 < len(shown) <= most
    assert all(0 <= z < depth for z in shown)
    if found:
        assert all(any(f.box.z0 <= z < f.box.z1 for f in found) for z in shown)
    else:
        assert len(shown) == min(most, depth)
        assert max(np.diff(shown), default=0) <= -(-depth // len(shown))


def tiles(picture: np.ndarray, side: int) -> list[np.ndarray]:
    rows, columns = picture.shape[0] // (side + 38), (picture.shape[1] - 8) // (side + 8)
    return [picture[r * (side + 38) + 30:, 8 + c * (side + 8):][:side, :side] for r in range(rows)
            for c in range(columns)]


def test_each_tile_of_the_montage_is_its_slice_with_heat_and_outline():
    heat, finding = ball(CENTRE, 6.0, 0.8)
    answer = verdict(heat, [finding])
    made = montage(chest(), answer, side=160)
    shown = shown_slices(answer)
    assert len(tiles(made, 160)) == 8 and len(shown) == finding.box.size[0] == 7
    outlined = [int(blue(tile).sum()) for tile in tiles(made, 160)]
    assert all(outlined[:7]) and not outlined[7]
    middle = shown.index(CENTRE[0])
    assert outlined[middle] > outlined[0]
    y, x = CENTRE[1], CENTRE[2] + (160 - 120) // 2
    hot = [tile[y, x].astype(int) for tile in tiles(made, 160)[:7]]
    assert hot[middle][0] - hot[middle][2] > 100, "inferno is orange where it is hot"


def test_a_summary_of_a_film_is_its_overlay_and_of_a_volume_its_montage():
    heat, finding = ball(CENTRE, 6.0, 0.8)
    assert summary(chest(), verdict(heat, [finding])).shape[1] > 900
    film = Image(np.zeros((1, 120, 100), np.float32), "MG")
    assert summary(film, verdict(np.zeros(film.shape, np.float32))).shape == (480, 400, 3)


def pictures(path) -> list[np.ndarray]:
    found = re.findall(r'<img class="slices" src="data:image/jpeg;base64,([^"]+)"', path.read_text())
    return [cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_COLOR) for one in found]


def test_a_report_says_where_in_voxels_and_millimetres_and_shows_planes_and_slices(tmp_path):
    path = write_report([chest_cases.case()], tmp_path / "r.html", "T")
    words = " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<style>.*?</style>", "", path.read_text())).split())
    box = chest_cases.case().verdict.findings[0].box
    z, y, x = box.size
    assert f"{x} × {y} × {z} voxels, centre" in words and "voxels deep" in words and "mm deep" in words
    assert f"slices {box.z0 + 1} to {box.z1} of 40" in words
    assert f"{box.x0}, {box.y0} to {box.x1}, {box.y1} " in words
    assert "Box in voxels (x, y)" in words and "Box in pixels" not in words
    assert f"40 slices; slice {CENTRE[0] + 1} is shown" in words
    overview, planes = pictures(path)
    assert overview.shape[1] > 900 and planes.shape[1] > 800


def test_a_report_of_many_slices_and_findings_stays_moderate(tmp_path):
    """Noise is the worst that a picture can hold."""
    numbers = np.random.default_rng(0)
    image = Image(numbers.normal(-600, 300, (300, 128, 128)).astype(np.float32), "CT", (1.0, 0.7, 0.7))
    heat = numbers.random(image.shape, np.float32)
    found = [Finding(Box(10 * i, 20, 20, 10 * i + 8, 60, 60), 0.9, method="ct-self-reference") for i in range(30)]
    path = write_report([Case("noise", image, verdict(heat, found))], tmp_path / "r.html", "T")
    assert len(pictures(path)) == 1 + 6
    assert path.stat().st_size < 3_000_000


def test_nothing_found_is_shown_at_even_steps(tmp_path):
    path = write_report([Case("a", chest(), verdict(np.zeros(SHAPE, np.float32)))], tmp_path / "r.html", "T")
    assert "Slices at even steps" in path.read_text() and len(pictures(path)) == 1
