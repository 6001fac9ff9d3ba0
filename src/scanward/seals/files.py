"""Seals on disk: made beside what they seal, found again there, and held against it."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography import x509

from scanward.disk import alone, sync_folder, whole_file
from scanward.errors import ArgumentError, InputError
from scanward.formats import Source
from scanward.formats.content import Content, read_content, study_of
from scanward.formats.guard import shown
from scanward.seals.check import Checked, Identity, Part, check, listed, standing_of, uncounted
from scanward.seals.copies import copy_of, copy_path, write_copy
from scanward.seals.finding import (
    SUFFIX,
    free_path,
    images_beside,
    is_of,
    named_seals,
    other_seals,
    read_seal,
    seal_path,
    uid_of,
)
from scanward.seals.log import History, Log, uids_of
from scanward.seals.objects import objects_of
from scanward.seals.record import Seal, Version, seal_of
from scanward.seals.signing import Signer, name_of, same_key
from scanward.seals.trust import Trust, trust_in
from scanward.verdict import SEVERITY

__all__ = ["SUFFIX", "Held", "hold", "read_seal", "resume", "seal_file", "seal_path", "verify_seal"]


def seal_file(source: Source, signer: Signer, folder: Path | None = None, log: Log | None = None, *,
              again: bool = False, said: list[str] | None = None, master: bytes | None = None) -> Path:
    """Seal a file or series and write the seal, which is returned; with `log`, it is added there then. With the site's
    secret, `master`, a reduced copy is written beside it (`copy_path`) of what can be reduced.

    What whoever seals should know of the image, such as that several slices lie at one place, is added to `said`. With
    `again` it may have a seal there already, which stays: the new one is the next version, and says so. Raises
    `ArgumentError` where there is one otherwise, and where the signer's certificate is not valid now; other
    `InputError` for what cannot be read or written.
    """
    _of(source, folder, again)  # refused before anything is made
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    valid = signer.certificate
    if not valid.not_valid_before_utc <= now <= valid.not_valid_after_utc:
        raise ArgumentError(f"The certificate of {name_of(valid)!r} is valid from {valid.not_valid_before_utc:%Y-%m-%d}"
                            f" to {valid.not_valid_after_utc:%Y-%m-%d}, and what it seals now would not count; name a "
                            "valid one.")
    content = _single(read_content(source), source, [] if said is None else said)
    first = seal_path(source, folder)
    with alone(_lock(source, folder)):  # of several who seal it at once, one writes seal, copy and log
        there = sorted(_of(source, folder, again), key=lambda one: one.number)
        before = [Version(seal.number, seal.root.hex()) for seal in there]
        if log is not None:
            if there and same_key(there[-1].certificate, signer.certificate):
                log.complete(there[-1])  # or those before it would not be known as its earlier versions
            if latest := log.latest(study_of(source)):
                before.append(latest)
        last = max(before, key=lambda one: one.number, default=None)
        path = free_path(source, folder)
        seal = seal_of(content, first.name.removesuffix(SUFFIX), now.isoformat(), signer,
                       None if last is None else Version(last.number + 1, last.follows))
        if master is not None:
            write_copy(content, seal, copy_path(path), master)
        with whole_file(path, replace=False) as file:
            file.write(seal.to_json(signer).encode())
            file.flush()
            os.fsync(file.fileno())
        if log is not None:
            # In this order: an entry whose seal lies nowhere would make an earlier one old.
            with suppress(OSError):
                sync_folder(path.parent)
            log.add(seal)
    return path


def resume(source: Source, signer: Signer, folder: Path | None = None, log: Log | None = None) -> Path | None:
    """The seal of an image's name that this signer made, where the image is as it was sealed; an entry that an
    interruption kept out of the `log` is added. None where there is no such seal, or a newer one."""
    if folder is not None and not os.path.isdir(folder):
        return None
    if _lock(source, folder).exists():  # somebody seals it now, or was killed
        with alone(_lock(source, folder)):
            pass
    try:
        held = hold(source, [signer.certificate], folder, also=())
    except InputError:
        return None  # `seal_file` says it
    if held is None or held.answer.label != "authentic":
        return None
    for path in named_seals(source, folder):
        if any(seal.root == held.seal.root for seal in _read([path], [])):
            return path if log is None or log.complete(held.seal) else None
    return None


def _lock(source: Source, folder: Path | None) -> Path:
    path = seal_path(source, folder)
    return path.with_name(f".{path.name}.lock")


def _single(content: Content, source: Source, said: list[str]) -> Content:
    """Without copies of slices, so that none of them need stay; slices with other voxels at one place are all kept, and
    that is said."""
    copies = content.copies
    if copies:
        names = listed([content.names[z] for z in copies])
        said.append(f"{shown(source.path)} holds copies of slices ({names}), which its seal leaves out; "
                    "take them away, as with them it is inconclusive.")
        content = content.without(copies)
    if places := content.places:
        names = listed([name for place in places for name in sorted(content.names[z] for z in place)])
        said.append(f"{shown(source.path)} has several slices with other voxels at one position ({names}); all are "
                    "sealed, as phases of one series are.")
    return content


def _of(source: Source, folder: Path | None, again: bool) -> list[Seal]:
    """The seals of an image that are there already. Of one that cannot be read nobody knows what it seals."""
    there = folder is None or os.path.isdir(folder)
    uid, study = uid_of(source), study_of(source)
    found: list[Seal] = []
    for path in named_seals(source, folder) if there else []:
        try:
            seal = read_seal(path)
        except InputError as error:
            if not again:
                raise ArgumentError(f"{shown(path)} exists already and is not overwritten; {error}") from error
            continue
        if is_of(seal, uid):
            found.append(seal)
    if found and not again:
        raise ArgumentError(f"{shown(seal_path(source, folder))} exists already and is not overwritten; verify with it,"
                            " or seal with --again what was changed on purpose.")
    if again:
        others = [*other_seals(source, folder), *objects_of(source, folder)] if there else []
        if folder is not None:  # versions go on wherever they are written to
            others += [*named_seals(source), *other_seals(source), *objects_of(source)]
        found += [seal for seal in _read(others, []) if uids_of(seal.study) == uids_of(study)]
    return found


@dataclass(frozen=True)
class Held:
    """An image held to one of the seals that may be its own."""

    seal: Seal
    answer: Checked


def hold(source: Source, trusted: Trust | Sequence[x509.Certificate], where: Path | None = None,
         identity: Identity = "same", history: History | None = None,
         also: Sequence[Path] | None = None, masters: Sequence[bytes] = ()) -> Held | None:
    """Hold a file or series to its seal: of all that lie in `where`, or beside it, and of those in `also` (the DICOM
    objects there that refer to it), the one that counts and fits; None where none is there.

    With a site's secret, one of `masters`, an image that was encoded anew as a whole is held to the reduced copy that
    lies with its seal. A seal of a stranger, of another image or a damaged one hides no other. Raises `InputError` for
    an image that cannot be read, and for a seal where no other says anything.
    """
    trust, uid, damaged = trust_in(trusted), uid_of(source), list[InputError]()
    seals = named = _read(named_seals(source, where), damaged)
    # Also where one of that name counts: an image that was renamed since may have been sealed again.
    seals = [*seals, *_read(other_seals(source, where), damaged)]
    known, series = {seal.root for seal in seals}, study_of(source).get("SeriesInstanceUID", "")
    # Anybody can write into an object that it refers to this image; what the seal in it says is signed.
    seals += [seal for seal in _read(objects_of(source, where) if also is None else also, damaged)
              if seal.root not in known and seal.study.get("SeriesInstanceUID", "") == series]
    counting = [seal for seal in seals if standing_of(seal, trust, history).counts]
    if not counting:
        return _uncounted(seals, trust, history, damaged)
    content = read_content(source)
    copies = partial(copy_of, folders=_folders(source, where, also or ()), masters=masters)
    held = [Held(seal, check(content, seal, trust, identity, history, partial(copies, seal))) for seal in counting]
    # What says that it is another image than it is takes its UID, and is held to that image's own seal.
    own = [one for one in held if uid[1] and is_of(one.seal, uid)]
    fitting = [one for one in own or held if one.answer.label == "authentic"]
    fit = {one.seal.root for one in fitting}
    if not fitting and not any(is_of(seal, uid) for seal in counting):
        if damaged:
            raise damaged[0]
        beside = images_beside(source) if where is None or os.path.isdir(where) else []
        held = [one for one in held if not any(is_of(one.seal, other) for other in beside)]
        if not held:
            return None
    best = max(fitting, key=lambda one: (history is None or history.knows(one.seal), one.seal.number)) if fitting \
        else max(held, key=lambda one: (is_of(one.seal, uid), one.seal.number, SEVERITY.index(one.answer.label)))
    answer = _dated(best, counting, history, fit)
    others = [seal for seal in named if seal in counting and seal.root not in fit]
    if where is None and is_of(best.seal, uid) and (lost := _replaced(source, others)) and answer.label == "authentic":
        said = f"Another image was sealed in its place on {lost.made}, and is not there any more."
        answer = dataclasses.replace(answer, history=Part("inconclusive", said))
    return Held(best.seal, answer)


def _replaced(source: Source, seals: Sequence[Seal]) -> Seal | None:
    """Of seals that lie where an image's own would and that it does not fit, one that was made there for another image,
    by the name and the UID that are signed, which lies nowhere beside."""
    uid, name = uid_of(source), seal_path(source).name.removesuffix(SUFFIX)
    others = [seal for seal in seals if seal.name == name and seal.study.get(uid[0]) and not is_of(seal, uid)]
    beside = images_beside(source) if others else []
    return next((seal for seal in others if not any(is_of(seal, one) for one in beside)), None)


def _folders(source: Source, where: Path | None, also: Sequence[Path]) -> list[Path]:
    """Where an image's seals may lie."""
    real = Path(os.path.realpath(source.path))
    beside = [real.parent, real] if source.kind == "series" else [real.parent]
    named = beside if where is None else [where if os.path.isdir(where) else where.parent]
    return list(dict.fromkeys((*named, *(path.parent for path in also))))


