"""Orthanc and DICOMweb servers as archives: listed series by series, and fetched by those who judge."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from scanward.archive.fetching import fetching, no_room
from scanward.archive.patience import patient
from scanward.archive.unit import Cursor, Login, Unit
from scanward.delivery.server import (
    ANSWER,
    INSTANCE,
    JSON,
    MODALITY,
    OBJECT,
    PAGE,
    SERIES,
    STUDY,
    UID,
    Server,
    tags_of,
    text_of,
)
from scanward.delivery.spool import Refused, Unreachable
from scanward.delivery.webclient import Declined, Faulty, NotFound, client
from scanward.errors import UnreadableError
from scanward.formats import Source
from scanward.formats.guard import clean
from scanward.judging.watched import still_alive
from scanward.setting_types import Tls

FILM, SLICE = 20 << 20, 1 << 19
"""Bytes that an object is taken for before it is fetched."""
FILMS = ("MG", "OT", "SC", "")
"""Modalities of which each object is an image that may be a mammogram."""
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")
"""Of Orthanc's resources."""
PASSES = 3
"""How often Orthanc is gone through where series were deleted meanwhile, which moves those behind them."""


@dataclass(frozen=True)
class OnServer:
    """What both have in common."""

    address_: str
    login: Login = field(default_factory=Login)
    relisted = repeats = distant = True
    kind = ""

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.address_}"

    def terms(self) -> dict[str, Any]:
        return {}

    def check(self) -> None:
        """Raises as `Server.json` where nobody answers as such a server does."""
        server = self.server()
        asked = ("/system",) if self.kind == "orthanc" else ("/studies", {"limit": "1"}, JSON)
        patient(partial(server.json, *asked), 0.0)

    def address(self, unit: Unit) -> str:
        return self.address_.rstrip("/") + self._path(unit, unit.parts[0])

    def _path(self, unit: Unit, part: str) -> str:
        raise NotImplementedError

    def listed(self, after: Cursor, scratch: Path) -> Iterator[tuple[Unit, Cursor]]:
        raise NotImplementedError

    def server(self) -> Server:
        """Connected, of this process."""
        return _server(self.address_, self.login)

    @contextmanager
    def fetched(self, unit: Unit) -> Iterator[Source]:
        server, accept = self.server(), OBJECT if self.kind == "dicomweb" else "*/*"
        with fetching() as folder:
            paths = [Path(folder, f"{number:06d}.dcm") for number in range(len(unit.parts))]
            for part, path in zip(unit.parts, paths, strict=True):
                try:
                    patient(partial(server.fetch, self._path(unit, part), path, accept, still_alive))
                except NotFound as error:
                    raise UnreadableError(f"{self.address_.rstrip('/')}{self._path(unit, part)} is not there any "
                                          "more; it was deleted after it was listed.") from error
                except (Declined, Faulty) as error:
                    raise UnreadableError(str(error)) from error
                except (Refused, Unreachable) as error:
                    self.check()  # or it befalls every object
                    raise UnreadableError(str(error)) from error
                except OSError as error:
                    raise no_room(error) from error
                still_alive()
            yield Source(tuple(paths), "series" if unit.series else "file")


def _server(url: str, login: Login) -> Server:
    found: dict[Any, tuple[Server, AbstractContextManager[Any]]] = vars(_OPEN).setdefault("servers", {})
    if (url, login) not in found:
        server = Server(url, url)
        opened: AbstractContextManager[Any] = client(url, login.user, login.password_file, Tls(ca=login.authority),
                                                     timeout=ANSWER)
        server.web = opened.__enter__()
        found[url, login] = server, opened  # which closes what it opened when nobody holds it
    return found[url, login][0]


_OPEN = threading.local()
"""Connections, of one thread each, which stay for as long as it lives."""


@dataclass(frozen=True)
class OrthancServer(OnServer):
    """By its REST API. The parts of a unit are Orthanc's own names of its instances, or of a series that is not looked
    at."""

    kind = "orthanc"

    def _path(self, unit: Unit, part: str) -> str:
        return f"/series/{part}" if unit.said else f"/instances/{part}/file"

    def listed(self, after: Cursor, scratch: Path) -> Iterator[tuple[Unit, Cursor]]:
        server = self.server()
        for _ in range(PASSES):
            seen = 0
            for found in _pages(server):
                seen += len(found)
                for series in found:
                    for unit in _of_orthanc(series, server):
                        yield unit, None
            count = patient(partial(server.json, "/statistics"))
            total = count.get("CountSeries") if isinstance(count, dict) else None
            if not isinstance(total, int) or seen >= total:
                return


