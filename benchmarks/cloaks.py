"""Trainings of the published cloaks, looked at while they run and after: `scanward train mits-gan-published`,
`mits-gan-repaired`, `tafim`.

    python benchmarks/cloaks.py curves runs/full -o docs/images/cloaks.png   figures over the pixels seen
    python benchmarks/cloaks.py table runs/full                              the same as Markdown, at doubling steps
    python benchmarks/cloaks.py picture SCAN -o FILE.png                     a place under every cloak, then forged
    python benchmarks/cloaks.py weights mits-gan-published runs -o DIR       what a run has come to, as `--preset full`
                                                                             would write it

The folders are those that `-o` of the trainings named; a run goes on meanwhile. `picture` and `weights` need the data
(--data or SCANWARD_DATA).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from watermark import KEY, PLACES

from scanward.bench.protection import chests, forged, near, protections
from scanward.bench.tables import table
from scanward.datasets.thorax import SCANS
from scanward.disk import Journal, whole_file
from scanward.mark import marked_png
from scanward.methods import build, find
from scanward.modality import traits
from scanward.protectors.watermark import Watermark
from scanward.training.adversarial import BEST

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Lines = list[dict[str, float]]
PUBLISHED = {"rmse": {"mits-gan-published": 169.5, "tafim": 194.9},
             "psnr": {"mits-gan-published": 27.95, "tafim": 21.7},
             "ssim": {"mits-gan-published": 0.983, "tafim": 0.945}}
"""Whole image, real against protected (Pasqualino et al. 2024, table 1)."""
SHOWN = {"rmse": "RMSE, HU", "psnr": "PSNR, dB (4096 HU)", "ssim": "SSIM (4096 HU)", "shift": "change of level, HU"}
PAPERS_STEP = 4 * 512 * 512
"""Pixels of a published step."""


def lines_of(folder: Path) -> dict[str, Lines]:
    """Every training's curve in a folder, by method."""
    found = {path.stem: list(Journal(path).values()) for path in sorted(folder.rglob("*.jsonl"))}
    return {name: lines for name, lines in found.items() if lines and "rmse" in lines[0]}


