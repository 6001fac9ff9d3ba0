"""The published method: its scores, its dense pass, its heat map."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanward import weights
from scanward.detectors.forensic_transfer import ForensicTransfer, ForensicTransferHighpass
from scanward.detectors.forensic_transfer.detect import classify, heat_of, matrix_of, prepare
from scanward.errors import WeightsError
from scanward.image import Image
from scanward.verdict import Evidence

KINDS = [ForensicTransfer, ForensicTransferHighpass]


def shipped(kind):
    try:
        weights.entry(kind.weights_name)
    except WeightsError:
        pytest.skip(f"{kind.weights_name} does not ship")
    return kind()


def film(height, width, seed, level=120.0):
    """Smooth tissue with grain, in 8 bits."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    tissue = level + 60 * np.sin(y / 37) * np.cos(x / 53) + rng.normal(0, 3, (height, width))
    return np.clip(np.rint(tissue), 0, 255).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(height=st.integers(40, 700), width=st.integers(40, 500), seed=st.integers(0, 9))
def test_the_dense_pass_equals_the_tile_loop_on_trained_weights(kind, height, width, seed):
    detector = shipped(kind)
    canvas, _ = prepare(film(height, width, seed))
    dense, tiled = detector.scores(canvas), detector.scores_tiled(canvas)
    assert dense.shape == (61, 61)
    assert np.array_equal(np.isnan(dense), np.isnan(tiled))
    assert np.nanmax(np.abs(dense - tiled), initial=0) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_over_4096_pixels_grows_the_canvas(kind):
    detector = shipped(kind)
    plane = np.zeros((4200, 300), np.float32)
    plane[3600:] = film(600, 300, 1)
    canvas, (y, _) = prepare(plane)
    assert canvas.shape == (4224, 4096)
    assert y == 12
    dense, tiled = detector.scores(canvas), detector.scores_tiled(canvas)
    assert np.nanmax(np.abs(dense - tiled)) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_torch_and_openvino_agree(kind, monkeypatch):
    monkeypatch.setenv("SCANWARD_PRECISION", "f32")
    canvas, _ = prepare(film(500, 400, 2))
    fast = shipped(kind).scores(canvas)
    monkeypatch.setenv("SCANWARD_ENGINE", "torch")
    assert np.nanmax(np.abs(shipped(kind).scores(canvas) - fast)) <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_tile_of_the_loop_is_the_network_of_training(kind, monkeypatch):
    import torch

    from scanward.detectors.forensic_transfer.detect import network_input
    from scanward.detectors.forensic_transfer.network import ForensicTransferNet

    monkeypatch.setenv("SCANWARD_PRECISION", "f32")
    detector = shipped(kind)
    arrays, _ = weights.load(kind.weights_name)
    net = ForensicTransferNet(2 if kind.highpass else 1).eval()
    net.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items() if not k.startswith("classifier.")})
    canvas, _ = prepare(film(512, 512, 3))
    y = x = 1920
    tile = network_input(canvas, (y, y + 256, x, x + 256), kind.highpass)
    with torch.inference_mode():
        score, decoded = net(torch.from_numpy(tile)[None])
    assert float(score) == pytest.approx(float(detector.scores(canvas)[30, 30]), abs=1e-4)
    assert decoded.shape == (1, *tile.shape)


def test_numpy_classifier_equals_the_torch_one():
    import torch

    from scanward.detectors.forensic_transfer.network import MatrixClassifier

    torch.manual_seed(0)
    net = MatrixClassifier().eval()
    arrays = {f"classifier.{k}": v.numpy() for k, v in net.state_dict().items()}
    matrix = np.random.default_rng(0).uniform(0, 1, (61, 61)).astype(np.float32)
    with torch.inference_mode():
        expected = torch.sigmoid(net(torch.from_numpy(matrix)[None, None]))
    assert classify(matrix, arrays) == pytest.approx(float(expected), abs=1e-6)


def test_heat_is_the_mean_of_the_tiles_that_cover_a_place():
    scores = np.full((61, 61), np.nan, np.float32)
    scores[10, 10] = 0.8
    scores[10, 11] = 0.4
    heat = heat_of(scores, (4096, 4096), (0, 0), (4096, 4096))
    centre = heat[10 * 64 + 128, 11 * 64 + 160]
    assert centre == pytest.approx(0.6, abs=5e-3), "both tiles cover this cell"
    assert heat[0, 0] == 0
    assert heat[10 * 64 + 32, 10 * 64 + 32] == pytest.approx(0.8, abs=0.01), "only the first tile covers this one"


def test_a_larger_score_matrix_is_max_pooled():
    scores = np.zeros((70, 61), np.float32)
    scores[69, 60] = 0.9
    pooled = matrix_of(scores)
    assert pooled.shape == (61, 61)
    assert pooled[-1, -1] == np.float32(0.9)
    assert np.count_nonzero(pooled) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_black_film_is_inconclusive(kind):
    evidence: Evidence = shipped(kind).detect(Image(np.zeros((1, 300, 300), np.float32), "MG", bits=8))
    assert evidence.label == "inconclusive"
    assert evidence.reason
