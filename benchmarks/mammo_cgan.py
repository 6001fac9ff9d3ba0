"""How real the forged lesions are, how the shipped detectors take them, and how long they take to make.

    python benchmarks/mammo_cgan.py realism     a lesion classifier's word, a Fréchet distance, a two-sample AUC
    python benchmarks/mammo_cgan.py pictures    24 injections and 12 removals drawn at random, beside real masses
    python benchmarks/mammo_cgan.py detectors   the shipped detectors by lesion size and strength
    python benchmarks/mammo_cgan.py speed       seconds an injection, and how a set grows

Held-out patients are those of mini-MIAS `val` and `test`: no injector and no classifier here saw them.
Answers go to standard output as Markdown, pictures under --out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import cv2
import mammography
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from scanward import forgery, formats, methods, weights
from scanward.attacks.base import Attack, Lesion, forge
from scanward.attacks.mammo_cgan import MammoCgan
from scanward.attacks.mammo_cgan.inject import Generators
from scanward.attacks.mammo_cgan.merge import levels_of
from scanward.attacks.mammo_cgan.train import augmented
from scanward.attacks.partial_conv.network import Texture
from scanward.attacks.places import auto_place
from scanward.bench import tables
from scanward.bench.measure import run
from scanward.bench.protocol import controls, forgeries
from scanward.datasets.films import Film, cbis, donors_of, mias
from scanward.datasets.squares import healthy
from scanward.errors import ArgumentError
from scanward.judging.detector import one_detector, thresholds
from scanward.metrics import auc_interval
from scanward.report.heat import window

Squares = npt.NDArray[np.float32]
JITTER = 8
"""Squares cut about each place, each under its own small shift, size and symmetry."""
PLACES = 2
"""Injections into each held-out film."""


@dataclass
class Kind:
    """Squares (n, JITTER, 64, 64) of one kind, and whose they are."""

    squares: list[Squares] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)

    def add(self, plane: npt.NDArray[np.float32], place: Lesion, levels: tuple[float, float], patient: str,
            rng: np.random.Generator) -> None:
        self.squares.append(np.stack([augmented(plane, place, levels, rng, True) for _ in range(JITTER)]))
        self.patients.append(patient)

    @property
    def all(self) -> Squares:
        return np.concatenate(self.squares)


class Blurry(MammoCgan):
    """The first prototype's masses: what the same generators made, smoothed; no grain added."""

    @cached_property
    def generators(self) -> Generators:
        sharp = super().generators
        return lambda zeroed, noise: tuple(np.asarray(cv2.GaussianBlur(made, (0, 0), 2.0), np.float32)
                                           for made in sharp(zeroed, noise))


def kinds(args: argparse.Namespace) -> dict[str, Kind]:
    """Every kind of square, from held-out films but for the masses that were trained on."""
    train, held = mias("train", args.data), mias("val", args.data) + mias("test", args.data)
    rng = np.random.default_rng(0)
    diameters = np.array([mass.diameter for film in train for mass in film.masses])
    found = {name: Kind() for name in ("real masses", "real masses, trained on", "healthy tissue")}
    donors = [donor for _, donor in donors_of(train)]
    injectors: dict[str, Attack] = {
        "mammo-cgan": methods.build("mammo-cgan", "attack"),
        "mammo-cgan, host's grain": methods.build("mammo-cgan", "attack", grain="host"),
        "mammo-cgan, resynthesised": methods.build("mammo-cgan", "attack", grain="resynthesised"),
        "mammo-cgan-b": methods.build("mammo-cgan-b", "attack"), "blurry": Blurry(sigma=0.0),
        "pasted (splice)": methods.build("splice", "attack"), "composed-mass": methods.build("composed-mass", "attack")}
    removers = {name: methods.build(name, "attack") for name in ("mammo-cgan-remove", "partial-conv", "inpaint-telea")}
    there = {"mammo-cgan at the real masses' places": injectors["mammo-cgan"],
             "mammo-cgan-b at the real masses' places": injectors["mammo-cgan-b"]}
    found |= {name: Kind() for name in (*there, *injectors, *removers)}
    for film in train:
        if film.masses:
            plane = film.read().plane
            for mass in film.masses:
                found["real masses, trained on"].add(plane, mass, levels_of(plane), film.patient, rng)
    for film in held:
        image = film.read()
        levels = levels_of(image.plane)
        for mass in film.masses:
            found["real masses"].add(image.plane, mass, levels, film.patient, rng)
            for name, attack in removers.items():
                forged = forge(attack, image, Lesion(mass.centre, min(1.2 * mass.diameter, 300)), 0).image.plane
                found[name].add(forged, mass, levels, film.patient, rng)
            gone = forge(removers["mammo-cgan-remove"], image, mass, 0).image
            for name, attack in there.items():
                for number in range(PLACES):
                    forged = forge(attack, gone, mass, number).image.plane
                    found[name].add(forged, mass, levels, film.patient, rng)
        for number in range(PLACES):
            try:
                place = auto_place(image, rng, float(rng.choice(diameters)))
            except ArgumentError:
                continue
            found["healthy tissue"].add(image.plane, place, levels, film.patient, rng)
            donor = donors[int(rng.integers(len(donors)))]
            for name, attack in injectors.items():
                forged = forge(attack, image, place, number, donor=donor).image.plane
                found[name].add(forged, place, levels, film.patient, rng)
    return found


