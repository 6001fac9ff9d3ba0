"""Trained weights: a manifest that says what each file is, and a loader that refuses any other file."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_bytes

from scanward.errors import WeightsError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One table of `manifest.toml`."""

    name: str
    file: str
    sha256: str
    size: int
    trained_on: str
    licence: str
    """The licence of the training data; printed by `scanward methods`."""
    command: str
    """The command that made the file."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Intensity mapping, calibrated thresholds and whatever else inference needs."""


@cache
def manifest() -> dict[str, Entry]:
    """Every entry by name."""
    path = FOLDER / "manifest.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Entry(name=name, **table) for name, table in tables.items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise WeightsError(f"The weights' manifest {path} cannot be read ({error}); reinstall scanward.") from error


def entry(name: str) -> Entry:
    """The manifest's entry, or `WeightsError`."""
    try:
        return manifest()[name]
    except KeyError:
        raise WeightsError(f"There are no weights called {name!r}; train them with `scanward train`.") from None


def load(name: str, folder: Path = FOLDER) -> tuple[dict[str, np.ndarray], Entry]:
    """Arrays by parameter name, from a file whose SHA-256 is the manifest's; otherwise `WeightsError`."""
    wanted = entry(name)
    path = folder / wanted.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read ({error.strerror}); reinstall scanward.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != wanted.sha256:
        raise WeightsError(f"The weights {path} are not the ones the manifest promises (SHA-256 {found[:12]}…, "
                           f"expected {wanted.sha256[:12]}…); reinstall scanward.")
    return load_bytes(data), wanted


class Trained:
    """A method's weights and settings: the shipped ones, loaded on first use, or those that are passed."""

    weights_name: str

    def __init__(self, arrays: dict[str, np.ndarray] | None = None, settings: dict[str, Any] | None = None) -> None:
        """Without arguments the shipped weights; training and benches pass their own."""
        self._given = (arrays, settings or {}) if arrays is not None else None

    @property
    def weights_sha256(self) -> str | None:
        """Of the shipped file; None for weights that were passed."""
        return None if self._given is not None else entry(self.weights_name).sha256

    def check_weights(self) -> None:
        """`WeightsError` where the weights are missing or are not those that the manifest promises."""
        self._weights  # noqa: B018

    @cached_property
    def _weights(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if self._given is not None:
            return self._given
        arrays, found = load(self.weights_name)
        return arrays, found.settings
