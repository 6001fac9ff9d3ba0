"""A study made of a protocol: drawn, rendered, and written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from scanward.disk import whole_folder
from scanward.errors import ArgumentError
from scanward.formats.guard import shown
from scanward.readerstudy import folder as on_disk
from scanward.readerstudy import render
from scanward.readerstudy.draw import Candidate, allot, mixture, orders, wanted
from scanward.readerstudy.films import Film
from scanward.readerstudy.folder import Truth
from scanward.readerstudy.gather import gather
from scanward.readerstudy.hung import hang
from scanward.readerstudy.protocol import KINDS, NOUNS, PARTS, Kind, Part, Protocol

MODE = 0o600


@dataclass(frozen=True)
class Made:
    """A study that was written."""

    folder: Path
    links: tuple[tuple[str, str], ...]
    """Of each reader, the name and the path of the link, which is kept nowhere."""
    counts: dict[Part, dict[Kind, int]]
    notes: tuple[str, ...]
    """Sentences on what could give the truth away."""


@dataclass(frozen=True)
class _Drawn:
    """One drawn case: its picture on disk, and what is true of it."""

    candidate: Candidate
    name: str
    facts: dict[str, Any]
    """Of `study.json`."""
    bits: int
    truth: Truth
    """Without its mask, which is on disk."""


def new_study(protocol: Protocol, folder: Path, advance: Callable[[int, int], None] = lambda done, total: None) -> Made:
    """Draw a study and write it to `folder`, which must not hold one; `advance` hears how many films are rendered.

    Raises `InputError`; then nothing was written.
    """
    films = {film.candidate.name: film for film in gather(protocol)}
    pool = [film.candidate for film in films.values()]
    counts = wanted({kind: sum(c.kind == kind for c in pool) for kind in KINDS}, protocol.counts, protocol.open_share)
    _check(counts)
    parts = mixture(pool, counts, protocol.seed)
    chosen = [films[c.name] for part in PARTS for c in parts[part]]
    with whole_folder(folder, last=on_disk.STUDY, taken=(on_disk.TRUTH, on_disk.READERS, on_disk.FILMS,
                                                         on_disk.ANSWERS, on_disk.MASKS)) as draft:
        for name, mode in ((on_disk.FILMS, 0o755), (on_disk.MASKS, 0o700), (on_disk.ANSWERS, 0o700)):
            (draft / name).mkdir(mode=mode)
        drawn = _render(chosen, draft, protocol, advance)
        known = {one.candidate.name: one for one in drawn}
        lists = _lists({part: [known[c.name].candidate for c in parts[part]] for part in PARTS}, known, protocol)
        tokens = [secrets.token_urlsafe(24) for _ in protocol.readers]
        _write(draft, protocol, drawn, lists, counts, tokens)
        _level(draft)
    return Made(folder, tuple((name, f"/r/{token}") for name, token in zip(protocol.readers, tokens, strict=True)),
                counts, _notes(drawn, protocol))


def _check(counts: Mapping[Part, Mapping[Kind, int]]) -> None:
    if sum(counts["blind"].values()) == 0 or counts["blind"]["fake"] == 0:
        raise ArgumentError("The blind part would show no fakes; give it some under [blind], or name more folders.")
    if sum(counts["open"].values()) and not counts["open"]["fake"]:
        raise ArgumentError("The open part would show no fakes; give it some under [open], or set open_share = 0 to "
                            "do without an open part.")


def _render(films: Sequence[Film], draft: Path, protocol: Protocol,
            advance: Callable[[int, int], None]) -> list[_Drawn]:
    """Write the cases, in the order of their random names; pictures all of the same length."""
    names = sorted(secrets.token_hex(8) for _ in films)
    # The names are sorted and dealt at random, so that neither says which film was drawn first.
    mixed = [films[i] for i in np.random.default_rng(secrets.randbits(64)).permutation(len(films))]
    made: list[_Drawn] = []
    seen: dict[str, Path] = {}
    files = [on_disk.picture_in(draft, name, protocol.shows) for name in names]
    for done, (name, path, film) in enumerate(zip(names, files, mixed, strict=True)):
        advance(done, len(films))
        hung = hang(film, protocol, path)
        same = hashlib.sha256(path.read_bytes()).hexdigest()
        if same in seen:
            raise ArgumentError(f"{shown(film.path)} shows the same as {shown(seen[same])}; leave one of them out.")
        seen[same] = film.path
        if hung.truth:
            _keep(draft / on_disk.MASKS / f"{name}.png", hung.truth, MODE)
        record = film.record
        truth = Truth(film.kind, record.get("action", ""), record.get("method", ""), film.patient,
                      str(film.path.resolve()), record.get("size_mm"), hung.box, None, hung.to_mm)
        made.append(_Drawn(replace(film.candidate, family=hung.family), name, hung.facts, hung.bits, truth))
    if protocol.shows != "scan":  # a scan is never sent whole
        longest = max(path.stat().st_size for path in files)
        for path in files:
            path.write_bytes(render.padded(path.read_bytes(), longest))
    advance(len(films), len(films))
    return made


def _lists(parts: Mapping[Part, Sequence[Candidate]], known: Mapping[str, _Drawn],
           protocol: Protocol) -> list[dict[Part, list[tuple[str, str]]]]:
    """Of each reader, for each part, (the reader's own name of a film, the film's file) in order."""
    lists: list[dict[Part, list[tuple[str, str]]]] = [{} for _ in protocol.readers]
    last: list[str | None] = [None] * len(lists)
    for part in PARTS:
        hands = [list(parts[part])] * len(lists) if protocol.share == "all" else allot(parts[part], len(lists))
        if any(not hand for hand in hands) and parts[part]:
            raise ArgumentError(f"The {part} part has {len(parts[part])} {NOUNS[protocol.shows]}s for {len(lists)} "
                                "readers; allot more, or to fewer readers.")
        for number, own in enumerate(orders(hands, protocol.seed, part, last)):
            lists[number][part] = [(secrets.token_hex(8), known[film.name].name) for film in own]
            last[number] = own[-1].patient if own else None
    return lists


def _write(draft: Path, protocol: Protocol, drawn: Sequence[_Drawn], lists: Any, counts: Any,
           tokens: Sequence[str]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    in_order = sorted(drawn, key=lambda one: one.name)
    study = {"version": on_disk.VERSION, "title": protocol.title, "created": now, "readers": protocol.readers,
             "shows": protocol.shows, "films": {one.name: one.facts for one in in_order}, "lists": lists}
    truth = {"seed": protocol.seed, "margin_mm": protocol.margin_mm, "share": protocol.share, "counts": counts,
             "films": {one.name: one.truth.to_json() for one in in_order}}
    readers = {"secret": secrets.token_hex(32),
               "readers": [{"name": name, "token_sha256": on_disk.hashed(token)}
                           for name, token in zip(protocol.readers, tokens, strict=True)]}
    for name, content, mode in ((on_disk.STUDY, study, 0o644), (on_disk.TRUTH, truth, MODE),
                                (on_disk.READERS, readers, MODE)):
        _keep(draft / name, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(), mode)


def _keep(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def _level(draft: Path) -> None:
    """One time for all files, so that none tells when its film was made."""
    now = datetime.now(UTC).timestamp()
    for path in (*draft.rglob("*"),):
        os.utime(path, (now, now))


def _notes(drawn: Sequence[_Drawn], protocol: Protocol) -> tuple[str, ...]:
    notes = []
    forged = [one for one in drawn if one.candidate.kind == "fake"]
    real = [one for one in drawn if one.candidate.kind != "fake"]
    noun = NOUNS[protocol.shows]
    for name, told in (("size", lambda one: (one.facts["width"], one.facts["height"])),
                       ("depth", lambda one: one.bits)):
        alone = sum(told(one) not in {*map(told, real)} for one in forged)
        if real and alone:
            notes.append(f"{alone} of {len(forged)} fakes have a {name} that no real {noun} has, so that it tells "
                         f"them; take {noun}s of one archive.")
    if protocol.patients is None and not any(one.candidate.patient.startswith("patient ") for one in drawn):
        notes.append(f"Without a table of patients every {noun} counts as a patient of its own; name one with "
                     f"`patients`, so that two {noun}s of a patient are never neighbours.")
    hosts = {one.candidate.family for one in forged} & {one.candidate.family for one in real}
    if hosts:
        notes.append(f"{len(hosts)} real {noun}s are shown that a fake was made of, too; name more {noun}s to avoid "
                     "it.")
    return tuple(notes)
