"""A network that takes cloaks off: trained on pairs that anybody can make, of scans that nobody protected.

    python benchmarks/purifier.py train -o FILE      a quarter of an hour of one core; goes on where it was stopped
    python benchmarks/purifier.py harm SCAN... FILE  what it does to scans that carry no cloak

"Purify Once, Edit Freely" (arXiv 2603.13028) took six published protections of photographs off in this way, without
knowing any of them. This one knows more: half of its pairs are watermarks by keys of its own, since how they are made
is no secret; the others changes of 4 to 32 HU, white to smooth. `benchmarks/watermark.py judge --purifier FILE` asks
what is left after it. Both commands need the data (--data or SCANWARD_DATA).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, nn

from scanward.anatomy.lung import inside
from scanward.bench import tables
from scanward.bench.purify import Purify
from scanward.datasets.thorax import SCANS, read
from scanward.protectors.watermark import Watermark
from scanward.training.loop import Schedule, device_of, fit

SIDE, BATCH = 64, 16
SLAB = 24
"""Slices of the middle of each scan that are trained on."""
KEYS = 2
"""Watermarks of each slab."""
SCALE = 1 / 100
"""Of HU, as the network takes them, about the level of the pixels around."""
LONG = Schedule(2500, 1e-3, every=250)
Volume = npt.NDArray[np.float32]


class Purifier(nn.Module):
    """What was put on slices (n, 1, y, x), in HU: six convolutions of 3 × 3, 32 wide (as DnCNN, Zhang et al. 2017)."""

    def __init__(self, width: int = 32, depth: int = 6) -> None:
        super().__init__()
        sides = [1, *[width] * (depth - 1), 1]
        layers = [part for a, b in pairwise(sides) for part in (nn.Conv2d(a, b, 3, 1, 1), nn.ReLU())]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, slices: Tensor) -> Tensor:
        """The change, which taken off leaves the slices as they were."""
        level = nn.functional.avg_pool2d(slices, 9, 1, 4, count_include_pad=False)
        made: Tensor = self.layers((slices - level) * SCALE) / SCALE
        return made


def purify_by(net: nn.Module) -> Purify:
    """The clean-up: each slice less what the network says was put on."""
    def purify(pixels: Volume) -> Volume:
        with torch.inference_mode():
            made = [plane - net(torch.from_numpy(plane)[None, None])[0, 0].numpy() for plane in pixels]
        return np.rint(np.stack(made)).astype(np.float32)

    return purify


def loaded(path: Path) -> Purify:
    """The clean-up that `train` left."""
    net = Purifier()
    net.load_state_dict(load_file(path))
    return purify_by(net.eval())


def pairs_of(data: Path | None) -> list[tuple[Volume, list[Volume]]]:
    """Of each training scan a slab, and the same with watermarks by keys of its own; of lung only, where marks lie."""
    made = []
    for row in (row for row in SCANS if row.split == "train" and not row.single):
        for scan in read(row, data):
            middle = int(np.median(np.flatnonzero(scan.lungs.mask.any((1, 2)))))
            slab = slice(max(0, middle - SLAB // 2), middle + SLAB // 2)
            marked = [Watermark(key=bytes([n]) * 32).protect(scan.image).pixels[slab].copy() for n in range(KEYS)]
            made.append((scan.image.pixels[slab].copy(), marked))
            print(f"{scan.name}: {len(made[-1][0])} slices", flush=True)
    return made


def drawn(pairs: Sequence[tuple[Volume, list[Volume]]], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch: protected crops, and what was put on them; both (n, 1, y, x) in HU."""
    given, change = (np.empty((BATCH, 1, SIDE, SIDE), np.float32) for _ in range(2))
    for n in range(BATCH):
        plain, marked = pairs[int(rng.integers(len(pairs)))]
        z, y, x = (int(rng.integers(side - size + 1)) for side, size in
                   zip(plain.shape, (1, SIDE, SIDE), strict=True))
        box = (z, slice(y, y + SIDE), slice(x, x + SIDE))
        if n % 2:
            given[n, 0] = marked[int(rng.integers(KEYS))][box]
            change[n, 0] = given[n, 0] - plain[box]
        else:
            change[n, 0] = any_change(rng)
            given[n, 0] = plain[box] + change[n, 0]
    return torch.from_numpy(given), torch.from_numpy(change)


def any_change(rng: np.random.Generator) -> Volume:
    """(SIDE, SIDE): signs or noise, white or smooth, of at most 4 to 32 HU."""
    noise = rng.normal(size=(SIDE, SIDE)).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, float(rng.choice([0.0, 0.0, 0.5, 1.0, 2.0])))
    noise = np.sign(noise) if rng.random() < 0.5 else noise / (3 * noise.std() + 1e-6)
    return np.asarray(np.clip(noise, -1, 1) * rng.uniform(4, 32), np.float32)


def train(args: argparse.Namespace) -> None:
    """The network, into a file."""
    pairs = pairs_of(args.data)

    def loss(net: nn.Module, rng: np.random.Generator) -> Tensor:
        given, change = (one.to(device_of(net)) for one in drawn(pairs, rng))
        return ((net(given) - change) * SCALE).square().mean()

    net = fit(Purifier(), loss, LONG, args.out.with_suffix(".ckpt"), seed=1, title="purifier")
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, args.out)


def harm(args: argparse.Namespace) -> None:
    """What is changed in scans without a cloak, as Markdown."""
    purify, body = loaded(args.purifier), []
    for row in (one for one in SCANS if one.name in args.scans):
        scan = next(iter(read(row, args.data)))
        slices = np.flatnonzero(scan.lungs.mask.any((1, 2)))[::4]
        before, lung = scan.image.pixels[slices], np.stack([inside(scan.lungs, int(z), scan.image.shape[1:])
                                                            for z in slices])
        change = purify(before) - before
        body.append([scan.name, f"{np.sqrt(np.square(change, dtype=np.float64).mean()):.1f}",
                     f"{np.sqrt(np.square(change[lung], dtype=np.float64).mean()):.1f}"])
    print(tables.table(["scan", "RMSE, HU", "in the lungs, HU"], body))


def main() -> None:
    """Parse the command line and run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("train")
    one.add_argument("-o", dest="out", type=Path, required=True)
    one.set_defaults(run=train)
    one.add_argument("--data", type=Path)
    one = kinds.add_parser("harm")
    one.add_argument("scans", nargs="+")
    one.add_argument("purifier", type=Path)
    one.add_argument("--data", type=Path)
    one.set_defaults(run=harm)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
