"""Orthanc and DICOMweb servers as archives: listed series by series, and fetched by those who judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

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
    entries,
    tags_of,
    text_of,
)
from scanward.delivery.spool import Unreachable
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
PASSES = 3
"""How often Orthanc is gone through where series were deleted meanwhile, which moves those behind them."""


@dataclass(frozen=True)
class OnServer:
    """What both have in common."""

    address_: str
    login: Login = field(default_factory=Login)
    relisted = repeats = True
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
                where = self._path(unit, part)
                try:
                    patient(partial(server.fetch, where, path, accept, still_alive))
                except (NotFound, Declined, Faulty) as error:
                    raise UnreadableError(str(error)) from error
                except OSError as error:
                    raise no_room(error) from error
                still_alive()
            yield Source(tuple(paths), "series" if unit.series else "file")


@cache
def _server(url: str, login: Login) -> Server:
    server = Server(url, url)
    opened: AbstractContextManager[Any] = client(url, login.user, login.password_file, Tls(ca=login.authority),
                                                 timeout=ANSWER)
    server.web = _OPEN.enter_context(opened)
    return server


_OPEN = ExitStack()
"""Connections, which stay for as long as the process lives."""


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
            since = 0
            while True:
                ask = {"expand": "", "since": str(since), "limit": str(PAGE)}
                found = patient(partial(server.json, "/series", ask))
                if not isinstance(found, list):
                    _no_list(server)
                for series in entries(found):
                    for unit in _of_orthanc(series):
                        yield unit, None
                since += len(found)
                if len(found) < PAGE:
                    break
            count = patient(partial(server.json, "/statistics"))
            if not isinstance(count, dict) or since >= int(count.get("CountSeries", 0)):
                return


def _of_orthanc(series: dict[str, Any]) -> list[Unit]:
    instances = sorted(map(str, series.get("Instances") or ()))
    return _units(str(tags_of(series).get("Modality", "")), str(series["ID"]), instances)


@dataclass(frozen=True)
class DicomWebServer(OnServer):
    """By QIDO-RS and WADO-RS. The parts of a unit are `STUDY/SERIES/INSTANCE`, by their UIDs, or `STUDY/SERIES` of a
    series that is not looked at."""

    kind = "dicomweb"

    def _path(self, unit: Unit, part: str) -> str:
        names = ("studies", "series", "instances")
        return "".join(f"/{name}/{uid}" for name, uid in zip(names, part.split("/"), strict=False))

    def listed(self, after: Cursor, scratch: Path) -> Iterator[tuple[Unit, Cursor]]:
        server = self.server()
        for study in server.all("/studies", {}, ask=patient):
            uid = _uid(study, STUDY)
            for series in server.all(f"/studies/{uid}/series", {}, ask=patient) if uid else ():
                own, modality = _uid(series, SERIES), text_of(series, MODALITY)
                place = f"{uid}/{own}"
                names: list[str] = []
                if own and modality in ("CT", *FILMS):
                    found = server.all(f"/studies/{uid}/series/{own}/instances", {}, ask=patient)
                    names = sorted(f"{place}/{name}" for one in found if (name := _uid(one, INSTANCE)))
                for unit in _units(modality, place, names) if own else ():
                    yield unit, None


def _uid(found: dict[str, Any], tag: str) -> str:
    """UIDs become parts of addresses, and so must be none but UIDs."""
    uid = text_of(found, tag)
    return uid if UID.fullmatch(uid) else ""


def _units(modality: str, series: str, instances: list[str]) -> list[Unit]:
    if modality == "CT" and instances:
        return [Unit(tuple(instances), SLICE * len(instances), len(instances) > 1)]
    if modality in FILMS:
        return [Unit((one,), FILM) for one in instances]
    what = f"of modality {clean(modality, 16)}" if modality != "CT" else "empty"
    return [Unit((series,), 0, said="unscanned", reason=f"The series is {what}; Scanward reads mammograms (MG) and "
                                                        "chest CT (CT).")]


def _no_list(server: Server) -> NoReturn:
    raise Unreachable(f"{server.name} answers with no list of series; check the address.")
