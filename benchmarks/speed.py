"""How fast scanning is, as ratios within one run: on one 4096×4096 16-bit mammogram, and on one chest CT.

    python benchmarks/speed.py [--only film|chest] [--chest NAME]

Prints: the published network's tile loop (one tile at a time) against its dense pass; the whole default scan, reading
included, against decoding the same file; where the scan's time goes; the floor that this machine's matrix
multiplication sets; and the peak memory of a scan in a process of its own. Of the chest, a scan of the data folder:
reading its files, judging it, and the parts of that, in seconds of the clock and of processors, where the second tell
more while others use the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from scanward import formats
from scanward.anatomy.airways import lungs_alone
from scanward.anatomy.breast import breast_mask
from scanward.bench.tables import table
from scanward.datasets.films import cbis
from scanward.datasets.thorax import place_of
from scanward.detectors.copy_move import CopyMove
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.detectors.ct_self_reference.detect import dense_logits, features_of, heat_of
from scanward.detectors.ct_self_reference.reference import measure as ct_measure
from scanward.detectors.forensic_transfer import ForensicTransfer
from scanward.detectors.forensic_transfer.detect import prepare
from scanward.detectors.self_reference import SelfReference
from scanward.detectors.self_reference.local import measure
from scanward.image import Image
from scanward.judging.case import Case
from scanward.judging.judge import judge
from scanward.judging.scan import scan
from scanward.modality import MODALITIES

SIDE = 4096
MEMORY = ("import re, sys, scanward; scanward.scan(sys.argv[1]); "
          "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)")
"""Not `getrusage`, whose maximum a process inherits from the one that started it."""
SELF_REFERENCE_FLOP = 21_600
FORENSIC_FLOP = 2_450
"""Multiply-adds counted twice, a pixel of the input; from the layers' shapes."""


def best(call: Callable[[], object], times: int) -> float:
    """The least seconds of several calls, after one that warms up."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def film(folder: Path) -> Path:
    """A real film at 4096×4096, 16 bits, as a lossless JPEG 2000 DICOM."""
    from pydicom import dcmread
    from pydicom.uid import JPEG2000Lossless

    host: Image = cbis("test")[0].read()
    plane = host.with_plane(cv2.resize(host.plane, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)).plane
    path = folder / "film.dcm"
    data = dcmread(str(host.provenance.path))
    data.Rows = data.Columns = SIDE
    data.compress(JPEG2000Lossless, plane.astype(np.uint16))
    data.save_as(path)
    return path


def both(call: Callable[[], object], times: int) -> tuple[float, float]:
    """The least seconds of several calls, by the clock and of all processors together, after one that warms up."""
    call()
    found = []
    for _ in range(times):
        start, used = time.perf_counter(), time.process_time()
        call()
        found.append((time.perf_counter() - start, time.process_time() - used))
    return min(wall for wall, _ in found), min(used for _, used in found)


def chest(path: Path, times: int) -> str:
    """A chest CT's reading, its judging, and the parts of that."""
    image = formats.read(formats.one_source(path))
    spacing = image.spacing or (1.0, 1.0, 1.0)
    detector, lungs = CtSelfReference(), lungs_alone(image)
    reference = ct_measure(image.pixels, lungs, spacing)
    if reference is None:
        raise SystemExit(f"{path.name} holds too little noise to be judged; name another scan.")
    logits = dense_logits(image, lungs, reference, detector.infer)
    parts: dict[str, Callable[[], object]] = {
        "reading": lambda: formats.read(formats.one_source(path)),
        "judging": lambda: judge(Case(image)),
        "finding the lungs": lambda: lungs_alone(image),
        "measuring the reference": lambda: ct_measure(image.pixels, replace(lungs), spacing),
        "the network": lambda: dense_logits(image, lungs, reference, detector.infer),
        "what it is given": lambda: dense_logits(image, lungs, reference, lambda planes, _: planes[0, ::2, ::2]),
        "features": lambda: features_of(logits, spacing),
        "heat": lambda: heat_of(logits, image, {}),
    }
    seconds = {name: both(call, times) for name, call in parts.items()}
    wall, used = seconds["reading"]
    rows = [[name, f"{a:.2f}", f"{a / wall:.2f}×", f"{b:.2f}", f"{b / used:.2f}×"] for name, (a, b) in seconds.items()]
    return (f"{path.name}, {' × '.join(map(str, image.shape))} voxels, {os.cpu_count()} cores\n\n"
            + table(["step", "s", "÷ reading", "s of processors", "÷ reading"], rows)
            + f"\n\npeak memory of a scan in its own process: {peak_memory(path):.0f} MiB")


