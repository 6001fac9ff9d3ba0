"""Whether CT-GAN's nodules are taken for nodules, how real they are, and how long they take to make.

    python benchmarks/ct_gan.py success     a nodule judge's word on injections, removals and real nodules
    python benchmarks/ct_gan.py realism     telling injected nodules from real ones, by two-sample tests
    python benchmarks/ct_gan.py tells       what would give an injection away: calcium, changes elsewhere, islands
    python benchmarks/ct_gan.py pictures    24 injections and 12 removals drawn at random, in three planes
    python benchmarks/ct_gan.py speed       seconds and memory of one injection in a series of 300 slices

Each attacker works on the scan that neither it nor its judge has seen; real nodules are those of LIDC-IDRI's test
patients, planted at the same places. One scan is one patient, so intervals are over places and nodules.
`--extent cuboid` is CT-GAN as published, and as it was here before there was a choice. Answers go to standard output as
Markdown, pictures under --out.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import torch
from scipy import ndimage
from torch import nn

from scanward import methods
from scanward.anatomy.lung import Lungs, lungs_of
from scanward.attacks.base import Attack, Lesion, Patch
from scanward.attacks.ct_gan.network import PRESETS, Generator, hole, wanted
from scanward.bench import tables
from scanward.bench.judge import NoduleJudge, NoduleJudgeB
from scanward.datasets.chests import SHARP, THIN, Nodule, candidates, healthy_at, nodules, planted, scan_of
from scanward.datasets.films import data_folder
from scanward.image import Image
from scanward.metrics import auc
from scanward.modality import traits
from scanward.nets.cube import SIDE, Cuboid, cut
from scanward.report.heat import to_grey

Cubes = npt.NDArray[np.float32]
ROUNDS = ((SHARP, NoduleJudge, ("ct-gan", "ct-diffusion", "projection")), (THIN, NoduleJudgeB, ("ct-gan-b",)))
"""Scans, each with a judge and attackers that have not seen it."""
UNTOLD = {SHARP: "ct-gan-plain", THIN: "ct-gan-plain-b"}
"""For each the attacker of the published kind that has not seen it."""
SEEN_NOWHERE = "lidc-idri-0314"
"""A scan that no attacker and no judge has seen."""


@dataclass
class Stage:
    """A held-out scan with places in it, and a real nodule for each."""

    image: Image
    lungs: Lungs
    centres: list[tuple[float, float, float]]
    real: list[Nodule]

    def diameter(self, number: int) -> float:
        """Of what is made at a place, in mm: that of the real nodule there."""
        return max(4.0, self.real[number].diameter * self.real[number].voxel)

    def patch(self, attack: Attack, number: int, host: Image | None = None) -> Patch:
        """What the attack changes at a place."""
        host, lesion = host or self.image, Lesion(self.centres[number], self.diameter(number))
        return attack.apply(host, attack.draw(host, lesion, np.random.default_rng(number), anatomy=self.lungs))

    def forged(self, attack: Attack, number: int, host: Image | None = None) -> Image:
        """The scan with the attack at a place."""
        patch = self.patch(attack, number, host)
        return _with(host or self.image, patch.box.slices, patch.values)

    def genuine(self, number: int, host: Image | None = None) -> Image:
        """The scan with the real nodule at a place."""
        host = host or self.image
        box, values = planted(host, self.centres[number], self.real[number], number)
        return _with(host, box, values)

    def cube(self, image: Image, number: int) -> torch.Tensor:
        """(1, 1, 32, 32, 32) HU about a place, 1 mm a voxel."""
        return cut(torch.from_numpy(image.pixels), Cuboid(self.centres[number], image.spacing or (1.0,) * 3))


def _with(image: Image, box: tuple[slice, ...], values: Cubes) -> Image:
    # A view would do, but attacks read the whole scan: one copy a forgery keeps every one of them apart.
    pixels = image.pixels.copy()
    pixels[box] = values
    return Image(pixels, "CT", image.spacing)


def stage(args: argparse.Namespace, name: str) -> Stage:
    """So many healthy places of a scan, and as many nodules of test patients, both drawn at random."""
    image = scan_of(name, args.data)
    lungs, rng = lungs_of(image), np.random.default_rng(11)
    found: list[tuple[float, float, float]] = []
    for centre in candidates(image, lungs, rng, 6 * args.places):
        if len(found) < args.places and healthy_at(image, centre):
            found.append(centre)
    known = [n for n in nodules("test", args.data) if n.diameter * n.voxel >= 4]
    return Stage(image, lungs, found, [known[i] for i in rng.permutation(len(known))[:len(found)]])


def attack_of(name: str, args: argparse.Namespace, **options: str) -> Attack:
    """An attack with the extent asked for, where it has one."""
    if "extent" in methods.find(name, "attack").options:
        options["extent"] = args.extent
    made: Attack = methods.build(name, "attack", **options)
    return made


def success(args: argparse.Namespace) -> None:
    """Called nodule: healthy places, real nodules planted there, injections there, and both after a removal."""
    body = []
    for scan, kind, names in ROUNDS:
        place, judge = stage(args, scan), kind()
        numbers = range(len(place.centres))
        cubes = {"healthy places": [place.cube(place.image, n) for n in numbers],
                 "real nodules planted there": [place.cube(place.genuine(n), n) for n in numbers]}
        for name in names:
            inject, remove = attack_of(name, args), attack_of(f"{name}-remove", args)
            cubes[f"injected by {name}"] = [place.cube(place.forged(inject, n), n) for n in numbers]
            cubes[f"real nodules removed by {name}-remove"] = [
                place.cube(place.forged(remove, n, place.genuine(n)), n) for n in numbers]
        untold = attack_of(UNTOLD[scan], args)
        cubes[f"injected by {untold.name}"] = [place.cube(place.forged(untold, n), n) for n in numbers]
        owners = [nodule.patient for nodule in place.real]
        for label, some in cubes.items():
            called = judge.of_cubes(torch.cat(some)) >= judge.threshold
            body.append([scan, label, tables.rate([bool(c) for c in called], owners)])
    print(tables.table(["scan", "what", "called a nodule"], body))


def tells(args: argparse.Namespace) -> None:
    """Of injections: the middle's HU, what changed beyond the rim, and the pieces that the truth lies in."""
    body = []
    for scan, _, names in ROUNDS:
        for where in (scan, SEEN_NOWHERE):
            place = stage(args, where)
            for name in (*names, UNTOLD[scan]):
                attack = attack_of(name, args)
                made = [told_by(place, number, place.patch(attack, number)) for number in range(len(place.centres))]
                dense, strewn, islands = (np.array(column) for column in zip(*made, strict=True))
                body.append([where, name, str(len(made)), f"{np.median(dense):.0f}, {dense.max():.0f}",
                             str(int((dense > 200).sum())), f"{np.median(strewn):.0f}, {strewn.max():.0f}",
                             f"{np.median(islands):.0f}, {islands.max():.0f}"])
    print(tables.table(["scan", "attacker", "injections", "HU in the middle: median, most", "of these above 200",
                        "voxels changed by more than 100 HU beyond the rim: median, most",
                        "pieces of the truth: median, most"], body))


