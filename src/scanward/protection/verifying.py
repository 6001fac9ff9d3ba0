"""Images sealed, and held to their seals or to the records of older protections."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scanward.arguments import PathLike, path_of, refused
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats import Source, find
from scanward.formats.guard import shown
from scanward.formats.reader import Given, check_kind, image_in
from scanward.formats.sources import Passed, series_or_file
from scanward.image import Image
from scanward.protection.answer import Answer, held_to_seal
from scanward.protection.files import check_answer, write_answer
from scanward.protection.make import Key, key_in
from scanward.protection.records import RECORD, seal_for
from scanward.protectors.seal import Record
from scanward.seals.check import Identity
from scanward.seals.files import hold, resume, seal_file
from scanward.seals.finding import passed_images
from scanward.seals.log import Log
from scanward.seals.signing import read_certificate, signer_of
from scanward.seals.trust import Anchor, Trust


def seal(source: Source | PathLike, key: Key, folder: PathLike | None = None, *, site: str = "Scanward site",
         log: PathLike | None = None, exact: bool = False) -> Path:
    """Write an image's seal, by which any later change of it shows, beside it or into `folder`; its path.

    Beside the seal goes an encrypted reduced copy, NAME.seal.copy, to which `verify` holds what was encoded anew as a
    whole; not of colours, of what is under 48 pixels, and with `exact`.

    `source` is a path (of a CT in DICOM: the folder of its series) or what `find` found. `key` is 32 secret bytes or
    the file that `make_key` made; `site` is the name in its certificate. With `log`, a folder, the seal is added there.
    An image that is sealed already and unchanged keeps its seal, whose path is returned. Raises `ArgumentError` where
    it was changed since it was sealed, other `InputError` for what cannot be read or sealed.
    """
    if not isinstance(site, str):
        raise refused("site", "a name", site)
    master = key_in(key)
    if not isinstance(source, Source):
        source = series_or_file(path_of(source, "source", "a path or a Source"))
    asked = (source, signer_of(master, site), None if folder is None else path_of(folder, "folder"),
             None if log is None else Log(path_of(log, "log")))
    return resume(*asked) or seal_file(*asked, master=None if exact else master)


def verify(source: Given, key: Key | None = None, record: Record | PathLike | None = None, *,
           certificates: Sequence[PathLike] = (), trust: Trust | None = None, seal: PathLike | None = None,
           identity: Identity = "same", log: PathLike | None = None) -> Answer:
    """Whether an image is what was sealed: authentic, tampered and where, or inconclusive.

    `source` is a path (of a CT in DICOM: the folder of its series) or what `find` found. `key` is 32 secret bytes or
    the file that `make_key` made; without it, `certificates` names the files of sites whose seals count, and `trust`
    is what `read_trust` read. The `seal`, a file or a folder of seals, is looked for beside the image where none is
    named. With `identity` "any" a copy without a name, or with another, is taken. `log` is the folder of a log that
    seals are held to.

    Where there is no seal, the record of an older protection answers, which needs the key: `record`, a `Record` or its
    file, `evidence.json`, or else what lies beside the image. An array or an `Image` is held to a `record` alone.
    Raises `InputError`, also where there is neither.
    """
    if identity not in ("same", "any"):
        raise refused("identity", "'same' or 'any'", identity)
    if log is not None and not os.path.isdir(path_of(log, "log")):
        raise ArgumentError(f"The argument log takes the folder of a log, not {shown(str(log))}.")
    master, where = None if key is None else key_in(key), None if seal is None else path_of(seal, "seal")
    known = _known(master, certificates, trust)
    found = None if isinstance(source, Image | np.ndarray) else _only(source)
    answer = None
    if found is not None and record is None:
        history = None if log is None else Log(path_of(log, "log")).history(known)
        held = hold(found, known, where, identity, history, masters=() if master is None else (master,))
        answer = None if held is None else held_to_seal(held.answer, held.seal)
        # A stranger's seal that merely lies there hides nothing that the site's own record tells.
        if answer is not None and held is not None and (held.answer.trusted or master is None):
            return answer
    if master is None:
        raise ArgumentError("Without key= an image is held to a seal alone, and none lies beside this one; name it "
                            "with seal=.")
    try:
        return held_by_record(found or source, master, record)[1]
    except UnreadableError:
        if answer is None:
            raise
        return answer


def _only(source: Source | PathLike) -> Source:
    """What a source names; of a folder the one image in and below it, as nothing else there would be looked at."""
    found = series_or_file(source)
    if not isinstance(source, Source) and os.path.isdir(path_of(source, "source")):
        passed: list[Passed] = []
        images, errors = find([path_of(source, "source")], passed=passed)
        if errors or len(images) != 1:
            raise errors[0] if errors else UnreadableError(
                f"{shown(path_of(source, 'source'))} holds {len(images)} images; verify each by its own path, or as "
                "scanward.find gives it.")
        for one in passed_images(passed, images):
            raise UnreadableError(f"{shown(one.path)} is of the series or study that lies there, and is passed over; "
                                  "move it elsewhere, or verify the image as scanward.find gives it.")
    return found


def _known(master: bytes | None, certificates: object, trust: object) -> Trust:
    """Whose seals count; `InputError` where that is nobody."""
    if isinstance(certificates, str) or not isinstance(certificates, Sequence):
        raise refused("certificates", "a list of files", certificates)
    if not isinstance(trust, Trust | None):
        raise refused("trust", "what scanward.read_trust read", trust)
    own = () if master is None else (Anchor(signer_of(master).certificate),)
    given = Trust(()) if trust is None else trust
    known = (*own, *(Anchor(read_certificate(path_of(path, "certificates"), authority=True)) for path in certificates),
             *given.anchors)
    if not known:
        raise ArgumentError("Nobody's seals would count; give key=, certificates= or trust=.")
    return Trust(known, given.heads)


def held_by_record(source: Given, master: bytes, record: Record | PathLike | None) -> tuple[Image, Answer]:
    """An image, read, and what the record of an older protection says of it. Raises as `verify`."""
    found = source if isinstance(source, Source) else None
    seal = seal_for(found, master, record)
    if seal is not None and seal.silent and seal.doubt is not None:
        raise seal.doubt  # before the image is read, which takes long
    image = None if seal is None else image_in(source)
    answer = None if seal is None or image is None else seal.verify(image)
    if answer is None or image is None:
        if found is not None:
            check_kind(found.paths[0])  # what is no image is told as such
        name = found.path if found is not None else "the image"
        raise UnreadableError(f"No seal lies beside {shown(name)}, it names no evidence, and no {RECORD} of its own "
                              "lies there; name one with --seal or --record (seal= and record= in Python).")
    return image, answer


def verify_file(path: Path, key: Key, record: Path | None = None,
                folder: Path | None = None) -> tuple[Image, Answer]:
    """A file or series, and what the record of an older protection says of it. With `folder`, `verified.json`,
    `verified.png` and the map of what was altered go there. Raises as `verify`."""
    if folder is not None:
        check_answer(folder)
    image, answer = held_by_record(series_or_file(path), key_in(key), record)
    if folder is not None:
        write_answer(image, answer, folder)
    return image, answer