def peak_memory(path: Path) -> float:
    """MiB that a process of its own takes to scan."""
    found = subprocess.run([sys.executable, "-c", MEMORY, str(path)], check=True, capture_output=True, text=True)
    return float(found.stdout)


def gemm_rate() -> float:
    """GFLOP a second of a large float32 matrix product with this machine's threads."""
    a = np.random.default_rng(0).random((3000, 3000), np.float32)
    return 2 * 3000**3 / best(lambda: a @ a, 3) / 1e9


def published(plane: np.ndarray, times: int) -> list[list[str]]:
    """The published network: tile loop against dense pass, in every engine and precision that this machine has."""
    canvas, _ = prepare(plane)
    rows: list[list[str]] = []
    exact, torch_loop = np.zeros(0), 0.0
    for name, kind in (("torch", "f32"), ("openvino", "f32"), ("openvino", "bf16")):
        os.environ |= {"SCANWARD_ENGINE": name, "SCANWARD_PRECISION": kind}
        detector = ForensicTransfer()
        dense = best(lambda d=detector: d.scores(canvas), times)
        start = time.perf_counter()
        tiled = detector.scores_tiled(canvas)
        loop = time.perf_counter() - start
        if not rows:
            exact, torch_loop = tiled, loop
        off = [float(np.nanmax(np.abs(detector.scores(canvas) - other))) for other in (tiled, exact)]
        rows.append([f"{name} {kind}", str(int(np.isfinite(tiled).sum())), f"{loop:.2f}", f"{dense:.3f}",
                     f"{loop / dense:.1f}×", f"{torch_loop / dense:.1f}×", *(f"{v:.1e}" for v in off)])
    for name in ("SCANWARD_ENGINE", "SCANWARD_PRECISION"):
        os.environ.pop(name)
    return rows


def default(path: Path, times: int) -> list[list[str]]:
    """The default scan against decoding, and its parts."""
    image = formats.read(path)
    decode = best(lambda: formats.read(path), times)
    tissue = breast_mask(image.plane)
    network, copies = SelfReference(), CopyMove()
    parts = {
        "decoding the file": decode,
        "whole default scan, reading included": best(lambda: scan(path), times),
        "finding the breast": best(lambda: breast_mask(image.plane), times),
        "measuring the reference": best(lambda: measure(image.plane, tissue), times),
        "self-reference, whole": best(lambda: network.detect(image), times),
        "copy-move, whole": best(lambda: copies.detect(image), times),
    }
    command = [sys.executable, "-m", "scanward", "scan", "--json", str(path)]
    start = time.perf_counter()
    subprocess.run(command, check=False, capture_output=True)
    parts["`scanward scan` in a new process"] = time.perf_counter() - start
    return [[name, f"{value:.3f}", f"{value / decode:.2f}×"] for name, value in parts.items()]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", choices=["film", "chest"])
    parser.add_argument("--chest", default="lidc-idri-0314", help="a scan of the data folder (%(default)s)")
    args = parser.parse_args()
    if args.only != "chest":
        print_film(args.times)
    place = place_of(args.chest)
    if args.only == "chest" and place is None:
        raise SystemExit(f"There is no chest CT {args.chest} in the data folder; set SCANWARD_DATA.")
    if args.only != "film" and place is not None:
        print(f"\n{chest(place, args.times)}")


def print_film(times: int) -> None:
    """Every table of a mammogram."""
    with tempfile.TemporaryDirectory() as folder:
        path = film(Path(folder))
        plane = formats.read(path).plane
        share = float(breast_mask(plane).mean())
        full = np.ascontiguousarray(np.maximum(plane, 0.2 * plane.max()))
        print(f"4096×4096, 16 bits, breast {100 * share:.0f} % of it, {os.cpu_count()} cores; "
              f"methods: {', '.join(MODALITIES['MG'].detectors)}\n")
        print(table(["engine", "tiles", "loop, s", "dense, s", "loop ÷ dense", "torch loop ÷ dense",
                     "most it differs from its loop", "from the torch loop"],
                    published(full, times)))
        print()
        print(table(["step", "s", "÷ decoding"], default(path, times)))
        rate = gemm_rate()
        for name, flop, part in (("self-reference", SELF_REFERENCE_FLOP, share),
                                 ("published encoder", FORENSIC_FLOP, 1)):
            floor = flop * SIDE * SIDE * part / 1e9 / rate
            print(f"\nfloor of {name}: {flop * SIDE * SIDE * part / 1e9:.0f} GFLOP at {rate:.0f} GFLOP/s (float32 "
                  f"GEMM) = {floor:.2f} s")
        print(f"\npeak memory of a scan in its own process: {peak_memory(path):.0f} MiB")


if __name__ == "__main__":
    main()