def told_by(place: Stage, number: int, patch: Patch) -> tuple[float, int, int]:
    """The largest HU in the inner half of a nodule, the mean over 3×3 pixels, since noise is no calcium; voxels changed
    beyond one and a half times its radius and 2 mm; pieces of its mask."""
    axes = [(np.arange(part.start, part.stop) - middle) * step for part, middle, step in zip(
        patch.box.slices, place.centres[number], place.image.spacing or (1.0,) * 3, strict=True)]
    away = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    diameter = place.diameter(number)
    inner = away <= max(diameter / 4, float(away.min()))
    changed = np.abs(patch.values - place.image.pixels[patch.box.slices]) > 100
    return (float(ndimage.uniform_filter(patch.values, (0, 3, 3))[inner].max()),
            int((changed & (away > 0.75 * diameter + 2)).sum()), int(ndimage.label(patch.mask)[1]))


def realism(args: argparse.Namespace) -> None:
    """How well a classifier of random 3-D texture features tells each kind from real nodules at other places."""
    body, texture = [], Texture()
    for scan, _, names in ROUNDS:
        place = stage(args, scan)
        # Forged and real at different places, or a classifier would know them by their surroundings.
        others, numbers = range(1, len(place.centres), 2), range(0, len(place.centres), 2)
        real = torch.cat([place.cube(place.genuine(n), n) for n in others])
        ways = {f"{name}, noise {noise}": attack_of(name, args, noise=noise)
                for name in names if name != "projection" for noise in ("copied", "gaussian", "none")}
        ways |= {name: attack_of(name, args) for name in names if name == "projection"}
        kinds = {label: torch.cat([place.cube(place.forged(attack, n), n) for n in numbers])
                 for label, attack in ways.items()}
        kinds |= {"real nodules": torch.cat([place.cube(place.genuine(n), n) for n in numbers]),
                  "a smooth ball of the real density": torch.cat([_ball(place, n) for n in numbers]),
                  "healthy places": torch.cat([place.cube(place.image, n) for n in numbers])}
        body += [[scan, label, tables.estimate(*told(texture(cubes), texture(real)))] for label, cubes in kinds.items()]
    print(tables.table(["scan", "kind", "AUC of telling from real nodules elsewhere"], body))


