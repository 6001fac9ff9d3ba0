"""Perturbed files: the image in its own format, what was done, a picture; what verifying writes, and old protections
undone."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import numpy as np

from scanward import formats
from scanward.arguments import PathLike, refused
from scanward.disk import check_free, whole_file, whole_folder
from scanward.errors import ArgumentError, UnreadableError
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.host import Host, host_of
from scanward.formats.reader import Given, image_in
from scanward.formats.sources import series_or_file
from scanward.formats.write import write_altered
from scanward.formats.write_volume import target_of, write_altered_volume
from scanward.image import Image
from scanward.modality import traits
from scanward.protection.answer import Answer, facts
from scanward.protection.make import KEYED, Key, Perturb, key_in, perturbed
from scanward.protection.records import RECORD, record_beside, record_in
from scanward.protectors.base import Protected
from scanward.protectors.seal import Record, unweave
from scanward.report.heat import png
from scanward.report.protected import perturbed_picture
from scanward.seals.answers import BESIDE, VERIFIED, write_verified
from scanward.seals.copies import copy_path
from scanward.seals.files import seal_file
from scanward.seals.signing import signer_of

PICTURE, PERTURBATION = "protected.png", "perturbation.json"
UNDONE = "unprotected.json"


def protect(source: Given, key: Key | None = None, *, perturb: Perturb | None = None) -> Protected:
    """An image perturbed against forgers.

    `source` is a path (of a CT in DICOM: the folder of its series), what `find` found, an array as `load` takes it, or
    an `Image`. `Protected.save` writes what `scanward protect` writes. `key` is for `watermark`; `ArgumentError` where
    one is given for another method. Other `InputError` for what cannot be read or perturbed.
    """
    keyed = isinstance(perturb, Perturb) and perturb.method in KEYED
    if key is not None and not keyed:
        raise ArgumentError("Nothing is woven under a key into images by this method; leave key= out, and seal the "
                            "file with scanward.seal(path, key), which changes no voxel.")
    order, image = check_order(key, perturb), _image(source)
    made, done = perturbed(image, order, None if key is None else key_in(key))
    return Protected(made, partial(_saved, host_of(source, image), order, done))


def _saved(host: Host, perturb: Perturb, done: dict[str, object], made: Protected, folder: Path) -> list[Path]:
    source, image = host.again()
    return _write_protected(folder, source, image, made.image, None, perturb, done)


def check_order(key: Key | None, perturb: object) -> Perturb:
    """What was asked for; `InputError` where that is nothing, or the key is none."""
    if key is not None:
        key_in(key)
    if perturb is None:
        raise ArgumentError("Nothing was asked for; give --key FILE for a seal, --method for a perturbation "
                            "(scanward.seal, or perturb= in Python), or both.")
    if not isinstance(perturb, Perturb):
        raise refused("perturb", "a scanward.Perturb", perturb)
    if perturb.method in KEYED and key is None:
        raise ArgumentError(f"{perturb.method} is woven under a site's key; name it with --key FILE (key= in Python).")
    return perturb


def check_output(folder: Path) -> None:
    """`ArgumentError` where nothing that is protected can be written into `folder`, or something lies there."""
    check_free(folder, (PICTURE, RECORD, PERTURBATION))


def check_answer(folder: Path) -> None:
    """The same for what `write_answer` writes."""
    check_free(folder, (VERIFIED, *BESIDE))


def protect_file(path: Path, folder: Path, key: Path | None, perturb: Perturb | None = None) -> list[Path]:
    """As `protect`, written into `folder`: the image with its mark, `perturbation.json` and a picture; with a key, the
    seal of that image beside it. Returns these, the image first.

    All or nothing, and nothing is overwritten. Raises `InputError`.
    """
    order, master = check_order(key, perturb), None if key is None else key_in(key)
    check_output(folder)
    source = series_or_file(path)
    image = formats.read(source)
    target_of(image, source, folder, "protected")
    made, done = perturbed(image, order, master)
    return _write_protected(folder, source, image, made, master, order, done)


def _write_protected(folder: Path, source: Source, image: Image, made: Image, master: bytes | None, perturb: Perturb,
                     done: dict[str, object]) -> list[Path]:
    with whole_folder(folder, last=PERTURBATION, taken=(PICTURE, RECORD)) as draft:
        what = f"By {perturb.method}, {done['largest_change']:g} HU at most."
        written = _write(image, made, source, draft, what, "protected")
        names = [written.name, PICTURE, PERTURBATION]
        if master is not None:
            sealed = seal_file(series_or_file(written), signer_of(master), master=master)
            names += [os.path.relpath(path, draft) for path in (sealed, copy_path(sealed)) if path.exists()]
        _put(draft / PERTURBATION, _json(done))
        first = next(iter(perturb.around), None)
        at = None if first is None else (first.z, first.y, first.x)
        _put(draft / PICTURE, png(perturbed_picture(image, made, at)))
    return [folder / name for name in names]


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


def write_answer(image: Image, answer: Answer, folder: Path) -> None:
    """What was said of an image, the map of what was altered and a picture of it."""
    write_verified(image, answer.heat(image.shape) == 1, facts(answer), folder, traits(image.modality).volume)


def _json(values: dict[str, object]) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def _put(path: Path, data: bytes) -> None:
    with whole_file(path, replace=False) as file:
        file.write(data)
