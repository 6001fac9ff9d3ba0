"""Protected files: the image in its own format, its record and a picture; and what verifying them writes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from scanward import formats
from scanward.disk import whole_file, whole_folder
from scanward.errors import InputError, UnreadableError, UnsupportedError
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.sources import series_or_file
from scanward.formats.write import STEM, suffix_of, write_altered
from scanward.formats.write_volume import write_altered_volume, write_mask
from scanward.image import Image
from scanward.modality import traits
from scanward.protection.make import Perturb, check_asked, protected
from scanward.protection.records import RECORD, read_record, record_beside, sealed
from scanward.protectors.seal import Answer, read_key, unweave
from scanward.protectors.seal.record import MARK
from scanward.report.heat import png
from scanward.report.protected import verified_picture, woven_picture

PICTURE, PERTURBATION = "protected.png", "perturbation.json"
VERIFIED, MAP = "verified.json", "altered"
UNDONE = "unprotected.json"


def protect_file(path: Path, folder: Path, key: Path | None, perturb: Perturb | None = None) -> list[Path]:
    """Write the protected image into `folder`, with its mark, a picture, `evidence.json` where there is a key and
    `perturbation.json` where it was perturbed; returns these, the image first.

    All or nothing, and nothing is overwritten. Raises `InputError`.
    """
    check_asked(key, perturb)
    master, source = None if key is None else read_key(key), series_or_file(path)
    image = formats.read(source)
    made, facts = protected(image, master, perturb)
    record, names = made.record, [PICTURE]
    description = "Perturbed against forgers." if record is None else \
        f"{MARK}{record.salt.hex()}. Protected against tampering; reversible with the key."
    with whole_folder(folder, last=RECORD if record else PERTURBATION, taken=(PICTURE, RECORD, PERTURBATION)) as draft:
        written = _write(image, made.image, source, draft, description, "protected")
        if record is not None and master is not None:
            # Nothing is kept that could not be undone.
            _put(draft / RECORD, record.to_json(master).encode())
            try:
                unweave(formats.read(series_or_file(written)), master, read_record(draft / RECORD, master))
            except InputError as error:  # it speaks of a file that is gone
                raise UnsupportedError(f"{shown(path)} does not come back from its own format voxel for voxel, and is "
                                       "not protected; convert it to 16-bit whole numbers.") from error
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
    source = series_or_file(path)
    found = sealed(source, read_key(key), record or record_beside(path))
    if found is None:
        raise UnreadableError(f"{shown(path)} names no evidence, and no {RECORD} lies beside it; name the record with "
                              "--record.")
    image = formats.read(source)
    answer = found.verify(image)
    if folder is not None:
        _write_answer(image, answer, folder)
    return image, answer


def facts(answer: Answer) -> dict[str, object]:
    """An answer for JSON."""
    findings = [{"centre": [round(c, 1) for c in found.centre[::-1]], "why": found.why,
                 "box": [v for s in found.box.slices[::-1] for v in (s.start, s.stop)]} for found in answer.findings]
    return {"label": answer.label, "sentence": answer.sentence, "exact": answer.exact, "kept": round(answer.kept, 3),
            "findings": findings}


def unprotect_file(path: Path, folder: Path, key: Path, record: Path | None = None) -> Path:
    """Write the image as it was before it was protected, voxel for voxel; returns it. Raises `InputError`."""
    master, source = read_key(key), series_or_file(path)
    found = record or record_beside(path)
    if found is None:
        raise UnreadableError(f"No {RECORD} lies beside {shown(path)}, and nothing is undone without it; name it with "
                              "--record.")
    kept = read_record(found, master)
    image = formats.read(source)
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
    stem = os.fsdecode(os.fsencode(Path(host.name).stem)[:STEM])
    return write_altered(altered, folder / f"{stem}-{ending}{suffix_of(host)}", description=description,
                         synthetic=False)


def _write_answer(image: Image, answer: Answer, folder: Path) -> None:
    heat = answer.map()
    with whole_folder(folder, last=VERIFIED, taken=("verified.png",)) as draft:
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
