"""Hosts read again: what was made of an image in memory is written in the format of the file that it came from."""

from __future__ import annotations

from dataclasses import dataclass

from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import shown
from scanward.formats.reader import Given, read
from scanward.formats.sources import Source, series_or_file
from scanward.image import Image, Modality, digest


@dataclass(frozen=True)
class Host:
    """Where an image came from, and what its pixels were; not the pixels, of which a CT has gigabytes."""

    given: Source | str | None
    """None where it came from no file."""
    modality: Modality | None
    spacing: tuple[float, float] | None
    """(y, x) in millimetres."""
    sha256: str

    def again(self) -> tuple[Source, Image]:
        """Its source and itself, read again. `ArgumentError` where there is no file, `UnreadableError` where it holds
        other pixels."""
        if self.given is None:
            raise ArgumentError("What was made of an array has no file whose format it could be written in; write the "
                                "array to a file first, and give that.")
        source = series_or_file(self.given)
        image = read(source, modality=self.modality, spacing=self.spacing)
        if digest(image) != self.sha256:
            raise UnreadableError(f"{shown(source.path)} holds other pixels than those that this was made of; make it "
                                  "again from the file as it is.")
        return source, image


def host_of(given: Given, image: Image, modality: Modality | None = None,
            spacing: tuple[float, float] | None = None) -> Host:
    """Where `image` came from, which was read from what a public function was given."""
    if isinstance(given, Image):
        modality, spacing = image.modality, image.spacing and image.spacing[1:]
    path = image.provenance.path
    return Host(given if isinstance(given, Source) else None if path is None else str(path), modality, spacing,
                digest(image))
