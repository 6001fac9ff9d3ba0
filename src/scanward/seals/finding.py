"""Which seals may be an image's: by their names, and by the UIDs that they say, wherever the image was moved since.

What a seal says here is not yet checked: it only says which seals are held against the image.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from scanward.errors import ScanwardError, UnreadableError
from scanward.formats import Source, find
from scanward.formats.content import study_of
from scanward.formats.dicom import is_image, is_own, opened
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.key_object import LARGEST_SEAL, seal_in
from scanward.formats.packed import names_any
from scanward.formats.sources import Passed
from scanward.seals.record import Seal, from_json

SUFFIX = ".seal"
STEM = 240
"""Bytes of an image's name that its seal's keeps; of a longer name the last 17 tell it from others."""


def read_seal(path: Path) -> Seal:
    """A seal's file, or the DICOM object that holds one; `UnreadableError` where it is none, or was altered."""
    kept = seal_in(path)
    if kept is not None:
        return from_json(kept, shown(path))
    with decoding(path):
        return from_json(_text(path), shown(path))


def seal_path(source: Source, folder: Path | None = None, number: int = 1) -> Path:
    """Where the seal of an image lies: beside the file or the series' folder, or in `folder`. Those of other series in
    that folder, and of later versions, have a number in their names."""
    real = Path(os.path.realpath(source.path))
    return (folder or real.parent) / (_stem(real) + (f".{number}" if number > 1 else "") + SUFFIX)


def object_path(seal: Path) -> Path:
    """Where the DICOM object that holds a seal is written."""
    return seal.with_name(seal.name + ".dcm")


def free_path(source: Source, folder: Path | None = None) -> Path:
    """The first of these names that is taken neither by a seal nor by a DICOM object that holds one."""
    number = 1
    while any(map(os.path.lexists, (path := seal_path(source, folder, number), object_path(path)))):
        number += 1
    return path


def named_seals(source: Source, where: Path | None = None) -> list[Path]:
    """The seals whose names say that they are the image's: `where` itself if that is a file, or in that folder, or
    beside the image."""
    if where is not None and not os.path.isdir(where):
        return [where]
    first = seal_path(source, where)
    form = re.compile(re.escape(_stem(Path(os.path.realpath(source.path)))) + r"(\.[1-9][0-9]*)?" + re.escape(SUFFIX))
    return [path for path in seals_in(first.parent) if form.fullmatch(path.name)]


def other_seals(source: Source, where: Path | None = None) -> list[Path]:
    """The seals in `where`, or in and beside the image's folder, that say the image's UID and have other names."""
    keyword, uid = uid_of(source)
    if not uid or (where is not None and not os.path.isdir(where)):
        return []
    real = Path(os.path.realpath(source.path))
    folders = [where] if where is not None else [real, real.parent] if source.kind == "series" else [real.parent]
    named = set(named_seals(source, where))
    return [path for folder in folders for path in seals_in(folder)
            if path not in named and study_in(path).get(keyword) == uid]


Uid = tuple[str, str]
"""A keyword and its value, empty where an image says none."""


def uid_of(source: Source) -> Uid:
    """By which an image and its seal belong together: of a series its own, of a file its instance's."""
    keyword = "SeriesInstanceUID" if source.kind == "series" else "SOPInstanceUID"
    return keyword, study_of(source).get(keyword, "")


def is_of(seal: Seal, uid: Uid) -> bool:
    """Whether a seal says that UID, or likewise none."""
    return seal.study.get(uid[0], "") == uid[1]


def images_beside(source: Source) -> list[Uid]:
    """Of the other images in an image's folder that say one: their seals may have its name, and are not its own."""
    sources, _ = find([Path(os.path.realpath(source.paths[0])).parent], below=False)
    return [uid for other in sources if other.paths != source.paths and (uid := uid_of(other))[1]]


def passed_images(passed: Sequence[Passed], sources: Sequence[Source]) -> list[Passed]:
    """Of what a search passed over, files that say, or pack what says, that they are of the series of an image that it
    found or, where they are images, of its study: who opens the folder elsewhere may see them with it."""
    found = [study_of(source) for source in sources] if passed else []
    series, studies = ({one[key] for one in found if one.get(key)} for key in ("SeriesInstanceUID", "StudyInstanceUID"))
    return [one for one in _each(passed) if names_any(one.path, series) or (
        (study := study_of(Source((one.path,), "file"))) and (
            study.get("SeriesInstanceUID") in series or
            (study.get("StudyInstanceUID") in studies and _shows(one.path))))]


def _each(passed: Iterable[Passed]) -> Iterator[Passed]:
    """With the files of hidden folders."""
    for one in passed:
        if not one.path.is_dir():
            yield one
            continue
        inner: list[Passed] = []
        sources, _ = find([one.path], passed=inner)
        yield from (Passed(path, one.what) for source in sources for path in source.paths)
        yield from _each(inner)


def _shows(path: Path) -> bool:
    with suppress(ScanwardError), decoding(path), opened(path) as (header, _):
        return is_image(header) and not is_own(header)
    return False


def lost_seals(folder: Path, sources: Iterable[Source]) -> list[Path]:
    """The seals below a folder that are of none of the images that were found there, by the UIDs that they say; an
    image that has others since may still be what one of them seals."""
    found = {os.path.realpath(path) for source in sources for path in _seals_of(source)}
    return [path for path in sorted(folder.rglob(f"*{SUFFIX}")) if path.is_file() and
            os.path.realpath(path) not in found]


def _seals_of(source: Source) -> list[Path]:
    """Those that say its UID; where one of its name does, of other names only other versions: another of the same
    version is a copy's."""
    keyword, uid = uid_of(source)
    named = [path for path in named_seals(source) if study_in(path).get(keyword, "") == uid]
    own = {_version(path) for path in named}
    return named + [path for path in other_seals(source) if not own or _version(path) not in own]


def seals_in(folder: Path) -> list[Path]:
    """Sorted by name; none of a folder that cannot be searched."""
    try:
        with os.scandir(folder) as found:
            return sorted(folder / entry.name for entry in found if entry.name.endswith(SUFFIX) and entry.is_file())
    except OSError:
        return []


def study_in(path: Path) -> dict[str, str]:
    """What a seal says of UIDs; nothing where it is none."""
    return dict(_said(path)[0])


def _version(path: Path) -> int:
    return _said(path)[1]


def _said(path: Path) -> tuple[tuple[tuple[str, str], ...], int]:
    try:
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError:
        return (), 1


@lru_cache(1 << 14)
def _read(path: Path, *_: int) -> tuple[tuple[tuple[str, str], ...], int]:
    try:
        with decoding(path):
            body = json.loads(seal_in(path) or _text(path))["body"]
            study = tuple((str(key), str(value)) for key, value in body["study"].items())
            return study, int(body.get("version", 1))
    except ScanwardError:
        return (), 1


def _text(path: Path) -> str:
    with open_file(path) as file:
        data = file.read(LARGEST_SEAL + 1)
    if len(data) > LARGEST_SEAL:
        raise UnreadableError(f"{shown(path)} is too large for a seal; name the one that `scanward seal` wrote.")
    return data.decode("utf-8", "replace")


def _stem(real: Path) -> str:
    name = os.fsencode(real.name)
    if len(name) <= STEM:
        return real.name
    end = "." + hashlib.sha256(name).hexdigest()[:16]
    return name[:STEM - len(end)].decode(errors="ignore") + end
