"""Whether masses of `scanward augment` help those who train a lesion detector: one small network, with and without.

    python benchmarks/augmentation.py --out runs/augmentation                            the two tables
    python benchmarks/augmentation.py --out runs/try --count 40 --steps 60 --seeds 1     whether it runs

Trained on the films of mini-MIAS `train`, tested on `val` and `test`: other women, which the generators have not seen
either. The arms differ in nothing but the masses that are shown: half of a batch holds one in each. The set, every
network and what each said of every film lie in --out; what is there is not made again. Answers as Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mammo_digital import real_masses
from torch import Tensor, nn
from torch.nn import functional

from scanward import formats
from scanward.anatomy.breast import breast_small
from scanward.bench import tables
from scanward.bench.free_response import Reading, film_auc, peaks, read, sensitivity
from scanward.cli.augmenting import run_augment
from scanward.cli.forging import Request
from scanward.datasets.films import FFDM_SPACING, MIAS_SPACING, Film, mias
from scanward.forgery.annotations import COCO
from scanward.image import Image
from scanward.nets.blocks import ConvBlock
from scanward.training.loop import Schedule, device_of, fit

ARMS = {"real": 0.0, "real and injected": 0.5, "injected": 1.0}
"""The share of the masses shown that are injected."""
SIZES_MM = "7-55"
"""Of the injected masses, drawn log-uniformly: the real ones of `train` have 6.8 to 69.6, and as here half below 20."""
MM = 0.4
"""A pixel of what the network sees."""
SIDE, CELL, BATCH = 192, 8, 16
"""Pixels a side of a square that is trained on and of a cell of the answer; squares a batch."""
FULL = 200
"""The grey level of the 99th percentile of the breast."""
ALLOWED = (0.5, 1.0)
"""False positives a film."""
APART_MM = 10.0
"""Between two places that are pointed at."""
DRAWS = 2000
Grey = npt.NDArray[np.uint8]
Squares = npt.NDArray[np.float32]
Places = list[tuple[float, float, float]]
Answers = list[list[Reading]]
"""By seed, then by film."""


@dataclass(frozen=True)
class Seen:
    """A film as the network sees it."""

    grey: Grey
    """(y, x), `MM` a pixel: 0 at the breast's first percentile and outside, `FULL` at its 99th."""
    breast: npt.NDArray[np.intp]
    """(n, 2): some of the breast's pixels, y, x."""
    masses: Places
    """y, x and diameter in pixels of `grey`."""


def seen(image: Image, masses: Places) -> Seen:
    """A film whose masses are given in pixels of its own."""
    small = breast_small(image.plane)
    inside = small.at_full_size(image.plane.shape)
    low, high = np.percentile(image.plane[inside], (1, 99))
    zoom = image.spacing[1] / MM
    grey = np.where(inside, (image.plane - low) * (FULL / (high - low)), 0).clip(0, 255).astype(np.float32)
    grey = cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    breast = (np.argwhere(small.mask)[::16] / (small.ratio / zoom)).astype(np.intp)
    return Seen(np.rint(grey).astype(np.uint8), breast,
                [((y + 0.5) * zoom - 0.5, (x + 0.5) * zoom - 0.5, zoom * d) for y, x, d in masses])


def of_films(films: list[Film]) -> list[Seen]:
    return [seen(film.read(), [(m.y, m.x, m.diameter) for m in film.masses]) for film in films]


def injected(folder: Path, films: list[Film], count: int) -> list[Seen]:
    """What `scanward augment` makes of the films without masses; centres and diameters from its COCO file."""
    hosts = tuple(film.read().provenance.path for film in films if not film.masses)
    run_augment(Request("inject", hosts, folder, None, (), SIZES_MM, count=count, modality="MG",
                        spacing=str(MIAS_SPACING), options={"margin": None, "grain": None}, quiet=True))
    said = json.loads((folder / COCO).read_text("utf-8"))
    found = []
    for image, mass in zip(said["images"], said["annotations"], strict=True):
        left, top, width, height = mass["bbox"]
        place = (top + (height - 1) / 2, left + (width - 1) / 2, mass["attributes"]["size_mm"] / MIAS_SPACING)
        film = formats.read(folder / image["file_name"], modality="MG", spacing=(MIAS_SPACING, MIAS_SPACING))
        found.append(seen(film, [place]))
    return found


