"""DICOM servers on the web: what is asked of Orthanc and of DICOMweb, whoever asks."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.delivery.spool import Refused, Unreachable
from scanward.delivery.webclient import Faulty, request, streamed

if TYPE_CHECKING:
    import httpx

LARGEST = 4 << 30
"""Bytes of one object."""
ANSWER = 120.0
"""Seconds for an answer."""
PAGE = 100
JSON = "application/dicom+json"
OBJECT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
UID = re.compile(r"[0-9]+(\.[0-9]+){1,40}")
STUDY, SERIES, INSTANCE, MODALITY, COUNT = "0020000D", "0020000E", "00080018", "00080060", "00201208"


class Server:
    """One of them. `web`, the connections to it, is set before anything is asked."""

    web: httpx.Client

    def __init__(self, url: str, name: str) -> None:
        """`name` is how sentences call it."""
        self.root, self.name = url.rstrip("/"), name

    def url(self, path: str) -> str:
        """Of a path on it."""
        return self.root + path

    def json(self, path: str, params: dict[str, str] | None = None, accept: str = "application/json") -> Any:
        """The JSON at a path, None where the server says that there is nothing (204). Raises as `request`."""
        answer = request(self.web, "GET", self.url(path), self.name, passed=(200, 204), params=params,
                         headers={"Accept": accept})
        if answer.status == 204 or not answer.body.strip():
            return None
        found = answer.json_or_none()
        if found is None:
            raise Unreachable(f"{self.name} answers with what is no JSON; check its url.")
        return found

    def fetch(self, path: str, draft: Path, accept: str = "*/*", heard: Callable[[], None] = lambda: None) -> None:
        """Puts one object into the file `draft`; `heard` is told of every piece. Raises as `request`, and `OSError`
        where it cannot be written."""
        with (streamed(self.web, "GET", self.url(path), self.name, long=True, headers={"Accept": accept}) as answer,
              draft.open("wb") as file):
            held = 0
            for chunk in answer.iter_bytes(1 << 20):
                heard()
                held += len(chunk)
                if held > LARGEST:
                    raise Refused(f"{self.name} sends an object of more than {LARGEST >> 30} GB.")
                file.write(chunk)
            kind = answer.headers.get("Content-Type", "")
        if "multipart" in kind.lower():
            unwrap(draft, kind, self.name)

    def all(self, path: str, params: dict[str, str], stop: threading.Event | None = None,
            ask: Callable[[Callable[[], Any]], Any] = lambda wanted: wanted()) -> Iterator[dict[str, Any]]:
        """Every answer to a DICOMweb query, page by page, until `stop`; servers that know no pages answer at once.
        `ask` calls what asks for one page, perhaps again."""
        offset, first = 0, ""
        while stop is None or not stop.is_set():
            page = {**params, "limit": str(PAGE), "offset": str(offset)}
            found = ask(lambda page=page: self.json(path, page, JSON))  # type: ignore[misc]
            if found is None:
                return
            if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
                raise Unreachable(f"{self.name} answers a query with no list; check its url.")
            head = str(found[:1])
            if offset and head == first:
                return  # it takes no notice of the offset
            first = head
            yield from found
            if len(found) < PAGE:
                return
            offset += len(found)


def unwrap(path: Path, kind: str, name: str) -> None:
    """The first part of a multipart answer, in place of the whole; `Faulty` where it is cut short."""
    from email.message import Message

    header = Message()
    header["Content-Type"] = kind
    boundary = (header.get_boundary() or "").encode()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(1 << 16)
        file.seek(max(0, size - (1 << 12)))
        tail_at, tail = file.tell(), file.read()
    opening, start = head.find(b"--" + boundary), head.find(b"\r\n\r\n")
    end = tail.rfind(b"\r\n--" + boundary + b"--")
    if not boundary or opening < 0 or start < opening or end < 0 or tail_at + end < start + 4:
        raise Faulty(f"{name} sends a multipart answer that is cut short.")
    part = path.with_name(path.name + ".part")
    try:
        with path.open("rb") as source, part.open("wb") as sink:
            source.seek(start + 4)
            left = tail_at + end - start - 4
            while left > 0 and (chunk := source.read(min(1 << 20, left))):
                sink.write(chunk)
                left -= len(chunk)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def entries(found: Any) -> list[dict[str, Any]]:
    """Of Orthanc's list of resources, those that are some."""
    return [one for one in found if isinstance(one, dict) and "ID" in one] if isinstance(found, list) else []


def tags_of(found: Any) -> dict[str, Any]:
    """The main DICOM tags of one of Orthanc's resources."""
    tags = found.get("MainDicomTags") if isinstance(found, dict) else None
    return tags if isinstance(tags, dict) else {}


def text_of(found: dict[str, Any], tag: str) -> str:
    """An element of an object in DICOM JSON; empty where it is no text."""
    value = _value(found, tag)
    return value if isinstance(value, str) else ""


def number_of(found: dict[str, Any], tag: str) -> int | None:
    """An element of an object in DICOM JSON as a whole number."""
    try:
        return int(_value(found, tag))
    except (TypeError, ValueError):
        return None


def _value(found: dict[str, Any], tag: str) -> Any:
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None
