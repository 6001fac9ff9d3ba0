"""Ctrl+C while worker processes forge the pairs of a bank: a terminal interrupts the whole process group."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from scanward.training.bank import Bank

SCRIPT = """
import signal, sys
from scanward import cli
from scanward.training import self_reference
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has jobs ignore it
self_reference.cbis = lambda split: []
print("ready", flush=True)
sys.exit(cli.run(["train", "self-reference", "--data", sys.argv[1], "-o", sys.argv[2]]))
"""


@pytest.fixture
def data(tmp_path):
    """A data folder with films to forge in."""
    folder = tmp_path / "data" / "mias"
    (folder / "images").mkdir(parents=True)
    y, x = np.mgrid[:600, :560]
    breast = np.hypot(y - 300, x) < 420
    with (folder / "annotations.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["film", "patient", "split", "tissue", "class", "severity", "x", "y", "radius"])
        for number in range(6):
            noise = np.random.default_rng(number).normal(0, 2, y.shape)
            plane = np.where(breast, 110 + 40 * np.sin(y / 40) * np.cos(x / 31) + noise, 2)
            assert cv2.imwrite(str(folder / "images" / f"f{number}.png"), np.rint(plane).clip(0, 255).astype(np.uint8))
            rows.writerow([f"f{number}", number, "train", "F", "NORM", "", "", "", ""])
    return folder.parent


def importing(pid):
    """Whether a process that this one spawned has begun to import what its work needs."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            loaded = Path(f"/proc/{child}/maps").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "numpy" in loaded:
            return True
    return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for children in /proc")
@pytest.mark.parametrize("when", ["the workers start", "pairs are there"])
def test_an_interrupt_keeps_the_pairs_and_shows_no_traceback(data, tmp_path, when):
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", SCRIPT, data, out], start_new_session=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        about, end = out / "bank-1200" / "about.jsonl", time.monotonic() + 180
        try:
            while not (importing(process.pid) if when == "the workers start" else about.is_file() and
                       about.read_text()):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)
            _, error = process.communicate(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "Traceback" not in error and "KeyboardInterrupt" not in error
    assert error.rstrip().endswith("and the same command goes on with it.")
    if when == "pairs are there":
        bank = Bank(out / "bank-1200")
        assert len(bank) >= 1
        assert (bank.planes[0, 0] != bank.planes[0, 1]).any()
