"""Whether a scan ends: many of them in fresh processes, two at a time, and how many did not within the limit.

    python benchmarks/fresh_scans.py [--count 300] [--timeout 60]

A hang among threads as libraries are imported is rare and shows in fresh processes only. Prints one line; exit code 1
where one scan hung or failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from scanward.metrics import wilson

AT_ONCE = 2
EVERY = 25
"""Scans between two lines that say how far it is."""


def film(path: Path, rows: int = 512, columns: int = 384) -> Path:
    """A 16-bit phantom: half an ellipse of grain and slow structure at the left edge, black elsewhere."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:rows, :columns] / np.array([rows, columns])[:, None, None]
    inside = ((y - 0.5) / 0.42) ** 2 + (x / 0.8) ** 2 < 1
    slow = cv2.GaussianBlur(rng.normal(size=(rows, columns)), (0, 0), 20) * 60000
    plane = np.where(inside, 30000 + slow + rng.normal(size=(rows, columns)) * 400, 500)
    if not cv2.imwrite(str(path), np.clip(plane, 0, 65535).astype(np.uint16)):
        raise OSError(f"{path} cannot be written.")
    return path


def ended(path: Path, timeout: float, _: int = 0) -> str:
    """`ended`, `hung` or `failed`: one scan in a process of its own, which does not outlive this call."""
    process = subprocess.Popen([sys.executable, "-m", "scanward", "scan", "-q", str(path)], start_new_session=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    try:
        return "ended" if process.wait(timeout) in (0, 1) else "failed"  # 1: called tampered
    except subprocess.TimeoutExpired:
        return "hung"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # children, too: they may hang in its place
            process.wait()


def main() -> int:
    """Counts, and says it in one line."""
    parser = argparse.ArgumentParser(description="Scans in fresh processes: how many do not end?")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one scan")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        scan = partial(ended, film(Path(folder) / "film.png"), args.timeout)
        counts: Counter[str] = Counter()
        for number, outcome in enumerate(pool.map(scan, range(args.count)), 1):
            counts[outcome] += 1
            if number % EVERY == 0:
                print(f"{number} scans, {counts['hung']} hung", file=sys.stderr, flush=True)
    low, high = wilson(counts["hung"], args.count)
    print(f"{counts['hung']} of {args.count} scans did not end within {args.timeout:g} s ({100 * low:.1f}–"
          f"{100 * high:.1f} %); {counts['failed']} failed.")
    return 1 if counts["hung"] or counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
