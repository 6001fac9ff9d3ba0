"""What sealing costs beside reading the same image: ratios in one run.

Usage: python benchmarks/seal.py PATH... [--repeat 3]

The exact part, made and checked; the reduced copy, made, and held to the image after JPEG 2000 at 10:1; and DCMTK's
`dcmsign`, where it is installed, over the same DICOM files.
"""

from __future__ import annotations

import argparse
import dataclasses
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from seal_treatments import jpeg2000

from scanward import formats
from scanward.formats import Source
from scanward.formats.content import read_content
from scanward.formats.sources import series_or_file
from scanward.seals.check import check
from scanward.seals.copies import copy_of, copy_path, write_copy
from scanward.seals.files import read_seal, seal_file, verify_seal
from scanward.seals.signing import signer_of


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def copy(path: Path, seal: Path, target: Path, master: bytes) -> None:
    write_copy(read_content(series_or_file(path)), read_seal(seal), target, master)


def dcmsign(source: Source) -> float | None:
    """Seconds to sign every file of an image; None without `dcmsign`, and for other files than DICOM."""
    program = shutil.which("dcmsign")
    if program is None or source.paths[0].suffix != ".dcm":
        return None
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder) / "key.pem", Path(folder) / "crt.pem"
        subprocess.run([shutil.which("openssl") or "openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-subj",
                        "/CN=Bench", "-days", "9", "-keyout", key, "-out", certificate], check=True,
                       capture_output=True)
        return seconds(lambda: [subprocess.run(
            [program, "--sign", key, certificate, path, Path(folder) / "signed.dcm"], check=True, capture_output=True)
            for path in source.paths])


def held(source: Source, seal: Path, master: bytes) -> float:
    """Seconds to hold the image to its copy once it was encoded anew, reading left out."""
    content, kept = read_content(source), read_seal(seal)
    values = jpeg2000(10)(content.values).astype(np.int16)
    anew = dataclasses.replace(content, values=values)
    return seconds(lambda: check(anew, kept, [kept.certificate],
                                 copy=lambda: copy_of(kept, [seal.parent], [master])))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    master = secrets.token_bytes(32)
    site = signer_of(master)
    print("| image | voxels | read, s | seal | verify | seal, kB | dcmsign | copy, s | copy, MB | held, s |\n"
          "|---|---|---|---|---|---|---|---|---|---|")
    for path in given.paths:
        source = series_or_file(path)
        shape = formats.read(source).shape
        with tempfile.TemporaryDirectory() as folder:
            rows = []
            for number in range(given.repeat):
                target = Path(folder) / str(number)
                target.mkdir()
                made = seconds(lambda: seal_file(source, site, target))  # noqa: B023
                (seal,) = target.iterdir()
                checked = seconds(lambda: verify_seal(source, read_seal(seal), [site.certificate]))  # noqa: B023
                rows.append((seconds(lambda: formats.read(source)), made, checked,  # noqa: B023
                             seal.stat().st_size / 1000))
            read, made, checked, size = (statistics.median(column) for column in zip(*rows, strict=True))
            signed, kept = dcmsign(source), copy_path(seal)
            copied = seconds(lambda: copy(path, seal, kept, master))  # noqa: B023
            print(f"| {path.name} | {' x '.join(map(str, shape))} | {read:.2f} | {made / read:.2f} x | "
                  f"{checked / read:.2f} x | {size:.0f} | {'' if signed is None else f'{signed / read:.1f} x'} | "
                  f"{copied:.0f} | {kept.stat().st_size / 1e6:.1f} | {held(source, seal, master):.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