class Finder(nn.Module):
    """A pyramid of features (after Lin et al. 2017), small: films (n, 1, y, x) to logits (n, y / 8, x / 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), ConvBlock(4, 24, 3, 2))
        self.down = nn.ModuleList(nn.Sequential(ConvBlock(a, b, 3, 2), ConvBlock(b, b))
                                  for a, b in ((24, 48), (48, 80), (80, 80)))
        self.across = nn.ModuleList(nn.Conv2d(channels, 32, 1) for channels in (48, 80, 80))
        self.head = nn.Sequential(ConvBlock(32, 32), nn.Conv2d(32, 1, 1))
        nn.init.constant_(self.head[1].bias, -4.0)

    def forward(self, x: Tensor) -> Tensor:
        """Sides are multiples of 32."""
        levels, x = [], self.stem(x)
        for down in self.down:
            x = down(x)
            levels.append(x)
        top = self.across[-1](x)
        for level, across in zip(levels[-2::-1], self.across[-2::-1], strict=True):
            top = across(level) + functional.interpolate(top, scale_factor=2.0)
        return self.head(top)[:, 0]


def square(film: Seen, y: float, x: float, rng: np.random.Generator) -> tuple[Squares, Squares]:
    """`SIDE` pixels of a film about a place, turned, flipped, stretched, lighter or darker; and what is wanted of them:
    a bell on every mass, half its radius wide within 3.2 and 6.4 mm."""
    angle, zoom, flip = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.2, 0.2)), rng.choice([-1, 1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * (1, flip) / zoom
    middle = np.full(2, (SIDE - 1) / 2)
    warp = np.column_stack([turn, np.array([x, y]) - turn @ middle])
    cut = cv2.warpAffine(film.grey, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    grey = (cut / np.float32(FULL)) ** np.float32(np.exp(rng.uniform(-0.2, 0.2)))
    grey = grey * np.exp(rng.uniform(-0.15, 0.15)) + rng.uniform(-0.1, 0.1)
    across = np.arange(SIDE // CELL) * CELL + (CELL - 1) / 2
    wanted = np.zeros((SIDE // CELL, SIDE // CELL))
    for v, u, diameter in film.masses:
        b, a = np.linalg.solve(turn, np.array([u, v]) - warp[:, 2])[::-1]
        width = np.clip(diameter * zoom / 4, CELL, 2 * CELL)
        far = (across[:, None] - b) ** 2 + (across - a) ** 2
        wanted = np.maximum(wanted, np.exp(-far / (2 * width**2)))
    return grey.astype(np.float32), wanted.astype(np.float32)


@dataclass(frozen=True)
class Batches:
    """Half of each batch about a mass, of which a share is injected; half anywhere in a breast without any."""

    real: list[Seen]
    injected: list[Seen]
    share: float

    def __call__(self, net: nn.Module, rng: np.random.Generator) -> Tensor:
        """The quality focal loss (Li et al. 2020, eq. 4, β = 2) of a batch."""
        masses = [(film, mass) for film in self.real for mass in film.masses]
        calm = [film for film in self.real if not film.masses]
        made, squares = round(BATCH / 2 * self.share), []
        picks = [masses[i] for i in rng.integers(len(masses), size=BATCH // 2 - made)]
        picks += [(film, film.masses[0]) for film in (self.injected[i] for i in rng.integers(len(self.injected),
                                                                                             size=made))]
        for film, (y, x, _) in picks:
            dy, dx = rng.uniform(-0.35, 0.35, 2) * SIDE
            squares.append(square(film, y + dy, x + dx, rng))
        for film in (calm[i] for i in rng.integers(len(calm), size=BATCH // 2)):
            y, x = film.breast[rng.integers(len(film.breast))]
            squares.append(square(film, y, x, rng))
        x, t = (torch.from_numpy(np.stack(part)).to(device_of(net)) for part in zip(*squares, strict=True))
        z = net(x[:, None]).float()
        loss = functional.binary_cross_entropy_with_logits(z, t, reduction="none") * (z.sigmoid() - t) ** 2
        return loss.sum() / t.sum().clamp(min=1.0)


def places(net: nn.Module, film: Seen) -> Places:
    """Where the network points in a film: value, y and x in mm, the mean logit over the film's eight symmetries."""
    height, width = film.grey.shape
    whole = np.pad(film.grey, [(0, -side % 32) for side in (height, width)]) / np.float32(FULL)
    x, total = torch.from_numpy(whole), 0.0
    with torch.inference_mode():
        for turn in range(4):
            for flip in (False, True):
                turned = x.rot90(turn).flip(1) if flip else x.rot90(turn)
                z = net(turned[None, None])[0]
                total = total + (z.flip(1) if flip else z).rot90(-turn) / 8
    step = CELL * MM
    return [(value, y * step + (step - MM) / 2, x * step + (step - MM) / 2)
            for value, y, x in peaks(total.numpy(), APART_MM / step)]