class Classifier(nn.Module):
    """Lesion or not, of squares (n, 1, 64, 64); 96 features before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (1, 24, 48, 96, 96)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
                                      for a, b in pairwise(sizes)))
        self.last = nn.Linear(96, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(functional.dropout(self.features(x), 0.3, self.training)).squeeze(1)


def classifier(args: argparse.Namespace, steps: int = 1500) -> Classifier:
    """Trained on the training films' masses against their healthy tissue, both augmented."""
    films = mias("train", args.data)
    rng = np.random.default_rng(1)
    masses = [(film.read().plane, mass) for film in films for mass in film.masses]
    lesions = [(plane, mass, levels_of(plane)) for plane, mass in masses]
    tissue = healthy(films, 12, 1, True)
    torch.manual_seed(1)
    net = Classifier().train()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    for _ in range(steps):
        picks = [lesions[i] for i in rng.integers(len(lesions), size=24)]
        x = np.stack([augmented(*(plane, mass, levels), rng, True) for plane, mass, levels in picks]
                     + [tissue[i] for i in rng.integers(len(tissue), size=24)])
        y = torch.tensor([1.0] * 24 + [0.0] * 24)
        loss = functional.binary_cross_entropy_with_logits(net(torch.from_numpy(x)[:, None]), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def realism(args: argparse.Namespace) -> None:
    """The table of kinds: called lesion, Fréchet distance to real masses, AUC of telling them from real masses."""
    net, texture, found = classifier(args).requires_grad_(False), Texture(), kinds(args)
    body = []
    real = found["real masses"]
    for name, kind in found.items():
        scores = torch.sigmoid(net(torch.from_numpy(kind.all)[:, None])).numpy().reshape(-1, JITTER).mean(1)
        far = tables.estimate(*frechet(net, kind, real)) if kind is not real else "–"
        told = tables.estimate(*two_sample(texture, kind, real)) if kind is not real else "–"
        body.append([name, str(len(kind.patients)), tables.rate(list(scores >= 0.5), kind.patients), far, told])
    print(tables.table(["kind", "places", "called a lesion", "Fréchet distance to real masses",
                        "AUC of telling from real masses"], body))


def frechet(net: Classifier, kind: Kind, real: Kind, draws: int = 100) -> tuple[float, float, float]:
    """Fréchet distance of the classifier's features (Heusel et al. 2017, eq. 6), on their 8 leading components; the
    interval resamples patients of both."""
    a, b = (net.features(torch.from_numpy(k.all)[:, None]).numpy().astype(np.float64) for k in (kind, real))
    mean = b.mean(0)
    basis = np.linalg.svd(np.concatenate([a, b]) - mean, full_matrices=False)[2][:8]
    a, b = (((x - mean) @ basis.T).reshape(-1, JITTER, 8) for x in (a, b))
    rng = np.random.default_rng(0)
    drawn = [_frechet(a[_again(kind.patients, rng)], b[_again(real.patients, rng)]) for _ in range(draws)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return _frechet(a, b), float(low), float(high)


def _frechet(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    first, second = np.cov(a.T), np.cov(b.T)
    roots = np.linalg.eigvals(first @ second).real.clip(0)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * np.sqrt(roots).sum())


def _again(patients: list[str], rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Indices of the patients' places, patients drawn with replacement."""
    names = sorted(set(patients))
    places = {name: np.flatnonzero(np.array(patients) == name) for name in names}
    return np.concatenate([places[name] for name in rng.choice(names, len(names))])


def two_sample(texture: Texture, kind: Kind, real: Kind) -> tuple[float, float, float]:
    """AUC of a ridge classifier on the texture and the spectrum of the central 44 pixels, five folds of patients."""
    x = np.concatenate([described(texture, k.all) for k in (kind, real)])
    y = np.repeat([0, 1], [len(kind.patients) * JITTER, len(real.patients) * JITTER])
    who = np.repeat([*kind.patients, *real.patients], JITTER)
    folds = {name: i % 5 for i, name in enumerate(sorted(set(who), key=lambda n: zlib.crc32(n.encode())))}
    fold, score = np.array([folds[name] for name in who]), np.zeros(len(y))
    for number in range(5):
        test = fold == number
        mean, scale = x[~test].mean(0), x[~test].std(0) + 1e-6
        a, b = (x[~test] - mean) / scale, (x[test] - mean) / scale
        weight = np.where(y[~test], 0.5 / max(1, y[~test].sum()), 0.5 / max(1, (1 - y[~test]).sum()))
        gram = (a * weight[:, None]).T @ a + 0.3 * np.eye(a.shape[1])
        score[test] = b @ np.linalg.solve(gram, (a * weight[:, None]).T @ (2.0 * y[~test] - 1))
    return auc_interval(list(score), list(y > 0), list(who))


def described(texture: Texture, squares: Squares) -> npt.NDArray[np.float64]:
    """Means and deviations of random filters, and the log power in 16 rings of the spectrum."""
    centres = squares[:, None, 10:54, 10:54]
    inner = torch.from_numpy(centres - centres.mean((2, 3), keepdims=True))
    maps = texture(inner)
    parts = [m.mean((2, 3)).numpy() for m in maps] + [m.std((2, 3)).numpy() for m in maps]
    hann = np.outer(np.hanning(44), np.hanning(44))
    power = np.abs(np.fft.fft2(inner[:, 0].numpy() * hann)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(44), np.fft.fftfreq(44)))
    rings = [np.log(power[:, (radius >= r) & (radius < r + 0.03)].mean(1) + 1e-12) for r in np.arange(0.02, 0.5, 0.03)]
    return np.concatenate([np.log(np.concatenate(parts, 1) + 1e-6), np.stack(rings, 1)], 1).astype(np.float64)


SHEETS = {"mammo-cgan": 24, "mammo-cgan-b": 24, "mammo-cgan-remove": 12, "partial-conv": 12}
"""Forgeries drawn of each method."""


KNOWN = {"cbis-1-283": (Lesion((0, 2095, 1778), 240),)}
"""The malignant mass of the unseen patient, found by eye: the files do not say where it is."""


def pictures(args: argparse.Namespace) -> None:
    """Sheets of the unseen CBIS patient (CC BY) and of mini-MIAS test films (not to be passed on)."""
    args.out.mkdir(parents=True, exist_ok=True)
    for label, films in (("cbis", cbis("test")), ("mias", mias("test", args.data))):
        rng = np.random.default_rng(2)
        parts = {f"{count} by {name}, drawn at random: before | after": _drawn(name, count, films, rng)
                 for name, count in SHEETS.items()}
        more = mias("val", args.data) if label == "mias" else []
        real = [(film, mass) for film in films + more for mass in (*film.masses, *KNOWN.get(film.name, ()))]
        parts["real masses of these patients"] = [_view(film.read().plane, mass, window(film.read()))
                                                  for film, mass in real][:16]
        cv2.imwrite(str(args.out / f"forgeries-{label}.png"), _page(parts))
        few = [title for title in parts if " mammo-cgan," in title or "remove" in title or title.startswith("real")]
        cv2.imwrite(str(args.out / f"forgeries-{label}.jpg"), _page({title: parts[title] for title in few}),
                    [cv2.IMWRITE_JPEG_QUALITY, 80])


def _drawn(name: str, count: int, films: list[Film], rng: np.random.Generator) -> list[Squares]:
    """Before and after of `count` forgeries; removals take the film's first mass, or tissue where it has none."""
    attack, cells = methods.build(name, "attack"), []
    for number in range(20 * count):
        film = films[int(rng.integers(len(films)))]
        image = film.read()
        diameter = float(np.exp(rng.uniform(np.log(8), np.log(30)))) / image.spacing[1]
        masses = film.masses if methods.find(name, "attack").action == "remove" else ()
        try:
            place = masses[0] if masses else auto_place(image, rng, diameter)
            tamper = forge(attack, image, place, number)
        except ArgumentError:
            continue
        cells.append(np.hstack([_view(image.plane, place, window(image)),
                                _view(tamper.image.plane, place, window(image))]))
        if len(cells) == count:
            break
    return cells


def _view(plane: npt.NDArray[np.float32], place: Lesion, levels: tuple[float, float], side: int = 160) -> Squares:
    reach = 1.4 * place.diameter
    zoom = side / (2 * reach)
    if zoom < 0.7:
        plane = cv2.blur(plane, (max(1, int(1 / zoom)),) * 2)
    move = np.array([[zoom, 0, side / 2 - zoom * place.x], [0, zoom, side / 2 - zoom * place.y]])
    cut = cv2.warpAffine(plane, move, (side, side), flags=cv2.INTER_LINEAR)
    grey = np.clip((cut - levels[0]) / (levels[1] - levels[0]) * 255, 0, 255).astype(np.uint8)
    return np.pad(grey, 2, constant_values=255)


def _page(parts: dict[str, list[Squares]], width: int = 8 * 164) -> Squares:
    """Cells in rows under the title of each part."""
    rows = []
    for title, cells in parts.items():
        head = np.full((30, width), 255, np.uint8)
        cv2.putText(head, title, (6, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.55, 0, 1, cv2.LINE_AA)
        rows.append(head)
        across = width // cells[0].shape[1] if cells else 1
        for i in range(0, len(cells), across):
            row = np.hstack(cells[i:i + across])
            rows.append(np.pad(row, ((0, 0), (0, width - row.shape[1])), constant_values=255))
    return np.vstack(rows)


def detectors(args: argparse.Namespace) -> None:
    """Detection by diameter and strength, the shipped detectors as they are."""
    films = mias("test", args.data)
    few = films[::4]
    attacks = ("mammo-cgan", "mammo-cgan grain=host", "mammo-cgan grain=resynthesised", "mammo-cgan-b",
               "mammo-cgan-remove", "partial-conv")
    cells = {(attack, mm, strength): forgeries(few, (attack,), mm=mm, strength=strength)
             for attack in attacks for mm in (5.0, 10.0, 20.0, 40.0) for strength in (0.5, 1.0)}
    made_by = "-".join(weights.entry(name).sha256[:4] for name in dict.fromkeys(a.split()[0] for a in attacks))
    for name in args.detectors:
        image, heat = thresholds(name)
        everything = [*controls(films, (("none", 0.0),)), *(item for items in cells.values() for item in items)]
        made = run(partial(one_detector, name), everything, films, workers=2, title=name,
                   keep=mammography.kept(args, f"cgan-{made_by}", name))
        clean, body = [row for row in made if not row.item.attack], []
        for attack, mm in {(attack, mm): None for attack, mm, _ in cells}:
            line = [attack, f"{mm:g} mm"]
            for strength in (0.5, 1.0):
                seeds = {item.seed for item in cells[attack, mm, strength]}
                rows = [row for row in made if row.item.seed in seeds and row.item.attack and row.item.mm == mm]
                line += [tables.image_auc(rows + clean), tables.alarms(rows, image), tables.overlap(rows, heat)]
            body.append(line)
        print(f"{name}; false alarms on authentic films {tables.alarms(clean, image)}\n")
        print(tables.table(["attack", "diameter", *(f"{what} at {s}" for s in (0.5, 1.0)
                                                    for what in ("AUC", "detected", "IoU"))], body) + "\n")


def speed(args: argparse.Namespace) -> None:
    """Seconds an injection takes, by step, and a set of --count."""
    film: Film = cbis("test")[0]
    start = time.perf_counter()
    image = film.read()
    read = time.perf_counter() - start
    attack = methods.build("mammo-cgan", "attack")
    forge(attack, image, Lesion((0, image.shape[1] / 2, image.shape[2] / 3), 300), 0)
    times = {"reading": read}
    for what, job in (("a plausible place", lambda: auto_place(image, np.random.default_rng(0), 300)),
                      ("the eight stages", lambda: forge(attack, image, Lesion((0, 2000, 800), 300), 0))):
        start = time.perf_counter()
        job()
        times[what] = time.perf_counter() - start
    body = [[what, f"{seconds:.2f}", f"{seconds / read:.2f}×"] for what, seconds in times.items()]
    for label, hosts, spacing in (("a 16-bit DICOM of {} pixels, written with mask and pictures", cbis("test"), 0.05),
                                  ("an 8-bit PNG of {} pixels, the same", mias("test", args.data), 0.2)):
        paths = [film.read().provenance.path for film in hosts]
        sources, _ = formats.find([p for p in paths if p is not None])
        order = forgery.Order("mammo-cgan", (8.0, 30.0))
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            done = list(forgery.forge_many(sources, Path(folder, "set"), order, "inject", args.count,
                                           modality="MG", spacing=(spacing, spacing)))
            each = (time.perf_counter() - start) / max(1, sum(f.error is None for f in done))
        size = "×".join(map(str, hosts[0].read().plane.shape))
        body.append([label.format(size) + f" (mean of {args.count})", f"{each:.2f}", f"{each / read:.2f}×"])
    print(tables.table(["step", "s", "÷ reading the DICOM"], body))


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["realism", "pictures", "detectors", "speed"])
    parser.add_argument("--detectors", nargs="+", default=["default", "forensic-transfer-highpass"])
    parser.add_argument("--count", type=int, default=40, help="forgeries of the set that `speed` times")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    {"realism": realism, "pictures": pictures, "detectors": detectors, "speed": speed}[args.table](args)


if __name__ == "__main__":
    main()
