"""What every attack is: drawing its parameters is apart from applying them, so any tamper replays from its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import Breast
from scanward.anatomy.lung import Lungs
from scanward.arguments import PathLike, path_of
from scanward.box import Box
from scanward.brief import brief
from scanward.errors import ArgumentError
from scanward.image import Image, digest
from scanward.version import __version__
from scanward.weights import Trained

Anatomy = Breast | Lungs


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

    __repr__ = brief

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Lesion:
    """Where a lesion is put in or taken away, and how large it is. A film is a volume of one slice: z is 0."""

    centre: tuple[float, float, float]
    """The voxel (z, y, x), fractions allowed."""
    diameter: float
    """In a volume in mm. In a film in its pixels: attacks measure in those, films may have no spacing, and a diameter
    that went through mm would come back another in its last bit, and with it the forgeries of frozen lists."""

    __repr__ = brief

    @property
    def y(self) -> float:
        """Of the centre, in voxels."""
        return self.centre[1]

    @property
    def x(self) -> float:
        """Of the centre, in voxels."""
        return self.centre[2]


@dataclass(frozen=True)
class View:
    """How one of two views sees a lesion that both show."""

    name: str
    """`CC` or `MLO`."""
    solid: int
    """The seed of the lesion's form in three dimensions."""
    contrast: float
    """What a diameter of a mass adds, of the film's range from black to white."""
    inward: tuple[float, float]
    """Unit vector (y, x) from the nipple towards the chest wall: the axis that both views share."""

    __repr__ = brief


@dataclass(frozen=True, eq=False)
class Patch:
    """What an attack changes. Raises `ValueError` where values or mask do not fill the box, or are not finite."""

    box: Box
    """Of the host."""
    values: npt.NDArray[np.float32]
    """(z, y, x) of the box, as the attack made them: those of a film are not rounded to its depth yet."""
    mask: npt.NDArray[np.bool_]
    """(z, y, x) of the box, True where the attack changed what the image shows."""

    __repr__ = brief

    def __post_init__(self) -> None:
        shape = self.box.size
        if self.values.shape != shape or self.mask.shape != shape:
            raise ValueError(f"values {self.values.shape} and mask {self.mask.shape} must fill the box {shape}")
        if not np.isfinite(self.values).all():
            raise ValueError("values must be finite")


@dataclass(frozen=True, eq=False)
class Tamper:
    """A forged image with its truth."""

    image: Image
    mask: npt.NDArray[np.bool_]
    """(z, y, x), True where the attack changed what the image shows."""
    record: Record
    patches: tuple[Patch, ...] = ()
    """Of every lesion, in turn."""
    writer: Callable[[Tamper, Path], list[Path]] | None = field(default=None, repr=False, compare=False)
    """What `save` does; whoever knows the host's file gives it."""

    __repr__ = brief

    def save(self, folder: PathLike) -> list[Path]:
        """Write what `scanward inject` and `remove` write: the image in its host's format, marked as forged, its mask,
        `before-after.png` and `record.json`, from which `scanward replay` makes it again. All or nothing, and nothing
        is overwritten. Returns these, the image first.

        Raises `ArgumentError` where the folder cannot be written or the host came from no file, `UnreadableError` where
        that file has changed; `UnsupportedError` for a format that is not written.
        """
        if self.writer is None:
            raise ArgumentError("Only what scanward.inject and scanward.remove made can be saved.")
        return self.writer(self, path_of(folder, "folder"))


@dataclass(frozen=True)
class Donor:
    """An image a lesion comes from, and where it lies there."""

    image: Image
    lesion: Lesion | None = None

    __repr__ = brief


class Attack(Protocol):
    """One kind of forgery, of films or of volumes."""

    name: str
    family: str
    """Groups variants for leave-one-family-out protocols."""
    needs_donor: bool

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Choose every parameter; JSON values only. `strength` in (0, 1] scales the change towards nothing. `anatomy`
        is where the host's breast or lungs are, for who knows it already. `ArgumentError` for a lesion or a strength
        that cannot be, `UnsupportedError` for a host that the attack does not forge."""
        ...

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forgery with these parameters. Deterministic."""
        ...


def forge(attack: Attack, host: Image, lesions: Lesion | Sequence[Lesion], seed: int, *, strength: float = 1.0,
          donor: Donor | None = None, anatomy: Anatomy | None = None) -> Tamper:
    """Draw with `seed`, apply, one lesion after the other, and keep the record. Raises as `Attack.draw`."""
    return _apply(attack, host, drawn(attack, host, lesions, seed, strength=strength, donor=donor, anatomy=anatomy),
                  donor)


def drawn(attack: Attack, host: Image, lesions: Lesion | Sequence[Lesion], seed: int, *, strength: float = 1.0,
          donor: Donor | None = None, anatomy: Anatomy | None = None) -> Record:
    """The record of what `forge` would make, of which nothing is made yet. Raises as `Attack.draw`."""
    if isinstance(lesions, Lesion):
        lesions = [lesions]
    # One lesion of a film is recorded as it always was: its parameters alone, drawn with the plain seed.
    single = host.modality == "MG" and len(lesions) == 1
    rngs = [np.random.default_rng(seed if single else (seed, 3, number)) for number in range(len(lesions))]
    params = [attack.draw(host, lesion, rng, strength=strength, donor=donor, anatomy=anatomy)
              for lesion, rng in zip(lesions, rngs, strict=True)]
    return Record(attack.name, params[0] if single else {"places": params}, seed, digest(host),
                  digest(donor.image) if donor and attack.needs_donor else None, _weights_of(attack), __version__)


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
    pixels, mask, patches = host.pixels.copy(), np.zeros(host.shape, np.bool_), []
    now = replace(host, pixels=pixels)
    for params in record.params.get("places", [record.params]):
        patch = attack.apply(now, params, donor=donor.image if donor else None)
        pixels[patch.box.slices] = patch.values
        mask[patch.box.slices] |= patch.mask
        patches.append(patch)
    return Tamper(host.with_plane(pixels[0]) if host.modality == "MG" else now, mask, record, tuple(patches))