def _uncounted(seals: Sequence[Seal], trust: Trust, history: History | None,
               damaged: Sequence[InputError]) -> Held | None:
    """What is said where no seal counts: of a known signer's, of one that cannot be read, of a stranger's."""
    known = [seal for seal in seals if trust.knows(seal.certificate)]
    if damaged and not known:
        raise damaged[0]
    first = next(iter(known or seals), None)
    return None if first is None else Held(first, uncounted(first, standing_of(first, trust, history)))


def _read(paths: Sequence[Path], damaged: list[InputError]) -> list[Seal]:
    found = []
    for path in paths:
        try:
            found.append(read_seal(path))
        except InputError as error:
            damaged.append(error)
    return found


def verify_seal(source: Source, seal: Seal, trusted: Trust | Sequence[x509.Certificate], identity: Identity = "same",
                log: Log | None = None) -> Checked:
    """Hold a file or series to one seal, and the seal to a log. Raises `InputError` for what cannot be read."""
    trust = trust_in(trusted)
    history = None if log is None else log.history(trust)
    return _dated(Held(seal, check(read_content(source), seal, trust, identity, history)), (), history)


def _dated(held: Held, others: Sequence[Seal], history: History | None, fitting: Collection[bytes] = ()) -> Checked:
    """With what other seals, and the log, know of newer versions; one that the image fits, too, makes none old."""
    seal, answer = held.seal, held.answer
    line, newer, uids = {seal.root.hex()}, None, uids_of(seal.study)
    for other in sorted(others, key=lambda one: one.number):
        follows = other.version is not None and other.version.follows in line
        # pictures have no UIDs, and their name instead
        same = uids_of(other.study) == uids and (uids is not None or other.name == seal.name)
        if other.number > seal.number and (follows or same):
            line.add(other.root.hex())
            newer = newer if other.root in fitting else other.made
    if history is not None:
        if history.wrong:
            return dataclasses.replace(answer, history=Part("inconclusive", history.wrong[0]))
        entry = history.newer(seal)
        newer = newer if entry is None else entry.made
    if newer is None:
        return answer
    old = Part("inconclusive", f"It was sealed on {seal.made}, and a newer version on {newer}.")
    return dataclasses.replace(answer, history=old)
