"""What the folders of a protocol hold: films, scans, or the two views of breasts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scanward import formats
from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.forgery.files import RECORD
from scanward.forgery.replay import read_record
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.sources import series_or_file
from scanward.formats.whose import PAIR, Whose
from scanward.formats.write import companion_of
from scanward.readerstudy.films import Film, Picture
from scanward.readerstudy.protocol import KINDS, Kind, Protocol, Shows
from scanward.readerstudy.whose import table, whose


def gather(protocol: Protocol) -> list[Film]:
    """Every case that the protocol's folders hold, in a fixed order. Raises `InputError`, also for an image that two
    kinds claim and for one that is marked as altered but not listed as a fake."""
    rows = table(protocol.patients)
    found: dict[tuple[str, bool], tuple[Kind, Picture]] = {}
    for kind in KINDS:
        paths = protocol.films.get(kind, ())
        pictures = _fakes(paths, rows, protocol.shows) if kind == "fake" else _real(paths, rows, protocol.shows)
        for picture in pictures:
            # A forgery's other view may well be that of a real case, too.
            beside = kind == "fake" and picture.record is None
            key = os.path.realpath(picture.source.paths[0]), beside
            if key in found and found[key][0] != kind:
                raise ArgumentError(f"{shown(picture.path)} is listed as {found[key][0]} and as {kind}; leave it in "
                                    "one of them.")
            found.setdefault(key, (kind, picture))
    if protocol.shows == "pair":
        return [film for kind in KINDS for film in _paired((one for of, one in found.values() if of == kind), kind)]
    return [Film((picture,), kind) for kind, picture in found.values()]


def _fakes(paths: Iterable[Path], rows: Mapping[str, Whose], shows: Shows) -> Iterator[Picture]:
    """The forgeries; of pairs then the images beside them that were not forged, for the views that lack one."""
    for path in paths:
        alone = path.is_file() and (shows != "pair" or path.name == RECORD)
        records = [path] if alone else sorted(path.rglob(RECORD))
        if not records and shows != "pair":
            raise UnreadableError(f"{shown(path)} holds no {RECORD}; name a folder that `scanward inject` or `remove` "
                                  "wrote.")
        for found in records:
            record = read_record(found)
            source = series_or_file(found.parent / Path(record["image"]).name)
            yield Picture(source, whose(Path(record["host"]), source.paths[0], rows), str(record["host"]), record)
    if shows == "pair":
        yield from _plain((path for path in paths if path.name != RECORD), rows, shows, marked=False)


def _real(paths: Iterable[Path], rows: Mapping[str, Whose], shows: Shows) -> Iterator[Picture]:
    return _plain(paths, rows, shows, marked=True)


def _plain(paths: Iterable[Path], rows: Mapping[str, Whose], shows: Shows, *, marked: bool) -> Iterator[Picture]:
    """Images that are not marked as altered; where one is `marked`, an error."""
    sources: list[Source] = []
    for path in paths:
        own, errors = formats.find([path])
        if errors:
            raise errors[0]
        sources += own
    for source in sources:
        if source.kind == "series" and shows != "scan":
            raise UnsupportedError(f"{shown(source.path)} is a CT; this study shows mammograms (see --modality).")
        if companion_of(source.path).exists():
            if marked:
                raise ArgumentError(f"{shown(source.path)} is marked as altered; list its folder under fake.")
            continue
        yield Picture(source, whose(source.path, source.paths[0], rows), os.path.realpath(source.path))


def _paired(pictures: Iterable[Picture], kind: Kind) -> list[Film]:
    """The views of each breast together, forged ones before others of the same view; of fakes those of which one view
    is forged, or both. Other views than CC and MLO are left out; `ArgumentError` for what has no second view, and for
    a view that is there twice."""
    cases: dict[str, dict[str, Picture]] = {}
    for picture in sorted(pictures, key=lambda one: one.record is None):
        case, view = picture.whose.case, picture.whose.view
        if not case or not view:
            raise ArgumentError(f"{shown(picture.path)} does not say of which breast it is and which view; name a "
                                "table with the columns film, patient, case and view as `patients`.")
        own = cases.setdefault(case, {})
        if view in own and (own[view].record is None) == (picture.record is None):
            raise ArgumentError(f"{shown(picture.path)} and {shown(own[view].path)} are both the {view} of one breast; "
                                "leave one of them out.")
        if view in PAIR:
            own.setdefault(view, picture)
    made = []
    for own in cases.values():
        if not own or (kind == "fake" and not any(one.record for one in own.values())):
            continue
        if len(own) < len(PAIR):
            view, one = next(iter(own.items()))
            other = next(name for name in PAIR if name != view)
            more = ", or name the folder of its host under fake, too" if kind == "fake" else ""
            raise ArgumentError(f"{shown(one.path)} ({view}) has no {other} of the same breast beside it; leave it "
                                f"out{more}.")
        made.append(Film(tuple(own[view] for view in PAIR), kind))
    return made