def answers(args: argparse.Namespace, held: dict[str, list[Film]]) -> Iterator[tuple[str, int, dict[str, Places]]]:
    """Arm, seed, and by film where its network points; trained where --out does not have it."""
    looked: list[Seen] = []
    batches: list[list[Seen]] = []
    films = [film for some in held.values() for film in some]
    for seed in range(args.seeds):
        for arm in args.arms:
            name = f"{arm.replace(' ', '-')}-{args.steps}-{seed}"
            path = args.out / f"{name}.json"
            if not path.is_file():
                if not batches:
                    train = mias("train", args.data)
                    batches = [of_films(train), injected(args.out / "set", train, args.count)]
                    looked = of_films(films)
                torch.manual_seed(seed)
                net = fit(Finder(), Batches(*batches, ARMS[arm]), Schedule(args.steps, 2e-3, warmup=50, decay=1e-2),
                          path.with_suffix(".ckpt"), seed=seed, title=name)
                said = {film.name: places(net, one) for film, one in zip(films, looked, strict=True)}
                path.write_text(json.dumps(said), "utf-8")
            yield arm, seed, json.loads(path.read_text("utf-8"))


def readings(films: list[Film], mm: float, said: dict[str, Places]) -> list[Reading]:
    """Of films with pixels of `mm`."""
    return [read(said[film.name], [(m.y * mm, m.x * mm, m.diameter * mm) for m in film.masses]) for film in films]


def measures(arm: Answers, weights: npt.NDArray[np.intp] | None = None) -> npt.NDArray[np.float64]:
    """(3,): AUC over films and sensitivity at each of `ALLOWED`, means over seeds."""
    return np.mean([[film_auc(one, weights), *(sensitivity(one, k, weights) for k in ALLOWED)] for one in arm], 0)


def report(title: str, films: list[Film], arms: dict[str, Answers]) -> str:
    """Each arm, and what it has more than the first; intervals resample women, the same in all arms."""
    _, member = np.unique([film.patient for film in films], return_inverse=True)
    rng, number = np.random.default_rng(0), int(member.max()) + 1
    drawn: dict[str, list[npt.NDArray[np.float64]]] = {arm: [] for arm in arms}
    for _ in range(DRAWS):
        weights = np.bincount(rng.integers(0, number, number), minlength=number)[member]
        for arm, said in arms.items():
            drawn[arm].append(measures(said, weights))
    values = {arm: measures(said) for arm, said in arms.items()}
    first, body = next(iter(arms)), []
    masses = sum(len(film.masses) for film in films)
    for arm, said in arms.items():
        counts = [", ".join(f"{sensitivity(one, k) * masses:.0f}" for one in said) for k in ALLOWED]
        cells = [ranged(*one) for one in zip(values[arm], np.transpose(drawn[arm]), strict=True)]
        body.append([arm, cells[0], *(f"{cell}: {found} of {masses}" for cell, found in
                                      zip(cells[1:], counts, strict=True))])
        if arm != first:
            more, drawn_more = values[arm] - values[first], np.array(drawn[arm]) - np.array(drawn[first])
            body.append([f"{arm} − {first}", *(ranged(*one, sign="+") for one in
                                               zip(more, np.transpose(drawn_more), strict=True))])
    head = [title, "AUC over films", *(f"found at {k:g} false positives a film" for k in ALLOWED)]
    return tables.table(head, body)


def ranged(value: float, drawn: npt.NDArray[np.float64], sign: str = "") -> str:
    """`.953 (.931–.972)`, a 95 % percentile interval; draws that hold one kind of film alone do not count."""
    if np.isnan(value):
        return "–"
    a, b, c = (f"{one:{sign}.3f}".replace("0.", ".", 1).replace("-", "−")
               for one in (value, *np.nanpercentile(drawn, [2.5, 97.5])))
    return f"{a} ({b}–{c})"


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600, help="injected masses")
    parser.add_argument("--steps", type=int, default=600, help="of every training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings an arm")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="the first is compared with")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/augmentation"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    digital = [replace(film, masses=(mass,)) for film, mass in real_masses()]
    held = {"film (mini-MIAS)": mias("val", args.data) + mias("test", args.data), "digital": digital}
    arms: dict[str, dict[str, Answers]] = {title: {arm: [] for arm in args.arms} for title in held}
    for arm, _, said in answers(args, held):
        for title, films in held.items():
            arms[title][arm].append(readings(films, FFDM_SPACING if title == "digital" else MIAS_SPACING, said))
    print("\n\n".join(report(title, films, arms[title]) for title, films in held.items()))


if __name__ == "__main__":
    main()
