"""What sealing costs beside reading the same image: ratios in one run.

Usage: python benchmarks/seal.py PATH... [--repeat 3]
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scanward import formats
from scanward.formats.sources import series_or_file
from scanward.seals.files import read_seal, seal_file, verify_seal
from scanward.seals.signing import signer_of


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    site = signer_of(secrets.token_bytes(32))
    print("| image | voxels | read, s | seal | verify | seal, kB |\n|---|---|---|---|---|---|")
    for path in given.paths:
        source = series_or_file(path)
        shape = formats.read(source).shape
        rows = []
        for _ in range(given.repeat):
            with tempfile.TemporaryDirectory() as folder:
                made = seconds(lambda: seal_file(source, site, Path(folder)))  # noqa: B023
                (seal,) = Path(folder).iterdir()
                checked = seconds(lambda: verify_seal(source, read_seal(seal), [site.certificate]))  # noqa: B023
                rows.append((seconds(lambda: formats.read(source)), made, checked,  # noqa: B023
                             seal.stat().st_size / 1000))
        read, made, checked, size = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {path.name} | {' x '.join(map(str, shape))} | {read:.2f} | {made / read:.2f} x | "
              f"{checked / read:.2f} x | {size:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
