"""Protected files: the image in its own format, its record and a picture; and what verifying them writes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from scanward import formats
from scanward.arguments import PathLike
from scanward.box import flat
from scanward.disk import check_free, whole_file, whole_folder
from scanward.errors import InputError, UnreadableError, UnsupportedError
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.host import Host, host_of
from scanward.formats.reader import Given, image_in
from scanward.formats.sources import series_or_file
from scanward.formats.write import write_altered
from scanward.formats.write_volume import target_of, write_altered_volume, write_mask
from scanward.image import Image
from scanward.modality import traits
from scanward.protection.make import Key, Perturb, check_asked, key_in, protected
from scanward.protection.records import RECORD, read_record, record_beside, record_in, seal_for
from scanward.protectors.base import Protected
from scanward.protectors.seal import Answer, Record, unweave
from scanward.protectors.seal.record import mark_of
from scanward.report.heat import png
from scanward.report.protected import verified_picture, woven_picture

PICTURE, PERTURBATION = "protected.png", "perturbation.json"
VERIFIED, MAP = "verified.json", "altered"
BESIDE = ("verified.png", f"{MAP}.png", f"{MAP}.nii.gz")
UNDONE = "unprotected.json"


def protect(source: Given, key: Key | None = None, *, perturb: Perturb | None = None) -> Protected[Record | None]:
    """An image under keyed evidence, with the record that verifies and undoes it; before that, perturbed.

    `source` is a path (of a CT in DICOM: the folder of its series), what `find` found, an array as `load` takes it, or
    an `Image`. `key` is 32 secret bytes or the file that `make_key` made; without one there is no record, and a
    perturbation is not undone to the last bit. `Protected.save` writes what `scanward protect` writes. Raises
    `UnsupportedError` for an image that is not stored in whole steps or has no room for a pattern; other `InputError`
    for what cannot be read.
    """
    check_asked(key, perturb)
    master, image = None if key is None else key_in(key), _image(source)
    made, done = protected(image, master, perturb)
    return replace(made, writer=partial(_saved, host_of(source, image), key, perturb, done))


def _saved(host: Host, key: Key | None, perturb: Perturb | None, done: dict[str, object] | None,
           made: Protected[Record | None], folder: Path) -> list[Path]:
    source, image = host.again()
    return _write_protected(folder, source, image, made, None if key is None else key_in(key), perturb, done)


def check_order(key: Path | None, perturb: Perturb | None) -> bytes | None:
    """The key, read; `InputError` where nothing was asked for, or it holds none."""
    check_asked(key, perturb)
    return None if key is None else key_in(key)


def check_output(folder: Path) -> None:
    """`ArgumentError` where nothing that is protected can be written into `folder`, or something lies there."""
    check_free(folder, (PICTURE, RECORD, PERTURBATION))


def check_answer(folder: Path) -> None:
    """The same for what `verify_file` writes."""
    check_free(folder, (VERIFIED, *BESIDE))


def protect_file(path: Path, folder: Path, key: Path | None, perturb: Perturb | None = None) -> list[Path]:
    """As `protect`, written into `folder`: the image with its mark, a picture, `evidence.json` where there is a key and
    `perturbation.json` where it was perturbed; returns these, the image first.

    All or nothing, and nothing is overwritten. Raises `InputError`.
    """
    master = check_order(key, perturb)
    check_output(folder)
    source = series_or_file(path)
    image = formats.read(source)
    target_of(image, source, folder, "protected")
    made, done = protected(image, master, perturb)
    return _write_protected(folder, source, image, made, master, perturb, done)


def _write_protected(folder: Path, source: Source, image: Image, made: Protected[Record | None], master: bytes | None,
                     perturb: Perturb | None, done: dict[str, object] | None) -> list[Path]:
    record, names = made.record, [PICTURE]
    description = "Perturbed against forgers." if record is None or master is None else \
        f"{mark_of(record.salt, master)}. Protected against tampering; reversible with the key."
    with whole_folder(folder, last=RECORD if record else PERTURBATION, taken=(PICTURE, RECORD, PERTURBATION)) as draft:
        written = _write(image, made.image, source, draft, description, "protected")
        if record is not None and master is not None:
            # Nothing is kept that could not be undone.
            _put(draft / RECORD, record.to_json(master).encode())
            try:
                unweave(formats.read(series_or_file(written)), master, read_record(draft / RECORD, master))
            except InputError as error:  # it speaks of a file that is gone
                raise UnsupportedError(f"{shown(image.name)} does not come back from its own format voxel for voxel, "
                                       "and is not protected; convert it to 16-bit whole numbers.") from error
            names.append(RECORD)
        if done is not None:
            _put(draft / PERTURBATION, _json(done))
            names.append(PERTURBATION)
        first = next(iter(perturb.around), None) if perturb else None
        at = None if first is None else (first.z, first.y, first.x)
        _put(draft / PICTURE, png(woven_picture(image, made.image, at)))
    return [folder / name for name in (written.name, *names)]


def verify(source: Given, key: Key, record: Record | PathLike | None = None) -> Answer:
    """Whether an image is what was protected: authentic, tampered and where, or inconclusive.

    `source` and `key` are as for `protect`. `record` is a `Record` or its file, `evidence.json`; where none is given,
    it is looked for beside the image, and must be given with an image in memory. Raises `InputError`, also where
    neither a record nor the image's own word of its evidence is to be found.
    """
    return _verified(source, key, record)[1]


def _verified(source: Given, key: Key, record: Record | PathLike | None) -> tuple[Image, Answer]:
    master = key_in(key)
    found = None if isinstance(source, Image | np.ndarray) else series_or_file(source)
    seal = seal_for(found, master, record)
    if seal is not None and seal.silent and seal.doubt is not None:
        raise seal.doubt  # before the image is read, which takes long
    image = None if seal is None else image_in(found or source)
    answer = None if seal is None or image is None else seal.verify(image)
    if answer is None or image is None:
        name = found.path if found is not None else "The image"
        raise UnreadableError(f"{shown(name)} names no evidence, and no {RECORD} of its own lies beside it; name "
                              "its record with --record (record= in Python).")
    return image, answer


def verify_file(path: Path, key: Path, record: Path | None = None,
                folder: Path | None = None) -> tuple[Image, Answer]:
    """A file or series, and what `verify` says of it. With `folder`, `verified.json`, `verified.png` and the map of
    what was altered go there. Raises as `verify`."""
    if folder is not None:
        check_answer(folder)
    image, answer = _verified(path, key, record)
    if folder is not None:
        _write_answer(image, answer, folder)
    return image, answer


def unprotect(source: Given, key: Key, record: Record | PathLike | None = None) -> Image:
    """The image as it was before it was protected, voxel for voxel; `source`, `key` and `record` are as for `verify`.

    Raises `UnreadableError` where there is no record, or the image is not voxel by voxel what was protected; other
    `InputError`.
    """
    master, kept = _record_of(source, key, record)
    return unweave(_image(source), master, kept)


def _record_of(source: Given, key: Key, record: Record | PathLike | None) -> tuple[bytes, Record]:
    """The key, and the record that undoes what it wove: both are refused before an image is read, which takes long."""
    master, name = key_in(key), "the image"
    if record is None and not isinstance(source, Image | np.ndarray):
        path = series_or_file(source).path
        record, name = record_beside(path), shown(path)
    if record is None:
        raise UnreadableError(f"No {RECORD} lies beside {name}, and nothing is undone without it; name its record with "
                              "--record (record= in Python).")
    return master, record_in(record, master)


def _image(source: Given) -> Image:
    """As a public function was given it; of a folder its own series, wherever that lies."""
    return image_in(source if isinstance(source, Image | np.ndarray) else series_or_file(source))


def facts(answer: Answer) -> dict[str, object]:
    """An answer for JSON: places in voxels, in the order that `axes` says; a box is [x0, y0, z0, x1, y1, z1]."""
    findings = [{"centre": [round(c, 1) for c in found.centre[::-1]], "corner": list(found.box[:3])[::-1],
                 "box": flat(found.box, planar=False), "reason": found.why} for found in answer.findings]
    return {"label": answer.label, "reason": answer.sentence, "axes": "x, y, z", "exact": answer.exact,
            "kept": round(answer.kept, 3), "findings": findings}


def unprotect_file(path: Path, folder: Path, key: Path, record: Path | None = None) -> Path:
    """Write the image as it was before it was protected, voxel for voxel; returns it. Raises `InputError`."""
    check_free(folder, (UNDONE,))
    source = series_or_file(path)
    master, kept = _record_of(source, key, record)
    image = image_in(source)
    target_of(image, source, folder, "unprotected")
    original = unweave(image, master, kept)
    with whole_folder(folder, last=UNDONE) as draft:
        written = _write(image, original, source, draft, "Protection undone; the voxels are the original ones.",
                         "unprotected")
        _put(draft / UNDONE, _json({"image": written.name, "original_sha256": kept.original_sha256}))
    return folder / written.name


def _write(host: Image, altered: Image, source: Source, folder: Path, description: str, ending: str) -> Path:
    if traits(host.modality).volume:
        return write_altered_volume(host, altered, source, folder, description=description, synthetic=False,
                                    ending=ending)
    return write_altered(altered, target_of(host, source, folder, ending), description=description, synthetic=False)


def _write_answer(image: Image, answer: Answer, folder: Path) -> None:
    heat = answer.map()
    with whole_folder(folder, last=VERIFIED, taken=BESIDE) as draft:
        _put(draft / "verified.png", png(verified_picture(image, heat)))
        if traits(image.modality).volume:
            write_mask(draft / f"{MAP}.nii.gz", heat == 1, image)
        else:
            _put(draft / f"{MAP}.png", png(np.rint(255 * heat[0]).astype(np.uint8)))
        _put(draft / VERIFIED, _json(facts(answer)))


def _json(values: dict[str, object]) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def _put(path: Path, data: bytes) -> None:
    with whole_file(path, replace=False) as file:
        file.write(data)
