"""An altered CT volume, written in its host's own format and marked as altered; and masks as NIfTI."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward.disk import whole_file
from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats import Source
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.sniff import GZIP
from scanward.formats.volume import stored_nifti
from scanward.formats.write import STEM, Mark, check_target, refuse_existing, suffix_of, write_companion
from scanward.image import Image
from scanward.mark import TEXT
from scanward.modality import traits

ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd")


def write_altered_volume(host: Image, altered: Image, source: Source | Path, folder: Path, *, description: str,
                         synthetic: bool, ending: str = "forged") -> Path:
    """Write an altered CT beside a `.scanward.json` that says so: a DICOM series into a folder of its own, MetaImage
    and NIfTI as one file (two for `.mhd`), all named after the host with `-` and `ending`. Returns what is read again:
    the folder or the file. An enhanced CT goes into a folder, too.

    `host` is the image as it was read from `source`. What does not differ from it keeps its stored value, its header
    and, in DICOM, its compressed pixels. Raises `UnsupportedError` for other formats and for single DICOM files.
    """
    target = target_of(host, source, folder, ending)
    kind = host.provenance.format
    mark = Mark(description, synthetic or host.provenance.synthetic)
    write_companion(target, mark, kind)
    if kind == "dicom":
        from scanward.formats.altered_series import write_series

        paths = source.paths if isinstance(source, Source) else (source,)
        write_series(paths, host.pixels, altered.pixels, target, mark.text, mark.synthetic,
                     host.provenance.series_instance_uid)
    elif kind is not None:
        from scanward.formats.altered_volume import write_volume

        write_volume(Path(host.name), kind, host.pixels, altered.pixels, target, mark.text)
    return target


def target_of(host: Image, source: Source | Path, folder: Path, ending: str) -> Path:
    """Where an altered copy of `host`, read from `source`, is written in `folder`. Raises, before any work for it,
    `UnsupportedError` for a host of which none is, and `ArgumentError` where something has its name, or where the
    host's own slices lie in `folder`."""
    check_apart(source, folder)
    kind, path = host.provenance.format, Path(host.name)
    if not traits(host.modality).volume:
        target = folder / f"{_short(path.stem)}-{ending}{suffix_of(host)}"
        check_target(host, target)
        return target
    if kind not in ("dicom", "metaimage", "nifti"):
        raise UnsupportedError(f"{shown(host.name)} is of format {kind}, in which no CT is written; convert it to "
                               "DICOM, MetaImage or NIfTI.")
    if kind == "dicom" and host.shape[0] == 1:
        raise UnsupportedError(f"{shown(host.name)} is a single slice, and a CT is altered in whole series; give the "
                               "series, as its folder.")
    stem, suffix = _stem(Path(os.path.realpath(path)), kind)
    target = folder / f"{_short(stem)}-{ending}{suffix}"
    refuse_existing(target)
    return target


def check_apart(source: Source | Path, folder: Path) -> None:
    """`ArgumentError` where the slices of a series lie in `folder`, in which copies of them are to be written."""
    if not isinstance(source, Source) or source.kind != "series":
        return
    real = os.path.realpath(folder)
    if any(os.path.dirname(os.path.realpath(path)) == real for path in source.paths):
        raise ArgumentError(f"{shown(folder)} holds the very slices of which copies are to be made, and these must "
                            "not lie among them; choose another folder.")


def _short(stem: str) -> str:
    return os.fsdecode(os.fsencode(stem)[:STEM])


def hash_of(path: Path) -> str:
    """SHA-256 of a file, of a MetaImage header and its voxels, or of a folder's files in the order of their names."""
    sha = hashlib.sha256()
    beside = sorted(path.iterdir()) if path.is_dir() else [path, *(
        other for other in sorted(path.parent.glob("*raw")) if path.suffix.lower() in (".mhd", ".mha"))]
    for file in beside:
        sha.update(file.read_bytes())
    return sha.hexdigest()


def _stem(path: Path, kind: str) -> tuple[str, str]:
    """A host's name without its ending, and the ending of what is made of it: its own, or where the name is another
    format's, that of what it is."""
    if kind == "dicom":
        return path.name, ""
    given = next((end for end in ENDINGS if path.name.lower().endswith(end)), "")
    stem, own = path.name[:len(path.name) - len(given)], path.name[len(path.name) - len(given):]
    if kind == "nifti":
        with open_file(path) as file:
            fit = ".nii.gz" if file.read(2) == GZIP else ".nii"
    else:
        fit = given if given in (".mha", ".mhd") else ".mha"
    return stem, own if given == fit else fit


def write_mask(path: Path, mask: npt.NDArray[np.bool_], image: Image) -> None:
    """A truth mask (z, y, x) as a gzipped NIfTI-1 file of bytes that lies where the image does."""
    import nibabel

    if image.provenance.to_world is not None:
        affine = np.vstack([np.diag([-1.0, -1.0, 1.0]) @ np.array(image.provenance.to_world), [0, 0, 0, 1]])
    else:
        z, y, x = image.spacing or (1.0, 1.0, 1.0)
        affine = np.diag([-x, -y, z, 1.0])
    if mask.shape != image.shape:
        raise UnreadableError(f"A mask of {mask.shape} voxels does not fit {shown(image.name)}; make it again.")
    made = nibabel.Nifti1Image(np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8), affine)
    made.header.set_xyzt_units("mm")
    made.header["descrip"] = TEXT
    with whole_file(path, replace=False) as file:
        file.write(gzip.compress(made.to_bytes(), 6, mtime=0))


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """What `write_mask` wrote, (z, y, x) along the axes of its image: a series that lies prone or turned is read as it
    lies, and `read` would turn its mask upright. Raises `UnreadableError`."""
    with decoding(path):
        values, *_ = stored_nifti(path)
    return np.asarray(values > 0, np.bool_)
