"""Stand-ins that more than one test file uses, and settings for all of them."""

import os

# One thread per process, before anything heavy is imported: tests run side by side, and threads that wait for one
# another on cores that others hold take ten times the time of the work itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from outside import need, need_data

from scanward import cli, methods
from scanward.box import Box
from scanward.judging import witnesses
from scanward.verdict import Evidence, Finding

# The clock of a busy machine says nothing of the code: no example fails for being slow,
# nor for being slow to draw.
settings.register_profile("scanward", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scanward")


def pytest_runtest_setup(item):
    """Skips what asks for programs (`needs("storescu")`) or data (`data("mias")`) that are not there."""
    for mark in item.iter_markers("needs"):
        need(*mark.args)
    for mark in item.iter_markers("data"):
        need_data(*mark.args)


class Bright:
    """A detector whose answer can be told by eye: heat is brightness on a 16-bit scale, 0.8 of it is an alarm."""

    name = "bright"
    weights_sha256 = "ab"
    built = 0

    def __init__(self):
        type(self).built += 1

    def load(self):
        pass

    def detect(self, image):
        heat = np.clip((image.pixels + 1024 * (image.modality == "CT")) / 65535, 0, 1)
        score = float(heat.max())
        _, y, x = np.unravel_index(heat.argmax(), heat.shape)
        finding = Finding(Box(0, int(y), int(x), 1, int(y) + 8, int(x) + 8), score, method=self.name)
        return Evidence(self.name, score, 0.8, heat, 0.8, (finding,), conclusive=score > 0,
                        reason="" if score else "It is black.", weights_sha256=self.weights_sha256)


@pytest.fixture
def bright(monkeypatch):
    """Every detector is `Bright`, so that what is around detectors can be tested without weights."""
    witnesses.detector.cache_clear()
    Bright.built = 0
    real = methods.build
    monkeypatch.setattr(methods, "build", lambda name, kind, **options: Bright() if kind == "detector"
                        else real(name, kind, **options))
    yield Bright
    witnesses.detector.cache_clear()


@pytest.fixture
def run(capsys):
    """Runs a command; its exit code, what it printed and what it complained of."""

    def _run(*arguments):
        code = cli.run([str(a) for a in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return _run


@pytest.fixture
def key(run, tmp_path):
    """A site's key, as the command makes it."""
    assert run("key", tmp_path / "site.key")[0] == 0
    return tmp_path / "site.key"


@pytest.fixture
def old(tmp_path):
    """A folder of images that an earlier version wove into, with their records; see the README in it."""
    return Path(shutil.copytree(Path(__file__).parent / "protection" / "old", tmp_path / "old"))
