"""Protected files: the image in its own format, its record and a picture; and what verifying them writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from scanward import formats
from scanward.box import flat
from scanward.disk import check_free, whole_file, whole_folder
from scanward.errors import UnreadableError
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.sources import series_or_file
from scanward.formats.write import write_altered
from scanward.formats.write_volume import target_of, write_altered_volume, write_mask
from scanward.image import Image
from scanward.modality import traits
from scanward.protection.make import Perturb, check_asked, protected
from scanward.protection.records import RECORD, read_record, record_beside, sealed
from scanward.protectors.seal import Answer, read_key, unweave
from scanward.protectors.seal.record import mark_of
from scanward.report.heat import png
from scanward.report.protected import verified_picture, woven_picture

PICTURE, PERTURBATION = "protected.png", "perturbation.json"
VERIFIED, MAP = "verified.json", "altered"
BESIDE = ("verified.png", f"{MAP}.png", f"{MAP}.nii.gz")
UNDONE = "unprotected.json"


def check_order(key: Path | None, perturb: Perturb | None) -> bytes | None:
    """The key, read; `InputError` where nothing was asked for, or it holds none."""
    check_asked(key, perturb)
    return None if key is None else read_key(key)


def check_output(folder: Path) -> None:
    """`ArgumentError` where nothing that is protected can be written into `folder`, or something lies there."""
    check_free(folder, (PICTURE, RECORD, PERTURBATION))


def check_answer(folder: Path) -> None:
    """The same for what `verify_file` writes."""
    check_free(folder, (VERIFIED, *BESIDE))


def protect_file(path: Path, folder: Path, key: Path | None, perturb: Perturb | None = None) -> list[Path]:
    """Write the protected image into `folder`, with its mark, a picture, `evidence.json` where there is a key and
    `perturbation.json` where it was perturbed; returns these, the image first.

    All or nothing, and nothing is overwritten. Raises `InputError`.
    """
    master = check_order(key, perturb)
    check_output(folder)
    source = series_or_file(path)
    image = formats.read(source)
    target_of(image, source, folder, "protected")
    made, facts = protected(image, master, perturb)
    record, names = made.record, [PICTURE]
    description = "Perturbed against forgers." if record is None or master is None else \
        f"{mark_of(record.salt, master)}. Protected against tampering; reversible with the key."
    with whole_folder(folder, last=RECORD if record else PERTURBATION, taken=(PICTURE, RECORD, PERTURBATION)) as draft:
        written = _write(image, made.image, source, draft, description, "protected")
        if record is not None and master is not None:
            # Nothing is kept that could not be undone.
            _put(draft / RECORD, record.to_json(master).encode())
            unweave(formats.read(series_or_file(written)), master, read_record(draft / RECORD, master))
            names.append(RECORD)
        if facts is not None:
            _put(draft / PERTURBATION, _json(facts))
            names.append(PERTURBATION)
        first = next(iter(perturb.around), None) if perturb else None
        at = None if first is None else (first.z, first.y, first.x)
        _put(draft / PICTURE, png(woven_picture(image, made.image, at)))
    return [folder / name for name in (written.name, *names)]


def verify_file(path: Path, key: Path, record: Path | None = None,
                folder: Path | None = None) -> tuple[Image, Answer]:
    """A file or series, and what `verify` says of it; the record is `record`, or the one beside the image.

    With `folder`, `verified.json`, `verified.png` and the map of what was altered go there. Raises `InputError`, also
    where neither a record nor the salt of one is to be found.
    """
    master = read_key(key)
    if folder is not None:
        check_answer(folder)
    source = series_or_file(path)
    found = sealed(source, master, record or record_beside(path))
    if found is None:
        raise UnreadableError(f"{shown(path)} names no evidence, and no {RECORD} lies beside it; name the record with "
                              "--record.")
    image = formats.read(source)
    answer = found.verify(image)
    if folder is not None:
        _write_answer(image, answer, folder)
    return image, answer


def facts(answer: Answer) -> dict[str, object]:
    """An answer for JSON: places in voxels, in the order that `axes` says; a box is [x0, y0, z0, x1, y1, z1]."""
    findings = [{"centre": [round(c, 1) for c in found.centre[::-1]], "corner": list(found.box[:3])[::-1],
                 "box": flat(found.box, planar=False), "reason": found.why} for found in answer.findings]
    return {"label": answer.label, "reason": answer.sentence, "axes": "x, y, z", "exact": answer.exact,
            "kept": round(answer.kept, 3), "findings": findings}


def unprotect_file(path: Path, folder: Path, key: Path, record: Path | None = None) -> Path:
    """Write the image as it was before it was protected, voxel for voxel; returns it. Raises `InputError`."""
    master = read_key(key)
    check_free(folder, (UNDONE,))
    found = record or record_beside(path)
    if found is None:
        raise UnreadableError(f"No {RECORD} lies beside {shown(path)}, and nothing is undone without it; name it with "
                              "--record.")
    kept = read_record(found, master)
    source = series_or_file(path)
    image = formats.read(source)
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
