"""Seals in DICOM objects, which a PACS keeps beside the study: written, and found again by the images they refer to."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from scanward.disk import whole_file
from scanward.errors import InputError
from scanward.formats import Source
from scanward.formats.key_object import KeyObject, read_key_object, uids_of, write_key_object
from scanward.seals.dicom_keys import DicomSigner
from scanward.seals.dicom_signature import signed_bytes
from scanward.seals.finding import object_path, read_seal
from scanward.seals.record import Seal
from scanward.seals.trust import Trust

PURPOSE = "14 Source Signature"
"""Of an object's own signature (CID 7007), which its profile asks for."""


def write_object(source: Source, seal: Path, signer: DicomSigner | None = None) -> Path:
    """Write the seal of a DICOM file or series as a DICOM object beside the seal's file, signed where somebody is given
    who can; its path.

    Raises `ArgumentError` where it is there already, other `InputError` for images that no object can refer to.
    """
    path = object_path(seal)
    made = write_key_object(source.paths, seal.read_text("utf-8"), datetime.datetime.now(), signed=signer is not None)
    with whole_file(path, replace=False) as file:
        file.write(made if signer is None else signed_bytes(made, path, signer, PURPOSE))
    return path


def is_written(seal: Path) -> bool:
    """Whether the object of a seal's file lies beside it."""
    with suppress(InputError):
        return read_seal(object_path(seal)).root == read_seal(seal).root
    return False


class Objects:
    """The objects with seals that lie in some places, which are searched once; and in the folder of an image that is in
    none of them, each time anew, or once where `standing` says that nothing is laid there meanwhile."""

    def __init__(self, named: Iterable[Path] = (), standing: bool = False) -> None:
        self._beside = lru_cache(8)(_in_folder) if standing else _in_folder
        self._named = [Path(os.path.realpath(path)) for path in named]
        self._searched: list[KeyObject] | None = None
        self._places: set[Path] = set()
        self._asked: set[tuple[str, str]] = set()
        """What `of` was asked for: keywords and UIDs."""

    @property
    def named(self) -> list[KeyObject]:
        """Those in the places that were named: folders with all below, and what lies beside these and beside files."""
        if self._searched is None:
            for path in self._named:
                self._places |= {path.parent} | ({Path(root) for root, _, _ in os.walk(path)})
            self._searched = [one for place in sorted(self._places) for one in _in_folder(place)]
        return self._searched

    def of(self, source: Source) -> list[Path]:
        """Those that refer to a file or, by an instance or its series, to a series of files."""
        found = list(self.named)
        folder = Path(os.path.realpath(source.paths[0])).parent
        beside = [folder, folder.parent] if source.kind == "series" else [folder]
        found += [one for place in beside if place not in self._places for one in self._beside(place)]
        if not found:
            return []
        instances, series = (set(uids) - {""} for uids in zip(*map(uids_of, source.paths), strict=True))
        if source.kind != "series":
            series = set()
        self._asked |= {("SOPInstanceUID", uid) for uid in instances} | {("SeriesInstanceUID", uid) for uid in series}
        return [one.path for one in found if one.instances & instances or one.series & series]

    def lost(self, trusted: Trust) -> dict[Path, Seal]:
        """The site's own seals below the folders that were named, of images that nobody asked for, by the UIDs that are
        signed: what an object refers to anybody can write."""
        found = {}
        for one in self.named:
            if any(one.path.is_relative_to(path) for path in self._named):
                with suppress(InputError):  # a damaged one vouches for nothing that could be missed
                    found[one.path] = read_seal(one.path)
        return {path: seal for path, seal in found.items()
                if trusted.knows(seal.certificate) and not self._asked & set(seal.study.items())}


def _in_folder(folder: Path) -> list[KeyObject]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # beside what was named, where nobody said that there is anything
        return []
    return [found for found in (read_key_object(folder / name) for name in names) if found is not None]


def objects_of(source: Source, where: Path | None = None, objects: Objects | None = None) -> list[Path]:
    """The objects with seals that refer to an image: in the folder `where` or, without one, in `objects` and beside it;
    none where `where` is a file, which is the seal itself."""
    if where is not None and not os.path.isdir(where):
        return []
    return ((objects or Objects()) if where is None else Objects([where])).of(source)
