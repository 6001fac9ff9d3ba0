"""What every protector gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scanward.arguments import PathLike, path_of
from scanward.brief import brief
from scanward.errors import ArgumentError
from scanward.image import Image


@dataclass(frozen=True, eq=False)
class Protected:
    """An image under protection."""

    image: Image
    writer: Callable[[Protected, Path], list[Path]] | None = field(default=None, repr=False, compare=False)
    """What `save` does; whoever knows the image's file gives it."""

    __repr__ = brief

    def save(self, folder: PathLike) -> list[Path]:
        """Write what `scanward protect` writes: the image in its own format with its mark, `protected.png` and
        `perturbation.json`. All or nothing, and nothing is overwritten. Returns these, the image first.

        Raises `ArgumentError` where the folder cannot be written or the image came from no file, `UnreadableError`
        where that file has changed; `UnsupportedError` for a format that is not written.
        """
        if self.writer is None:
            raise ArgumentError("Only what scanward.protect made can be saved.")
        return self.writer(self, path_of(folder, "folder"))
