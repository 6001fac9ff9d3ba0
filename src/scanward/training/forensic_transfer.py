"""`scanward train forensic-transfer` and `forensic-transfer-highpass`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from scanward import weights
from scanward.bench.protocol import ATTACKS, Item, controls, forgeries, make
from scanward.datasets.films import Film, cbis, donors_of, mias
from scanward.detectors.forensic_transfer.detect import ForensicTransfer, ForensicTransferHighpass, matrix_of, prepare
from scanward.detectors.forensic_transfer.network import ForensicTransferNet, MatrixClassifier
from scanward.detectors.forensic_transfer.network import loss as tile_loss
from scanward.detectors.forensic_transfer.train import sample
from scanward.training.bank import PAINTED, Bank, Pool, Recipe, banks_of, make_bank, pool_of
from scanward.training.finish import FORGED, TRAINED_ON, calibrated, preset_of, ship
from scanward.training.loop import Schedule, device_of, fit

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Preset:
    """One way to train."""

    pairs: int
    """Pairs in the bank."""
    schedule: Schedule
    films: int
    """Training films whose score matrices train the classifier: each twice authentic and three times forged."""
    batch: int = 12
    """Pairs a step."""
    further: tuple[Recipe, ...] = ()
    """Banks that are drawn from beside the first."""


PRESETS = {
    name: {"quick": Preset(1200, Schedule(300), 12),
           "full": Preset(8000, Schedule(steps), 60),
           "painted": Preset(8000, Schedule(2400), 60, further=PAINTED)}
    # raw pixels give the network nothing to hold on to, and longer training makes it worse (docs/results.md)
    for name, steps in ((ForensicTransfer.name, 1200), (ForensicTransferHighpass.name, 2400))
}
VALIDATION = 240
"""Pairs of validation films on which the loss is followed."""


def fit_network(pool: Pool, preset: Preset, out: Path, *, highpass: bool, held: Bank | None = None, seed: int = 0,
                resume: bool = True) -> Arrays:
    """The encoder and decoder on tiles of the pool.

    The loss on the pairs of `held`, if any, is reported at every checkpoint and decides nothing.
    """
    label = "forensic-transfer" + ("-highpass" if highpass else "-raw")

    def draw(net: nn.Module, rng: np.random.Generator) -> Tensor:
        picks = rng.choice(len(pool), preset.batch, replace=False)
        return _loss(net, [pool[i] for i in picks], rng.integers(8, size=preset.batch), highpass)

    def check(net: nn.Module) -> float:
        parts = np.array_split(np.arange(len(held)), max(1, len(held) // preset.batch))  # type: ignore[arg-type]
        return float(np.mean([float(_loss(net, [(held, int(i)) for i in part], np.zeros(len(part), int),  # type: ignore[misc]
                                          highpass)) for part in parts]))

    torch.manual_seed(seed)
    net = fit(ForensicTransferNet(2 if highpass else 1), draw, preset.schedule, out / f"{label}.ckpt", seed=seed,
              resume=resume, title=label, check=check if held is not None else None)
    return {k: v.detach().cpu().numpy() for k, v in net.state_dict().items() if "num_batches" not in k}


def _loss(net: nn.Module, pairs: Pool, turns: npt.NDArray[np.intp], highpass: bool) -> Tensor:
    """Of the tiles of these pairs, authentic and forged, each in one of the square's eight symmetries."""
    tiles = []
    for (bank, index), turn in zip(pairs, turns, strict=True):
        mask = bank.masks[index] > 0
        for half, truth in ((0, np.zeros_like(mask)), (1, mask)):
            tile = sample(bank.planes[index, half], truth, bank.about[index]["white"], highpass, int(turn))  # type: ignore[arg-type]
            if tile is not None:
                tiles.append(tile)
    device = device_of(net)
    x = torch.from_numpy(np.stack([t for t, _ in tiles])).to(device, memory_format=torch.channels_last)
    labels = torch.tensor([y for _, y in tiles], device=device)
    score, decoded = net(x, labels)
    return tile_loss(x, score, decoded, labels)


def fit_classifier(arrays: Arrays, films: list[Film], preset: Preset, out: Path, *, highpass: bool,
                   attacks: tuple[str, ...] = (*ATTACKS, "mammo-cgan"), seed: int = 0) -> Arrays:
    """The score-matrix classifier on matrices of whole training films; returns `arrays` with it added."""
    kind = ForensicTransferHighpass if highpass else ForensicTransfer
    detector = kind(arrays)
    matrices, labels = _matrices(detector, films[:preset.films], attacks, seed)
    torch.manual_seed(seed)
    net = MatrixClassifier()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    x, y = torch.from_numpy(matrices)[:, None], torch.from_numpy(labels)
    weight = (1 - y).sum() / y.sum()
    rng = np.random.default_rng(seed)
    for _ in range(1500):
        pick = torch.from_numpy(rng.choice(len(y), min(64, len(y)), replace=False))
        flips = [axis for axis in (2, 3) if rng.random() < 0.5]
        logits = net(torch.flip(x[pick], flips))
        value = functional.binary_cross_entropy_with_logits(logits, y[pick], pos_weight=weight)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    found = {f"classifier.{k}": v.detach().numpy() for k, v in net.state_dict().items()}
    merged = {**arrays, **found}
    save_file(merged, out / f"{detector.weights_name}.safetensors")
    return merged


def _matrices(detector: ForensicTransfer, films: list[Film], attacks: tuple[str, ...],
              seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 61, 61) score matrices and labels of the films, authentic and forged."""
    rng = np.random.default_rng(seed)
    items: list[Item] = controls(films, (("none", 0.0), ("resample", 0.9)))
    for film in films:
        items += forgeries([film], tuple(rng.choice(attacks, 3, replace=False)))
    donors, by_name = donors_of(films), {f.name: f for f in films}
    matrices = []
    for item in items:
        image, _, _ = make(item, by_name[item.film], donors)
        matrices.append(matrix_of(detector.scores(prepare(image.plane)[0])))
    return np.stack(matrices), np.array([float(bool(item.attack)) for item in items], np.float32)


def train(name: str, *, preset: str = "quick", data: Path | None = None, out: Path = Path("runs"),
          resume: bool = True, install: bool = False) -> Path:
    """Bank, network, score-matrix classifier, calibration; writes weights and a manifest into `out`.

    `name` is `forensic-transfer` (raw) or `forensic-transfer-highpass`; with `install` the package gets the files.
    """
    chosen: Preset = preset_of(PRESETS[name], preset)
    kind = ForensicTransferHighpass if name == ForensicTransferHighpass.name else ForensicTransfer
    films = mias("train", data)
    every = films + cbis("train")
    first = make_bank(out / f"bank-{chosen.pairs}", every, Recipe(chosen.pairs))
    banks = [first, *banks_of(chosen.further, every, out)]
    pool = [pair for bank in banks for pair in pool_of(bank)]
    held = make_bank(out / "bank-val", mias("val", data), Recipe(VALIDATION))
    arrays = fit_network(pool, chosen, out / preset, highpass=kind.highpass, held=held, resume=resume)
    arrays = fit_classifier(arrays, films, chosen, out / preset, highpass=kind.highpass)
    settings = calibrated(kind, arrays, out / preset, name, data)
    folder = weights.FOLDER if install else out / preset
    return ship(kind.weights_name, arrays, settings, f"scanward train {name} --preset {preset}", folder,
                TRAINED_ON + FORGED)
