"""A study on disk, read back."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.disk import whole_file, write_json
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import decoding, open_file, shown
from scanward.readerstudy.protocol import NOUNS, PARTS, Part, Shows

STUDY, TRUTH, READERS, CLOSED = "study.json", "truth.json", "readers.json", "closed.json"
FILMS, MASKS, ANSWERS = "films", "truth", "answers"
VERSION = 1
LARGEST = 1 << 28


@dataclass(frozen=True)
class View:
    """One of the two views of a pair."""

    name: str
    left: int
    right: int
    """Columns of the picture, the right one exclusive."""


@dataclass(frozen=True)
class Shown:
    """One film as one reader is shown it."""

    id: str
    """Random, the reader's own; what the address of the film is made of."""
    film: str
    """The name of its file."""
    width: int
    height: int
    slices: int = 1
    """More than one of a scan."""
    views: tuple[View, ...] = ()
    """Of a pair."""


@dataclass(frozen=True)
class Study:
    """What readers are shown, and in which order. Holds nothing of the truth."""

    folder: Path
    title: str
    readers: tuple[str, ...]
    lists: tuple[dict[Part, tuple[Shown, ...]], ...]
    """Of each reader, the films of both parts in their order."""
    shows: Shows = "film"

    @property
    def closed(self) -> bool:
        """Whether the organiser has closed the study; readers may then see what was true."""
        return (self.folder / CLOSED).exists()

    def film(self, name: str) -> Path:
        """The picture of a film; of a scan the packed volume."""
        return picture_in(self.folder, name, self.shows)

    def answers(self, reader: int) -> Path:
        """The log of a reader."""
        return self.folder / ANSWERS / f"{reader + 1:03d}.jsonl"


@dataclass(frozen=True)
class Truth:
    """What is true of one film."""

    kind: str
    """`fake`, `healthy` or `unhealthy`."""
    action: str
    """`inject` or `remove`; empty where the film is real."""
    method: str
    patient: str
    source: str
    size_mm: float | list[float] | None
    """As the record has it: a number, or one of each lesion."""
    box: tuple[int, ...] | None
    """(x0, y0, x1, y1) of the forged region in pixels of the picture; (x0, y0, z0, x1, y1, z1) in a scan's voxels."""
    mask: npt.NDArray[np.bool_] | None
    """(y, x) at the picture's size; of a scan (z, y, x) of the box."""
    to_mm: list[list[float]] = field(default_factory=list)
    """Of a scan: three rows that take (x, y, z, 1) in voxels to mm of the patient (LPS)."""
    margin_mm: float = 0.0
    """How far from a scan's forged voxels a mark still is on them."""

    @property
    def forged(self) -> bool:
        return self.kind == "fake"

    @property
    def scan(self) -> bool:
        """Whether it is one, and no film."""
        return bool(self.to_mm)

    def to_json(self) -> dict[str, object]:
        """The film's row in `truth.json`; the mask is a file beside it, and the margin all films'."""
        return {name: value for name, value in asdict(self).items() if name not in ("mask", "margin_mm")}


def read_study(folder: Path) -> Study:
    """The study in a folder; `UnreadableError` for what is none."""
    found = _json(folder / STUDY)
    with decoding(folder / STUDY):
        if found["version"] != VERSION:
            raise UnreadableError(f"{shown(folder)} is a study of another version of Scanward; use that one.")
        shows: Shows = found.get("shows", "film")
        facts = {name: _facts(row) for name, row in found["films"].items()}
        lists = tuple({part: tuple(Shown(str(key), str(film), **facts[film]) for key, film in own[part])
                       for part in PARTS} for own in found["lists"])
        if shows not in NOUNS:
            raise UnreadableError(f"{shown(folder)} is a study of another version of Scanward; use that one.")
        return Study(folder, str(found["title"]), tuple(map(str, found["readers"])), lists, shows)


