"""The seals that a gateway keeps, and by which of them it knows an image: by its UIDs, or by its fingerprint.

A folder with `NAME.seal`, `NAME.print` (the fingerprints of its slices) and `index`, in which all that is searched
stands; it is read once and then as it grows, and is made anew from the other files where it is missing. A seal is
first a draft, then in the log, then under its name, and a draft that a kill left is seen through to its end.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.disk import sync_folder, whole_file
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.content import Content
from scanward.formats.guard import shown
from scanward.seals.files import SUFFIX, read_seal
from scanward.seals.fingerprint import (
    FINE,
    FLIPPED,
    FLIPS,
    MATCH,
    WIDTH,
    Print,
    Region,
    Whole,
    grey_of,
    likeness,
    nearest,
    print_of,
    sampled,
    turned,
)
from scanward.seals.log import Log
from scanward.seals.record import Seal, seal_of
from scanward.seals.signing import Signer

PRINT, DRAFT, INDEX, LOCK = ".print", ".draft", "index", "lock"
SEALS, CLOSELY = 8, 6
"""Seals that are looked at closely for an image, and pairs of slices of each."""
_DIGEST = 16

ROW = np.dtype([("check", "<u4"), ("plane", "<u4"), ("of", "<u4"), ("name", "S64"), ("series", "S32"),
                ("instance", "S32"), ("printed", "u1"), ("there", "<f4", 4), ("coarse", "i1", WIDTH)])
"""A coarse picture of a slice in the index, `there` the region that it is of, one `of` so many rows of its seal. A
slice without has one, too."""
FULL = np.dtype([("row", ROW), ("fine", "i1", (FINE, FINE))])
Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Look:
    """An image as it is looked for."""

    values: npt.NDArray[Any]
    """(z, y, x) or (z, y, x, samples)."""
    senses: tuple[int, ...]
    """Of each slice 1 where large values are bright, -1 where they are dark: upside down it is shown no other."""
    prints: dict[int, Print]
    """Of the slices that have one."""

    def plane(self, z: int) -> npt.NDArray[np.float32]:
        """A slice in grey, its bright end up."""
        return grey_of(self.values[z]) * np.float32(self.senses[z])


def look_of(content: Content) -> Look:
    """What an image is looked for by."""
    dark = (content.place.get("PhotometricInterpretation") == "MONOCHROME1") != (
        content.place.get("PresentationLUTShape") == "INVERSE")
    slopes = [slope for slope, _ in content.scale] * (len(content.values) if len(content.scale) == 1 else 1)
    look = Look(content.values, tuple(-1 if (slope < 0) != dark else 1 for slope in slopes), {})
    found = ((z, print_of(look.plane(z))) for z in range(len(content.values)))
    return replace(look, prints={z: one for z, one in found if one is not None})


class Archive:
    """Seals in a folder, of any number of processes; every method but `alone` is called within it."""

    def __init__(self, folder: Path, log: Log) -> None:
        """Raises `ArgumentError` where the folder cannot be made."""
        self.folder, self._log = folder, log
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(f"{shown(folder)} cannot be made ({error.strerror}); choose another folder.") from error
        self._rows: Rows = np.empty(0, ROW)
        self._read, self._seen = (-1, 0), -1  # the index's inode and how much of it is known; when the folder changed

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process adds a seal meanwhile, and what others added, or a kill left half done, is known. Raises
        `ArgumentError` where the folder cannot be written."""
        try:
            handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                self._refresh()
                yield
            finally:
                os.close(handle)
        except OSError as error:
            raise ArgumentError(f"{shown(self.folder)} cannot be written ({error.strerror}); free some space, or make "
                                "it the gateway's own.") from error

    def named(self, instances: Sequence[str]) -> list[str]:
        """Names of seals of images with one of these SOP Instance UIDs, the last added first."""
        return self._names(np.isin(self._rows["instance"], np.array([_digest(uid) for uid in instances if uid], "S32")))

    def of_series(self, series: str) -> list[str]:
        """Names of seals of images with this Series Instance UID, the last added first."""
        return self._names(self._rows["series"] == _digest(series).encode()) if series else []

    def _names(self, rows: npt.NDArray[np.bool_]) -> list[str]:
        return list(dict.fromkeys(name.decode() for name in self._rows["name"][rows][::-1]))

    def holds(self, name: str, instances: Sequence[str]) -> tuple[set[str], bool]:
        """Which of these SOP Instance UIDs a seal is of, and whether it is of no others."""
        kept = set(self._rows["instance"][self._rows["name"] == name.encode()].tolist())
        found = {uid for uid in instances if _digest(uid).encode() in kept}
        return found, len(found) == len(kept)

    def alike(self, look: Look) -> list[str]:
        """Names of seals of images that this one was made of, as far as its slices show, the likest first."""
        known = self._rows[self._rows["printed"] == 1]
        found = list(look.prints)
        if not known.size or not found:
            return []
        turns = [(flip, [found[i] for i in (range(len(found)) if flip == (1, 1) else sampled(len(found), FLIPPED))])
                 for flip in FLIPS]
        pairs: dict[str, list[tuple[float, int, tuple[int, int], int, int]]] = defaultdict(list)
        for flip, slices in turns:
            asked = [(i, k) for i in slices for k in range(len(look.prints[i].coarse))]
            coarse = np.concatenate([turned(look.prints[i].coarse, flip) for i in slices])
            for (i, k), rows, near in zip(asked, *nearest(known["coarse"], coarse), strict=True):
                for row, close in zip(rows, near, strict=True):
                    pairs[known["name"][row].decode()].append((float(close), i, flip, k, int(row)))
        best: dict[str, float] = {}
        for name, some in sorted(pairs.items(), key=lambda item: -max(item[1])[0])[:SEALS]:
            for _, i, flip, k, row in sorted(some, reverse=True)[:CLOSELY]:
                close = self._likeness(look, i, flip, k, known[row])
                if close >= MATCH:
                    best[name] = max(best.get(name, 0.0), close)
        return sorted(best, key=lambda name: -best[name])

    def seal(self, name: str) -> Seal:
        """A seal by its name. Raises `UnreadableError`."""
        return read_seal(self.folder / f"{name}{SUFFIX}")

    def add(self, content: Content, instances: Sequence[str], look: Look, signer: Signer) -> str:
        """Seals an image, `instances` the SOP Instance UID of each plane; its name, once the seal is on disk and in the
        log."""
        made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        # Not `made`: after a seals folder was emptied, one image may be sealed twice in a second.
        parts = (content.study.get("SeriesInstanceUID", ""), *sorted(set(instances)), str(time.time_ns()))
        name = f"{_word(content.study.get('Modality', ''))}-{_digest('/'.join(parts))[:_DIGEST]}"
        self._write(f"{name}{PRINT}", _rows_of(name, content, instances, look).tobytes())
        self._write(f"{name}{DRAFT}", seal_of(content, name, made, signer).to_json(signer).encode())
        self._end(name)
        return name

    def _end(self, name: str) -> None:
        """From a draft to a seal that counts."""
        draft = self.folder / f"{name}{DRAFT}"
        self._log.add(read_seal(draft))
        draft.replace(self.folder / f"{name}{SUFFIX}")
        sync_folder(self.folder)
        self._index(name)

    def _write(self, name: str, data: bytes) -> None:
        with whole_file(self.folder / name) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)

    def _index(self, name: str) -> None:
        """Adds a seal's rows, after what a kill cut short was cut off; without fingerprints by its own UIDs alone."""
        if len(name.encode()) > ROW["name"].itemsize:
            raise UnreadableError(f"{shown(self.folder / name)}{SUFFIX} has too long a name; give it one of at most "
                                  f"{ROW['name'].itemsize} bytes.")
        rows = self._full(name)["row"] if (self.folder / f"{name}{PRINT}").exists() else _bare(name, self.seal(name))
        with (self.folder / INDEX).open("ab") as file:
            file.truncate(file.tell() // ROW.itemsize * ROW.itemsize)
            file.write(np.ascontiguousarray(rows).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._grow()

    def _full(self, name: str) -> Rows:
        path = self.folder / f"{name}{PRINT}"
        try:
            return np.memmap(path, FULL, "r")
        except (OSError, ValueError) as error:
            raise UnreadableError(f"{shown(path)} is damaged, so that copies of what it is of would not be known; "
                                  "bring it back from a backup.") from error

    def _refresh(self) -> None:
        self._grow()
        if self.folder.stat().st_mtime_ns == self._seen:
            return
        names, first, counts = np.unique(self._rows["name"], return_index=True, return_counts=True)
        if (counts != self._rows["of"][first]).any():  # a seal's rows were cut short
            (self.folder / INDEX).unlink()
            self._grow()
            names = names[:0]
        known = {name.decode() for name in names}
        files = set(os.listdir(self.folder))
        for path in map(self.folder.joinpath, files):
            named = {f"{path.stem}{SUFFIX}", f"{path.stem}{DRAFT}"} & files
            if path.name.startswith(".scanward-") or (path.suffix == PRINT and not named):
                path.unlink()  # of a process that died while it wrote
            elif path.suffix == DRAFT:
                self._end(path.stem)
            elif path.suffix == SUFFIX and path.stem not in known:
                self._index(path.stem)
        self._seen = self.folder.stat().st_mtime_ns

    def _grow(self) -> None:
        """Reads what was added to the index; a row that does not say itself ends what counts of it, and is cut off."""
        path = self.folder / INDEX
        if not path.exists():
            self._rows, self._read = np.empty(0, ROW), (-1, 0)
            return
        with path.open("r+b") as file:
            inode = os.fstat(file.fileno()).st_ino
            start = self._read[1] if self._read[0] == inode and self._read[1] <= os.fstat(file.fileno()).st_size else 0
            file.seek(start)
            data = file.read()
            rows = np.frombuffer(data[: len(data) // ROW.itemsize * ROW.itemsize], ROW)
            sound = next((i for i, row in enumerate(rows) if _check(row) != row["check"]), len(rows))
            if sound < len(rows):
                file.truncate(start + sound * ROW.itemsize)
        self._rows = np.concatenate([self._rows if start else self._rows[:0], rows[:sound]])
        self._read = inode, start + sound * ROW.itemsize

    def _likeness(self, look: Look, i: int, flip: tuple[int, int], k: int, row: Any) -> float:
        plane = look.plane(i)[:: flip[0], :: flip[1]]
        region = _turned_region(look.prints[i].region(k), flip)
        full = self._full(row["name"].decode())
        fine = full["fine"][int(np.flatnonzero(full["row"]["plane"] == row["plane"])[0])]
        there = row["there"]
        return likeness(plane, region, np.array(fine), (float(there[0]), float(there[1]), float(there[2]),
                                                         float(there[3])))


def _rows_of(name: str, content: Content, instances: Sequence[str], look: Look) -> Rows:
    made = []
    for plane, instance in enumerate(instances):
        one = look.prints.get(plane)
        for k in range(1 if one is None else len(one.coarse)):
            full = np.zeros((), FULL)
            row = full["row"]
            row["plane"], row["name"], row["instance"] = plane, name.encode(), _digest(instance)
            row["series"] = _digest(content.study.get("SeriesInstanceUID", ""))
            if one is not None:
                row["printed"], row["there"], row["coarse"], full["fine"] = 1, one.region(k), one.coarse[k], one.fine
            made.append(full)
    rows = np.array(made, FULL)
    rows["row"]["of"] = len(rows)
    rows["row"]["check"] = [_check(row) for row in rows["row"]]
    return rows


def _bare(name: str, seal: Seal) -> Rows:
    row = np.zeros(1, ROW)
    row["name"], row["series"] = name.encode(), _digest(seal.study.get("SeriesInstanceUID", ""))
    row["instance"] = _digest(seal.study.get("SOPInstanceUID", ""))
    row["there"], row["of"] = Whole, 1
    row["check"] = _check(row[0])
    return row


def _check(row: Any) -> int:
    return zlib.crc32(row.tobytes()[4:])


def _turned_region(region: Region, flip: tuple[int, int]) -> Region:
    y0, x0, y1, x1 = region
    top, bottom = (y0, y1) if flip[0] == 1 else (1 - y1, 1 - y0)
    left, right = (x0, x1) if flip[1] == 1 else (1 - x1, 1 - x0)
    return top, left, bottom, right


def _digest(uid: str) -> str:
    """32 hexadecimal digits; empty where there is no UID."""
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:32] if uid else ""


def _word(text: str) -> str:
    return "".join(c for c in text if c.isascii() and c.isalnum())[:16] or "image"