def curves(args: argparse.Namespace) -> None:
    """One picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs = lines_of(args.folder)
    figure = Figure(figsize=(12, 7), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (key, label) in zip(figure.subplots(2, 2).flat, SHOWN.items(), strict=True):
        for name, lines in runs.items():
            seen = [line["pixels"] / 1e6 for line in lines]
            drawn, = axes.plot(seen, [line[key] for line in lines], label=f"{name}, as used")
            if f"batch_{key}" in lines[0]:
                axes.plot(seen, [line[f"batch_{key}"] for line in lines], ":", color=drawn.get_color(),
                          label="with each slice's own batch statistics")
            if name in PUBLISHED.get(key, {}):
                axes.axhline(PUBLISHED[key][name], color=drawn.get_color(), linewidth=0.8, linestyle="--",
                             label=f"{name}, its paper")
        axes.set(xlabel="million pixels seen", ylabel=label, xscale="log", yscale="log" if key == "rmse" else "linear")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    written(figure, args.output)


def shown(args: argparse.Namespace) -> None:
    """Markdown: the lines at doubling steps, that of the least RMSE, and the last."""
    body = []
    for name, lines in lines_of(args.folder).items():
        said, nearest = 0.0, min(lines, key=lambda line: line["rmse"])
        for line in lines:
            doubled = line["step"] >= 2 * said
            said = line["step"] if doubled else said
            if doubled or line is nearest or line is lines[-1]:
                body.append([name, f"{line['step']:.0f}", f"{line['pixels'] / 1e6:.0f}",
                             f"{line['pixels'] / PAPERS_STEP:.0f}",
                             *(_number(line, key) for key in ("rmse", "psnr", "ssim", "shift", "batch_rmse",
                                                              "batch_ssim", "potency_inject", "potency_remove"))])
    print(table(["training", "steps", "million pixels", "as many published steps", *SHOWN.values(),
                 "RMSE with batch statistics", "SSIM with batch statistics", "injections, log₂ of potency",
                 "removals, log₂ of potency"], body))


def _number(line: dict[str, float], key: str) -> str:
    if key not in line:
        return "–"
    return f"{line[key]:.{3 if 'ssim' in key or 'potency' in key else 1}f}"


def picture(args: argparse.Namespace) -> None:
    """A column a cloak: the slice about a place, what was changed in it, and a nodule forged into it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chest = chests(PLACES, args.data, scan=args.scan)[0]
    site, attack = chest.sites[args.site], build("ct-gan-plain", "attack", noise="gaussian")
    made = {name: protect(chest.well, chest.around) for name, protect in protections().items()}
    made["watermark, 16 HU"] = Watermark(key=KEY).protect(chest.well)
    figure = Figure(figsize=(2.1 * len(made), 7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(3, len(made))
    (plain, centre), window = near(chest.well, site), traits("CT").window or (0.0, 1.0)
    z = round(centre[0])
    for column, (name, image) in enumerate(made.items()):
        before, after = near(image, site)[0].pixels[z], forged(image, site, attack)[0].pixels[z]
        for row, (shown, (low, high)) in enumerate(((before, window), (before - plain.pixels[z], (-64, 64)),
                                                    (after, window))):
            grid[row, column].imshow(shown, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            grid[row, column].set(xticks=[], yticks=[])
        grid[0, column].set_title(name, fontsize=9)
    for row, label in enumerate(("as it is", "changed by −64 to 64 HU", "forged (synthetic data)")):
        grid[row, 0].set_ylabel(label, fontsize=9)
    written(figure, args.output)


def written(figure: Figure, path: Path) -> None:
    """A figure as a PNG with the mark of pictures for people."""
    made = BytesIO()
    figure.savefig(made, format="png")
    with whole_file(path) as file:
        file.write(marked_png(made.getvalue()))


def weights(args: argparse.Namespace) -> None:
    """Weights and their manifest in `output`, of a run as it stands at its last checkpoint; how many steps the network
    has that is taken stands in the manifest."""
    module, _ = find(args.method, "protector").trainer.split(":")
    trainer = import_module(module)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "full"
        copy.mkdir()
        for end in (".ckpt", ".jsonl", BEST):
            if (path := args.folder / "full" / f"{args.method}{end}").exists():
                shutil.copy(path, copy)
        steps = int(torch.load(copy / f"{args.method}.ckpt", weights_only=False)["step"])
        full = trainer.PRESETS["full"]
        trainer.PRESETS["full"] = dataclasses.replace(full, schedule=dataclasses.replace(full.schedule, steps=steps))
        made = trainer.train(args.method, preset="full", data=args.data, out=Path(folder))
        args.output.mkdir(parents=True, exist_ok=True)
        for path in (made, made.with_name("manifest.toml")):
            shutil.copy(path, args.output / path.name)
    print(json.dumps({"weights": str(args.output / made.name), "trained": steps}))


def main() -> None:
    """Parse the command line and run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, run in (("curves", curves), ("table", shown), ("picture", picture), ("weights", weights)):
        kind = kinds.add_parser(name)
        if run is picture:
            kind.add_argument("scan", choices=[row.name for row in SCANS if row.split == "test"])
            kind.add_argument("--site", type=int, default=0, help="which of the places of the first drawing")
        if run is weights:
            kind.add_argument("method", choices=["mits-gan-published", "mits-gan-repaired", "tafim"])
        if run in (picture, weights):
            kind.add_argument("--data", type=Path)
        if run is not picture:
            kind.add_argument("folder", type=Path)
        kind.add_argument("-o", "--output", type=Path, required=run is not shown)
        kind.set_defaults(run=run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
