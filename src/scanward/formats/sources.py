"""`find`: from what a user typed to the images to read, each once and in a fixed order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scanward.arguments import PathLike, path_of, refused
from scanward.brief import brief
from scanward.errors import InputError, ScanwardError, UnreadableError
from scanward.formats.guard import clean, decoding, open_file, shown
from scanward.formats.sniff import HEAD, kind_of

NAMES = (".dcm", ".png", ".tif", ".tiff", ".npy", ".pgm", ".mha", ".mhd", ".nii", ".nii.gz")
"""A file so named is reported when it turns out to be none: cut to nothing, say."""
OURS = {"protected.png": ("evidence.json", "perturbation.json"),
        **dict.fromkeys(("verified.png", "altered.png", "altered.nii.gz"), ("verified.json",)),
        **dict.fromkeys(("before-after.png", "stages.png", "mask.png", "mask.nii.gz"), ("record.json",))}
"""Pictures and masks that Scanward draws for people, and the files that they lie beside; a search passes over them."""


TAKES = "a path, a Source, a NumPy array or an Image"
"""What the public functions take for an image."""


@dataclass(frozen=True)
class Source:
    """What one `read` reads."""

    paths: tuple[Path, ...]
    """One file, or the files of one CT series sorted by position."""
    kind: Literal["file", "series"]

    __repr__ = brief

    @property
    def path(self) -> Path:
        """The file, or the folder of the series."""
        return self.paths[0] if self.kind == "file" else self.paths[0].parent


def find(arguments: Iterable[Source | PathLike] | PathLike, *,
         below: bool = True) -> tuple[list[Source], list[InputError]]:
    """The images that files, folders and globs name, and an error for each argument that names none; one argument, or
    several.

    A file named explicitly is always a source. A folder is searched with its subfolders (hidden ones, hidden files
    and Scanward's own pictures passed over, links followed but no folder entered twice) for files that look like
    images; its CT slices of one SeriesInstanceUID become one series; without `below` its subfolders are left alone. A
    glob is tried where no file has that very name. Arguments keep their order, names within a folder are sorted, and
    nothing is found twice.
    """
    sources: dict[tuple[str, ...], Source] = {}
    errors: list[InputError] = []
    for argument in named(arguments):
        try:
            with decoding(argument.path if isinstance(argument, Source) else argument):
                for source in _sources(argument, below):
                    sources.setdefault(tuple(os.path.realpath(p) for p in source.paths), source)
        except InputError as error:
            errors.append(error)
    return list(sources.values()), errors


def named(arguments: Iterable[Any] | PathLike) -> Iterator[Any]:
    """Each of several arguments, or the only one, as a `Source` or as it was typed; `ArgumentError` for what is no
    path."""
    several = [arguments] if isinstance(arguments, str | os.PathLike | Source) else arguments
    if not isinstance(several, Iterable):
        raise refused("sources", "paths", arguments)
    return (one if isinstance(one, Source | str) else path_of(one, "sources", "paths") for one in several)


def series_or_file(given: Source | PathLike, *, below: bool = True) -> Source:
    """What a path names, unless it is a source already: a file, or the one series that lies in a folder itself;
    otherwise the one image in it or, unless `below` is off, in a subfolder.

    Raises as `find`; `UnreadableError` where there are several.
    """
    if isinstance(given, Source):
        return given
    path = path_of(given, "source", TAKES)
    if not path.is_dir():
        return Source((path,), "file")
    sources, errors = find([path], below=below)
    if errors:
        raise errors[0]
    own = [source for source in sources if source.kind == "series" and source.path.resolve() == path.resolve()]
    if len(own or sources) != 1:
        raise UnreadableError(f"{shown(path)} holds {len(own or sources)} images; move the one that is meant into a "
                              "folder of its own.")
    return (own or sources)[0]


def _sources(argument: str | Path | Source, below: bool) -> Iterator[Source]:
    if isinstance(argument, Source):
        yield argument
        return
    path = Path(argument)
    if argument == "":
        raise UnreadableError("An empty argument names no file; leave it out.")
    if path.is_dir():
        yield from _in_folder(path, below)
    elif os.path.lexists(path):
        yield Source((path,), "file")
    elif glob.has_magic(str(argument)):
        names = sorted(glob.glob(str(argument), recursive=True))
        if not names:
            raise UnreadableError(f"No file matches {shown(argument)}; check the pattern.")
        for match in map(Path, names):
            if match.is_dir():
                yield from _in_folder(match, below)
            else:
                yield Source((match,), "file")
    else:
        raise UnreadableError(f"{shown(argument)} does not exist; check the path.")


def _in_folder(folder: Path, below: bool) -> Iterator[Source]:
    """The folder's sources; then, where a part of it may not be read, that error."""
    closed: list[OSError] = []
    sources = _grouped(_images(folder, closed, below))
    yield from sources
    if closed:
        where = closed[0].filename or folder
        raise UnreadableError(f"{shown(where)} may not be searched ({clean(closed[0].strerror)}); ask its owner for "
                              "read permission.")
    if not sources:
        raise UnreadableError(f"{shown(folder)} holds no images; name a folder with DICOM, PNG, TIFF, PGM, NPY, "
                              "MetaImage or NIfTI files.")


def _images(folder: Path, closed: list[OSError], below: bool) -> Iterator[tuple[Path, str]]:
    """Image files below `folder` with their kinds, folder by folder, sorted; errors on the way go to `closed`."""
    entered: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=closed.append, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(f for f in files if not f.startswith(".")):
            path = Path(root, name)
            kind = None if any(mark in files for mark in OURS.get(name, ())) else _kind(path)
            if kind:
                yield path, kind
        if not below:
            return


def _kind(path: Path) -> str | None:
    """What the file holds, `unknown` where only reading it can tell why it cannot be read, None to pass it over."""
    try:
        with decoding(path), open_file(path) as file:
            kind = kind_of(path, file.read(HEAD))
    except ScanwardError:
        return "unknown" if path.is_file() else None
    return kind or ("unknown" if path.name.lower().endswith(NAMES) else None)


def _grouped(images: Iterator[tuple[Path, str]]) -> list[Source]:
    """Images as sources: CT slices of one series in one folder together, at the place of the first."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path, kind in images:
        key: tuple[str, ...] | None = (str(path),)
        if kind == "dicom":
            key = _dicom_key(path)
        if key is not None:
            groups.setdefault(key, []).append(path)
    return [_source(paths) for paths in groups.values()]


def _source(paths: list[Path]) -> Source:
    if len(paths) == 1:
        return Source((paths[0],), "file")
    from scanward.formats.series import by_position

    return Source(tuple(by_position(paths)), "series")


def _dicom_key(path: Path) -> tuple[str, ...] | None:
    """What groups the file with others: its folder and series for CT, itself for all else, None for no image."""
    from scanward.formats.dicom import is_image, modality_of, opened

    try:
        with decoding(path), opened(path) as (header, _):
            if not is_image(header):
                return None
            modality, series = modality_of(header), header.text("SeriesInstanceUID")
    except ScanwardError:
        return (str(path),)
    return (str(path.parent), series) if modality == "CT" and series else (str(path),)
