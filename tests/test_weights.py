"""Weights: what ships is what the manifest says, and nothing else loads."""

import numpy as np
import pytest

from scanward import weights
from scanward.datasets.thorax import SCANS
from scanward.errors import WeightsError
from scanward.methods import METHODS
from scanward.training.finish import ship


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    weights.manifest.cache_clear()
    ship("mine", {"a": np.arange(3.0)}, {"threshold": 0.25, "slopes": [1.0, 2.0]}, "scanward train mine", tmp_path)
    ship("yours", {"b": np.zeros((2, 2), np.float32)}, {"threshold": 0.75}, 'say "hello"', tmp_path)
    yield tmp_path
    weights.manifest.cache_clear()


def test_what_was_shipped_loads_again(shipped):
    arrays, entry = weights.load("mine", shipped)
    assert arrays["a"].tolist() == [0, 1, 2]
    assert entry.settings == {"threshold": 0.25, "slopes": [1.0, 2.0]}
    assert weights.entry("yours").command == 'say "hello"'
    assert weights.entry("mine").licence


def test_a_changed_file_is_refused(shipped):
    path = shipped / "mine.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="not the ones the manifest promises"):
        weights.load("mine", shipped)


def test_missing_weights_say_so(shipped):
    (shipped / "yours.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.load("yours", shipped)
    with pytest.raises(WeightsError, match="no weights called"):
        weights.load("theirs", shipped)


@pytest.mark.parametrize("name", sorted({name for method in METHODS for name in method.weights}))
def test_every_method_ships_its_weights_whole(name):
    arrays, entry = weights.load(name)
    assert arrays
    licences = {"mini-MIAS": "mini-MIAS: research use only", "CBIS-DDSM": "CBIS-DDSM: CC BY 3.0", "LIDC": "LIDC-IDRI",
                "cptac": "CPTAC-LSCC: CC BY 4.0", "lung-fused": "Lung-Fused-CT-Pathology"}
    named = [licence for data, licence in licences.items() if data in entry.trained_on]
    named += [row.source.partition(":")[0] for row in SCANS if row.name in entry.trained_on]
    assert named and all(licence in entry.licence for licence in named)
    assert (weights.FOLDER / entry.file).stat().st_size == entry.size
