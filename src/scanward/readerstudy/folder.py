"""A study on disk, read back."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.disk import whole_file, write_json
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import decoding, open_file, shown
from scanward.readerstudy.protocol import PARTS, Part

STUDY, TRUTH, READERS, CLOSED = "study.json", "truth.json", "readers.json", "closed.json"
FILMS, MASKS, ANSWERS = "films", "truth", "answers"
VERSION = 1
LARGEST = 1 << 28


@dataclass(frozen=True)
class Shown:
    """One film as one reader is shown it."""

    id: str
    """Random, the reader's own; what the address of the film is made of."""
    film: str
    """The name of its file."""
    width: int
    height: int


@dataclass(frozen=True)
class Study:
    """What readers are shown, and in which order. Holds nothing of the truth."""

    folder: Path
    title: str
    readers: tuple[str, ...]
    lists: tuple[dict[Part, tuple[Shown, ...]], ...]
    """Of each reader, the films of both parts in their order."""

    @property
    def closed(self) -> bool:
        """Whether the organiser has closed the study; readers may then see what was true."""
        return (self.folder / CLOSED).exists()

    def film(self, name: str) -> Path:
        """The picture of a film."""
        return self.folder / FILMS / f"{name}.png"

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
    size_mm: float | None
    box: tuple[int, int, int, int] | None
    """(x0, y0, x1, y1) of the forged region in pixels of the picture."""
    mask: npt.NDArray[np.bool_] | None
    """(y, x) at the picture's size."""

    @property
    def forged(self) -> bool:
        return self.kind == "fake"

    def to_json(self) -> dict[str, object]:
        """The film's row in `truth.json`; the mask is a file beside it."""
        return {name: value for name, value in asdict(self).items() if name != "mask"}


def read_study(folder: Path) -> Study:
    """The study in a folder; `UnreadableError` for what is none."""
    found = _json(folder / STUDY)
    with decoding(folder / STUDY):
        if found["version"] != VERSION:
            raise UnreadableError(f"{shown(folder)} is a study of another version of Scanward; use that one.")
        sizes = {name: (int(w), int(h)) for name, (w, h) in found["films"].items()}
        lists = tuple({part: tuple(Shown(str(key), str(film), *sizes[film]) for key, film in own[part])
                       for part in PARTS} for own in found["lists"])
        return Study(folder, str(found["title"]), tuple(map(str, found["readers"])), lists)


def read_truth(folder: Path) -> dict[str, Truth]:
    """What is true of every film, by the name of its file."""
    found = _json(folder / TRUTH)
    with decoding(folder / TRUTH):
        return {name: Truth(kind=row["kind"], action=row["action"], method=row["method"], patient=row["patient"],
                            source=row["source"], size_mm=row["size_mm"],
                            box=tuple(row["box"]) if row["box"] else None,  # type: ignore[arg-type]
                            mask=_mask(folder / MASKS / f"{name}.png") if row["kind"] == "fake" else None)
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


def _mask(path: Path) -> npt.NDArray[np.bool_]:
    with decoding(path):
        with open_file(path) as file:
            found = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_GRAYSCALE)
        return np.asarray(found) > 127


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
