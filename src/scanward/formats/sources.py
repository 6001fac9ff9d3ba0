"""`find`: from what a user typed to the images to read, each once and in a fixed order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from scanward.arguments import PathLike, path_of, refused
from scanward.brief import brief
from scanward.errors import InputError, ScanwardError, UnreadableError
from scanward.formats.guard import clean, decoding, open_file, shown
from scanward.formats.sniff import HEAD, is_foreign_picture, kind_of
from scanward.mark import is_marked

OWN, FOREIGN = "own", "foreign"
"""The kinds of a picture or mask that Scanward made for people, and of a picture or volume that it does not read."""
NAMES = (".dcm", ".png", ".tif", ".tiff", ".npy", ".pgm", ".mha", ".mhd", ".nii", ".nii.gz")
"""A file so named is reported when it turns out to be none: cut to nothing, say."""


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


_READ = "DICOM, PNG, TIFF, PGM, NPY, MetaImage or NIfTI"
_UNREAD: Final = "in formats that Scanward does not read"
PASSED = {"of Scanward's own pictures": "It carries the mark of the pictures and masks that Scanward makes for people.",
          "that are no images": "Its SOP class is one of objects about images, not of images.",
          "hidden": "It is hidden: its name begins with a dot.",
          _UNREAD: f"Its format is none that Scanward reads; unpack it, or convert it to {_READ}."}


@dataclass(frozen=True)
class Passed:
    """What a search of a folder passed over that may be an image."""

    path: Path
    what: Literal["of Scanward's own pictures", "that are no images", "hidden",
                  "in formats that Scanward does not read"]
    """`that are no images`: DICOM objects about images, such as reports and directories."""

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        return PASSED[self.what]


def find(arguments: Iterable[Source | PathLike] | PathLike, *, below: bool = True,
         passed: list[Passed] | None = None) -> tuple[list[Source], list[InputError]]:
    """The images that files, folders and globs name, and an error for each argument that names none; one argument, or
    several.

    A file named explicitly is always a source. A folder is searched with its subfolders (hidden ones, hidden files
    and Scanward's own pictures passed over, links followed but no folder entered twice) for files that look like
    images; its CT slices of one SeriesInstanceUID become one series, and where they have none, as after some
    de-identification, those of one series number, study and patient; without `below` its subfolders are left alone. A
    glob is tried where no file has that very name. Arguments keep their order, names within a folder are sorted, and
    nothing is found twice. What was passed over is added to `passed`: who answers for images has to say so.
    """
    sources: dict[tuple[str, ...], Source] = {}
    errors: list[InputError] = []
    search = _Search(below, [] if passed is None else passed)
    for argument in named(arguments):
        try:
            with decoding(argument.path if isinstance(argument, Source) else argument):
                for source in _sources(argument, search):
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
    if not os.path.isdir(path):  # unlike Path.is_dir, it raises nothing for a name that is too long
        return Source((path,), "file")
    sources, errors = find([path], below=below)
    if errors:
        raise errors[0]
    real = os.path.realpath(path)
    own = [source for source in sources if source.kind == "series" and os.path.realpath(source.path) == real]
    if len(own or sources) != 1:
        raise UnreadableError(f"{shown(path)} holds {len(own or sources)} images; move the one that is meant into a "
                              "folder of its own.")
    return (own or sources)[0]


@dataclass(frozen=True)
class _Search:
    below: bool
    passed: list[Passed]


def _sources(argument: str | Path | Source, search: _Search) -> Iterator[Source]:
    if isinstance(argument, Source):
        yield argument
        return
    path = Path(argument)
    if argument == "":
        raise UnreadableError("An empty argument names no file; leave it out.")
    if path.is_dir():
        yield from _in_folder(path, search)
    elif os.path.lexists(path):
        yield Source((path,), "file")
    elif glob.has_magic(str(argument)):
        names = sorted(glob.glob(str(argument), recursive=True))
        if not names:
            raise UnreadableError(f"No file matches {shown(argument)}; check the pattern.")
        for match in map(Path, names):
            if match.is_dir():
                yield from _in_folder(match, search)
            else:
                yield Source((match,), "file")
    else:
        raise UnreadableError(f"{shown(argument)} does not exist; check the path.")


def _in_folder(folder: Path, search: _Search) -> Iterator[Source]:
    """The folder's sources; then, where a part of it may not be read, that error."""
    closed: list[OSError] = []
    before = len(search.passed)
    sources = _grouped(_images(folder, closed, search), search)
    yield from sources
    if closed:
        where = closed[0].filename or folder
        raise UnreadableError(f"{shown(where)} may not be searched ({clean(closed[0].strerror)}); ask its owner for "
                              "read permission.")
    passed = sorted(search.passed[before:], key=lambda one: one.what == _UNREAD)
    if not sources and passed:
        mend = f"convert it to {_READ}" if passed[0].what == _UNREAD else "name a file itself to have it read"
        raise UnreadableError(f"{shown(folder)} holds no images but what is passed over, such as "
                              f"{shown(passed[0].path.name)}; {mend}.")
    if not sources:
        raise UnreadableError(f"{shown(folder)} holds no images; name a folder with DICOM, PNG, TIFF, PGM, NPY, "
                              "MetaImage or NIfTI files.")


def _images(folder: Path, closed: list[OSError], search: _Search) -> Iterator[tuple[Path, str]]:
    """Image files below `folder` with their kinds, folder by folder, sorted; errors on the way go to `closed`."""
    entered: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=closed.append, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        if search.below:
            search.passed.extend(Passed(Path(root, f), "hidden") for f in sorted(folders) if f.startswith("."))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from _of_files((Path(root, name) for name in sorted(files)), search)
        if not search.below:
            return


def _of_files(paths: Iterable[Path], search: _Search) -> Iterator[tuple[Path, str]]:
    """Those that are images, with their kinds."""
    for path in paths:
        kind = _kind(path)
        if kind and path.name.startswith("."):
            search.passed.append(Passed(path, "hidden"))
        elif kind == OWN:
            search.passed.append(Passed(path, "of Scanward's own pictures"))
        elif kind == FOREIGN:
            search.passed.append(Passed(path, _UNREAD))
        elif kind:
            yield path, kind


def in_one_folder(paths: Iterable[Path], passed: list[Passed]) -> list[list[Path]]:
    """What `find` makes of these files of one folder, where nothing but it tells which are looked at: of each image or
    CT series its files, in the order given, which is that of their first files, too.

    For archives: where a header says at once what it is, no more of it is looked at. A file that says it twice is
    among those of its series here, and `find` has it alone; reading refuses it either way.
    """
    search = _Search(False, passed)
    return list(_groups(_of_files(paths, search), search, quick=True).values())


def _kind(path: Path) -> str | None:
    """What the file holds, `unknown` where only reading it can tell why it cannot be read, `OWN`, `FOREIGN`, None for
    what is no image."""
    head = b""
    try:
        with decoding(path), open_file(path) as file:
            head = file.read(HEAD)
            kind = kind_of(path, head)
            if (kind == "png" and is_marked(head, "png")) or (kind == "nifti" and is_marked(head, "nifti")):
                return OWN
    except ScanwardError:  # links to nothing, pipes and the like count where they are named like images
        kind = "unknown" if path.is_file() else None
    if kind is None and path.name.lower().endswith(NAMES):
        return "unknown"
    return kind or (FOREIGN if is_foreign_picture(path, head) else None)


def _grouped(images: Iterator[tuple[Path, str]], search: _Search) -> list[Source]:
    """Images as sources: CT slices of one series in one folder together, at the place of the first."""
    return [_source(paths) for paths in _groups(images, search).values()]


def _groups(images: Iterator[tuple[Path, str]], search: _Search, *, quick: bool = False) -> \
        dict[tuple[str, ...], list[Path]]:
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path, kind in images:
        key: tuple[str, ...] | None = (str(path),)
        if kind == "dicom":
            key = (_quick_key(path) if quick else None) or _dicom_key(path, search)
        if key is not None:
            groups.setdefault(key, []).append(path)
    return groups


def _source(paths: list[Path]) -> Source:
    if len(paths) == 1:
        return Source((paths[0],), "file")
    from scanward.formats.series import by_position

    return Source(tuple(by_position(paths)), "series")


_WITHOUT_UID = ("SeriesNumber", "StudyInstanceUID", "PatientID")
"""What tells series apart whose UIDs were taken out."""


def _dicom_key(path: Path, search: _Search) -> tuple[str, ...] | None:
    """What groups the file with others: its folder and series for CT, as `find` tells them apart, and its orientation
    where it is a scout, which some scanners put among a series; itself for all else, None for what is passed over."""
    from scanward.formats.dicom import LOCALIZER, is_image, is_own, modality_of, opened

    try:
        with decoding(path), opened(path, ("ImageType", *_WITHOUT_UID)) as (header, _):
            if not is_image(header) or is_own(header):
                own = is_image(header)
                search.passed.append(Passed(path, "of Scanward's own pictures" if own else "that are no images"))
                return None
            modality, series = modality_of(header), [header.text("SeriesInstanceUID")]
            numbered = header.text("SeriesNumber") and header.numbers("ImagePositionPatient", 3)
            if numbered and not series[0]:
                series += [header.text(keyword) for keyword in _WITHOUT_UID]
            axes = header.numbers("ImageOrientationPatient", 6) if LOCALIZER in header.text("ImageType").upper() else ()
    except ScanwardError:
        return (str(path),)
    scout = [str(round(one, 1) + 0) for one in axes or ()]
    return (str(path.parent), *series, *scout) if modality == "CT" and any(series) else (str(path),)


def _quick_key(path: Path) -> tuple[str, ...] | None:
    """As `_dicom_key`, of a CT slice or a mammogram whose first elements say that it is one; None of all else."""
    from scanward.formats.glance import glance

    film, series = glance(path)
    return (str(path),) if film else (str(path.parent), series) if series else None
