"""Small archives, and what a run says of them."""

import json
import os
import sys

import cv2
import numpy as np
from pyarrow import parquet


def noise(path, seed=0, copied=False, side=192):
    """A film of grey noise; `copied` with a region of it that is there twice."""
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 1.5)
    pixels = np.clip(30000 + 8000 * soft / soft.std(), 1000, 64000)
    pixels[:, side - 22:] = 500
    if copied:
        pixels[100:156, 90:146] = pixels[20:76, 10:66]
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.rint(pixels).astype(np.uint16))
    return path


def rows(out):
    """All answers, by the last two names of their paths."""
    parts = sorted((out / "answers").glob("*.parquet"))
    found = [row for part in parts for row in parquet.read_table(part).to_pylist()]
    assert len({row["unit"] for row in found}) == len(found), "each has one answer"
    return {"/".join(row["path"].split("/")[-2:]): row for row in found}


def listed(out):
    """How many units the listing says there are."""
    return json.loads((out / "listing" / "complete").read_text())["units"]


def command(*arguments):
    """The program as a process of its own runs it, and its environment."""
    return ([sys.executable, "-m", "scanward", "archive", *map(str, arguments)],
            os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