def _pages(server: Server) -> Iterator[list[Any]]:
    """Orthanc's series, so many at a time."""
    since, before = 0, None
    while True:
        ask = {"expand": "", "since": str(since), "limit": str(PAGE)}
        found = patient(partial(server.json, "/series", ask))
        if not isinstance(found, list):
            raise Unreachable(f"{server.name} answers with no list of series; check the address.")
        if found and found == before:
            raise Unreachable(f"{server.name} lists the same series again and again; check the address.")
        yield found
        since, before = since + len(found), found
        if len(found) < PAGE:
            return


def _of_orthanc(series: Any, server: Server) -> list[Unit]:
    """Names become parts of addresses, and so must be none but Orthanc's."""
    names = series.get("Instances") if isinstance(series, dict) else None
    names = [series.get("ID"), *names] if isinstance(names, list) else [None]
    if not all(isinstance(name, str) and ID.fullmatch(name) for name in names):
        raise Unreachable(f"{server.name} names a series as Orthanc does not; check the address.")
    return _units(str(tags_of(series).get("Modality", "")), names[0], sorted(names[1:]))


@dataclass(frozen=True)
class DicomWebServer(OnServer):
    """By QIDO-RS and WADO-RS. The parts of a unit are `STUDY/SERIES/INSTANCE`, by their UIDs, or `STUDY/SERIES` of a
    series that is not looked at."""

    kind = "dicomweb"

    def _path(self, unit: Unit, part: str) -> str:
        names = ("studies", "series", "instances")
        return "".join(f"/{name}/{uid}" for name, uid in zip(names, part.split("/"), strict=False))

    def listed(self, after: Cursor, scratch: Path) -> Iterator[tuple[Unit, Cursor]]:
        for study, strange in self._below((), STUDY):
            if strange:
                yield _unnamed(strange), None
                continue
            for unit in self._of_study(study):
                yield unit, None

    def _of_study(self, study: dict[str, Any]) -> Iterator[Unit]:
        uid = text_of(study, STUDY)
        for series, strange in self._below((uid,), SERIES):
            own, modality = text_of(series, SERIES), text_of(series, MODALITY)
            if strange:
                yield _unnamed(f"{uid}/{strange}")
                continue
            names: list[str] = []
            for one, odd in self._below((uid, own), INSTANCE) if modality in ("CT", *FILMS) else ():
                if odd:
                    yield _unnamed(f"{uid}/{own}/{odd}")
                else:
                    names.append(f"{uid}/{own}/{text_of(one, INSTANCE)}")
            yield from _units(modality, f"{uid}/{own}", sorted(names))

    def _below(self, uids: tuple[str, ...], tag: str) -> Iterator[tuple[dict[str, Any], str]]:
        """What the server has there; and its name where that cannot be asked for: UIDs become parts of addresses, and
        so must be none but UIDs."""
        names = ("/studies", "/series", "/instances")
        path = "".join(f"{name}/{uid}" for name, uid in zip(names, uids, strict=False)) + names[len(uids)]
        for found in self.server().all(path, {}, ask=patient):
            yield found, "" if UID.fullmatch(uid := text_of(found, tag)) else clean(uid) or "no UID"


def _unnamed(place: str) -> Unit:
    return Unit((place,), 0, said="inconclusive", reason=f"The server names {place}, which is no UID that can be asked "
                                                         "for; look at it on the server.")


def _units(modality: str, series: str, instances: list[str]) -> list[Unit]:
    if modality == "CT" and instances:
        return [Unit(tuple(instances), SLICE * len(instances), len(instances) > 1)]
    if modality in FILMS:
        return [Unit((one,), FILM) for one in instances]
    what = f"of modality {clean(modality, 16)}" if modality != "CT" else "empty"
    return [Unit((series,), 0, said="unscanned", reason=f"The series is {what}; Scanward reads mammograms (MG) and "
                                                        "chest CT (CT).")]
