"""What every attack is: drawing its parameters is apart from applying them, so any tamper replays from its record."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from scanward.image import Image
from scanward.version import __version__
from scanward.weights import Trained


@dataclass(frozen=True)
class Record:
    """Everything needed to make the same tamper again from the same host (and donor), bit for bit."""

    method: str
    params: dict[str, Any]
    """Every drawn parameter, as JSON values; `apply` uses these and no other source of chance."""
    seed: int
    host_sha256: str
    """`digest` of the host's pixels."""
    donor_sha256: str | None = None
    weights_sha256: str | None = None
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Tamper:
    """A forged image with its truth."""

    image: Image
    mask: npt.NDArray[np.bool_]
    """(z, y, x), True where the attack changed what the image shows."""
    record: Record


@dataclass(frozen=True)
class Place:
    """Where and how large: the centre (y, x) in pixels and the diameter in pixels."""

    y: float
    x: float
    diameter: float


@dataclass(frozen=True)
class Spot:
    """A place in a volume: its voxel (z, y, x), fractions allowed, and the lesion's diameter in mm."""

    z: float
    y: float
    x: float
    diameter_mm: float


class Attack(Protocol):
    """One kind of forgery of a mammogram."""

    name: str
    family: str
    """Groups variants for leave-one-family-out protocols."""
    needs_donor: bool

    def draw(self, host: Image, place: Place, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Image | None = None, donor_place: Place | None = None) -> dict[str, Any]:
        """Choose every parameter; JSON values only. `strength` in (0, 1] scales the change towards nothing."""
        ...

    def apply(self, host: Image, params: dict[str, Any], *,
              donor: Image | None = None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The forged (y, x) plane, unrounded, and its truth mask (y, x). Deterministic."""
        ...


def digest(image: Image) -> str:
    """SHA-256 of the image's shape and float32 pixels."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image.pixels).tobytes()).hexdigest()


@dataclass(frozen=True)
class Donor:
    """An image a lesion comes from, and where it lies there."""

    image: Image
    place: Place | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def forge(attack: Attack, host: Image, place: Place, seed: int, *, strength: float = 1.0,
          donor: Donor | None = None) -> Tamper:
    """Draw with `seed`, apply, round to the host's own depth, and keep the record."""
    rng = np.random.default_rng(seed)
    params = attack.draw(host, place, rng, strength=strength,
                         donor=donor.image if donor else None, donor_place=donor.place if donor else None)
    donor_sha = digest(donor.image) if donor and attack.needs_donor else None
    record = Record(attack.name, params, seed, digest(host), donor_sha, _weights_of(attack), __version__)
    return _apply(attack, host, record, donor)


def replay(attack: Attack, record: Record, host: Image, donor: Donor | None = None) -> Tamper:
    """Make the recorded tamper again; `ValueError` if the host or donor is not the recorded one."""
    if digest(host) != record.host_sha256:
        raise ValueError("the host's pixels differ from those the record was made on")
    if record.donor_sha256 and (donor is None or digest(donor.image) != record.donor_sha256):
        raise ValueError("the donor's pixels differ from those the record was made with")
    if record.weights_sha256 != _weights_of(attack):
        raise ValueError("the method's weights differ from those the record was made with")
    return _apply(attack, host, record, donor)


def _weights_of(attack: Attack) -> str | None:
    return attack.weights_sha256 if isinstance(attack, Trained) else None


def _apply(attack: Attack, host: Image, record: Record, donor: Donor | None) -> Tamper:
    plane, mask = attack.apply(host, record.params, donor=donor.image if donor else None)
    return Tamper(host.with_plane(plane), mask[None], record)