def picture_in(folder: Path, name: str, shows: Shows) -> Path:
    """Where a study keeps what readers see of a case."""
    return folder / FILMS / f"{name}.{'nii.gz' if shows == 'scan' else 'png'}"


def read_truth(folder: Path) -> dict[str, Truth]:
    """What is true of every film, by the name of its file."""
    found = _json(folder / TRUTH)
    with decoding(folder / TRUTH):
        return {name: Truth(kind=row["kind"], action=row["action"], method=row["method"], patient=row["patient"],
                            source=row["source"], size_mm=row["size_mm"],
                            box=tuple(row["box"]) if row["box"] else None,
                            mask=_mask(folder / MASKS / f"{name}.png", row["box"]) if row["kind"] == "fake" else None,
                            to_mm=row.get("to_mm", []), margin_mm=float(found.get("margin_mm", 0.0)))
                for name, row in found["films"].items()}


def secret_of(folder: Path) -> bytes:
    """What signs the sessions of this study."""
    found = _json(folder / READERS)
    with decoding(folder / READERS):
        return bytes.fromhex(found["secret"])


def hashed(token: str) -> str:
    """What is kept of a link."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def reader_of(folder: Path, token: str) -> int | None:
    """Whose link it is."""
    found = _json(folder / READERS)
    given, reader = hashed(token), None
    with decoding(folder / READERS):
        for number, row in enumerate(found["readers"]):
            if hmac.compare_digest(given, str(row["token_sha256"])):
                reader = number
    return reader


def stamp_of(folder: Path, reader: int) -> str:
    """What changes with a reader's link, for sessions to remember; empty where there is no such reader."""
    found = _json(folder / READERS)
    with decoding(folder / READERS):
        rows = found["readers"]
        return hashed(f"session {rows[reader]['token_sha256']}")[:16] if 0 <= reader < len(rows) else ""


def renew(folder: Path, name: str, token: str) -> None:
    """Give a reader another link; the one before, and what was opened with it, opens nothing any more."""
    found = _json(folder / READERS)
    rows = [row for row in found["readers"] if row["name"] == name]
    if not rows:
        known = ", ".join(row["name"] for row in found["readers"])
        raise ArgumentError(f"No reader of {shown(folder)} is called {name!r}; they are {known}.")
    rows[0]["token_sha256"] = hashed(token)
    write_json(folder / READERS, found, mode=0o600)  # the sessions' secret is in it


def close(folder: Path, when: str) -> None:
    """Close a study for good; `ArgumentError` where it is closed already."""
    read_study(folder)
    if (folder / CLOSED).exists():
        raise ArgumentError(f"{shown(folder)} is closed already; see `scanward study report`.")
    with whole_file(folder / CLOSED, replace=False) as file:
        file.write(json.dumps({"closed": when}).encode())


def _facts(row: Any) -> dict[str, Any]:
    """What `Shown` holds of a film beside its names; an earlier form is its width and height alone."""
    if isinstance(row, list):
        return {"width": int(row[0]), "height": int(row[1])}
    views = tuple(View(str(one["name"]), int(one["left"]), int(one["right"])) for one in row.get("views", ()))
    return {"width": int(row["width"]), "height": int(row["height"]), "slices": int(row.get("slices", 1)),
            "views": views}


def _mask(path: Path, box: list[int]) -> npt.NDArray[np.bool_]:
    with decoding(path):
        with open_file(path) as file:
            found = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_GRAYSCALE)
        inside = np.asarray(found) > 127
        if len(box) == 6:
            inside = inside.reshape(box[5] - box[2], box[4] - box[1], box[3] - box[0])
        return inside


def _json(path: Path) -> dict[str, Any]:
    with decoding(path):
        if not path.exists():
            raise UnreadableError(f"{shown(path.parent)} holds no {path.name}; name a folder that `scanward study new` "
                                  "wrote.")
        with open_file(path) as file:
            found = json.loads(file.read(LARGEST))
        if not isinstance(found, dict):
            raise UnreadableError(f"{shown(path)} is damaged; take it from a copy.")
        return found