def _ball(place: Stage, number: int) -> torch.Tensor:
    """The healthy place with a smooth ball of the real nodule's diameter and density."""
    nodule, cube = place.real[number], place.cube(place.image, number)
    axis = torch.arange(SIDE) - (SIDE - 1) / 2
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    share = torch.sigmoid((nodule.diameter * nodule.voxel / 2 - radius) / 0.7)
    return torch.maximum(cube, share * nodule.density + (1 - share) * cube)


class Texture(nn.Module):
    """Means and deviations of random convolutions at three scales: features that no attacker was trained against."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.ModuleList(nn.Conv3d(1, 24, 3) for _ in range(3)).requires_grad_(False)

    def forward(self, hu: torch.Tensor) -> npt.NDArray[np.float64]:
        """Cubes (n, 1, 32, 32, 32) of HU to (n, 144)."""
        x, found = (hu[..., 6:-6, 6:-6, 6:-6].clamp(-1000, 400) + 850) / 300, []
        for layer in self.layers:
            y = torch.relu(layer(x))
            found += [y.mean((2, 3, 4)), y.std((2, 3, 4))]
            x = nn.functional.avg_pool3d(x, 2)
        return torch.cat(found, 1).numpy().astype(np.float64)


def told(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64],
         draws: int = 200) -> tuple[float, float, float]:
    """Cross-validated AUC of a ridge regression between two kinds of features, and its interval over the cubes."""
    x = np.concatenate([first, second])
    y = np.repeat([1.0, 0.0], [len(first), len(second)])
    order = np.random.default_rng(0).permutation(len(x))
    scores = np.zeros(len(x))
    for fold in np.array_split(order, 8):
        rest = np.setdiff1d(order, fold)
        mean, spread = x[rest].mean(0), x[rest].std(0) + 1e-9
        a = (x[rest] - mean) / spread
        w = np.linalg.solve(a.T @ a + 0.3 * len(rest) * np.eye(a.shape[1]), a.T @ (y[rest] - y[rest].mean()))
        scores[fold] = (x[fold] - mean) / spread @ w
    rng, drawn = np.random.default_rng(1), []
    for _ in range(draws):
        picks = np.concatenate([rng.integers(len(first), size=len(first)),
                                len(first) + rng.integers(len(second), size=len(second))])
        drawn.append(auc(scores[picks], y[picks]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return auc(scores, y), float(low), float(high)


def pictures(args: argparse.Namespace) -> None:
    """Before and after, 40 mm wide: 24 injections and 12 removals of real nodules."""
    args.places = 24
    for name, scan in [(name, scan) for scan, _, names in ROUNDS for name in names]:
        place = stage(args, scan)
        inject, remove = attack_of(name, args), attack_of(f"{name}-remove", args)
        cells = [_cell(place.image, place.forged(inject, n), place.centres[n]) for n in range(24)]
        for number in range(12):
            genuine = place.genuine(number)
            cells.append(_cell(genuine, place.forged(remove, number, genuine), place.centres[number]))
        sheet = np.vstack([np.hstack(cells[row:row + 6]) for row in range(0, 36, 6)])
        path = args.out / f"{name}.png"
        args.out.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), sheet)
        print(path)


def _cell(before: Image, after: Image, centre: tuple[float, float, float], side: int = 110) -> npt.NDArray[np.uint8]:
    """Axial, coronal and sagittal, before above after."""
    rows = []
    for image in (before, after):
        planes = []
        for axis in range(3):
            rest = [i for i in range(3) if i != axis]
            plane = np.take(image.pixels, round(centre[axis]), axis)
            zoom = [(image.spacing or (1.0,) * 3)[i] * side / 40 for i in rest]
            move = np.array([[zoom[1], 0, side / 2 - zoom[1] * (centre[rest[1]] + 0.5)],
                             [0, zoom[0], side / 2 - zoom[0] * (centre[rest[0]] + 0.5)]])
            part = cv2.warpAffine(plane, move, (side, side), flags=cv2.INTER_LINEAR, borderValue=-1000.0)
            grey = to_grey(part[::-1] if axis else part, *(traits("CT").window or (0, 1)))  # the head up
            planes.append(np.pad(grey[:-1, :-1], ((0, 1), (0, 1))))
        rows.append(np.hstack(planes))
    return np.pad(np.vstack(rows), ((0, 6), (0, 6)), constant_values=255)


def speed(args: argparse.Namespace) -> None:
    """One injection in a new process, in 297 slices of 512×512; and the generator's part at the published width."""
    with tempfile.TemporaryDirectory() as folder:
        host = _long_series(args, Path(folder) / "host")
        command = [sys.executable, "-m", "scanward", "inject", str(host), "--size", "12", "--at", "150,256,60", "-q",
                   "-o"]
        seconds = []
        for number in range(args.repeats):
            start = time.perf_counter()
            subprocess.run([*command, str(Path(folder) / str(number))], check=True)
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    body = [["`scanward inject`, 297 slices, reading and writing included", f"{np.median(seconds):.2f}"]]
    times = {}
    for preset in ("light", "paper"):
        net = Generator(PRESETS[preset]).eval()
        cube = torch.rand(1, 1, SIDE, SIDE, SIDE) - 0.5
        given = (cube * (1 - hole(cube)), wanted(torch.zeros_like(cube), torch.zeros(1)), torch.zeros_like(cube))
        with torch.inference_mode():
            net(*given)
            start = time.perf_counter()
            for _ in range(args.repeats):
                net(*given)
            times[preset] = (time.perf_counter() - start) / args.repeats
        count = sum(p.numel() for p in net.parameters()) / 1e6
        body.append([f"the generator alone, preset `{preset}` ({count:.1f} M parameters)", f"{times[preset]:.4f}"])
    body.append(["`paper` ÷ `light`", f"{times['paper'] / times['light']:.1f}×"])
    print(tables.table(["step", "s"], body))
    print(f"\npeak memory of one injection: {peak:.0f} MiB")


def _long_series(args: argparse.Namespace, folder: Path) -> Path:
    """The sharp scan three times over, one on top of the other."""
    folder.mkdir()
    files = sorted((data_folder(args.data) / "ct" / SHARP).glob("*.dcm"))
    parts = sorted((pydicom.dcmread(f) for f in files), key=lambda d: float(d.ImagePositionPatient[2]))
    low = float(parts[0].ImagePositionPatient[2])
    for number in range(3 * len(parts)):
        part = parts[number % len(parts)]
        part.ImagePositionPatient[2] = low + 3.0 * number
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.{number + 1}"
        part.save_as(folder / f"{number:03d}.dcm")
    return folder


def main() -> None:
    """Parse the command line and run one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["success", "tells", "realism", "pictures", "speed"])
    parser.add_argument("--places", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--extent", choices=["lesion", "cuboid"], default="lesion")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    {"success": success, "tells": tells, "realism": realism, "pictures": pictures, "speed": speed}[args.table](args)


if __name__ == "__main__":
    main()
