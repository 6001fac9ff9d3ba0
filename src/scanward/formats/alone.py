"""That no program takes a file for another image than the one that Scanward reads in it.

ITK asks one format after the other whether it takes a file, in the order of their names, and the first that does reads
it: by a word at one place of the file, by the ending of its name, or by what lies beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from scanward.errors import UnsupportedError
from scanward.formats.guard import open_file, shown
from scanward.formats.sniff import HEAD, kind_of

_HDF5 = b"\x89HDF\r\n\x1a\n"
_WORDS: tuple[tuple[int, int, tuple[bytes, ...], str], ...] = (
    (7, 6, (b"SIGNA\0",), "a GE Genesis file"),
    (208, 4, (b"MAP ",), "an MRC file"),
    (4374, 16, (b"CORONAL", b"SAGITTAL", b"AXIAL", b"OBLIQUE"), "a GE Signa file"),
)
"""Where, in how many bytes and by which words ITK knows formats that it asks before PNG, TIFF, NIfTI or MetaImage."""
_VOLUMES = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
"""Endings of what niftilib opens for a name to which it adds them."""
_NAMES = {"nifti": (".nii", ".nii.gz", ".NII"), "metaimage": (".mha", ".mhd"), "png": (".png",),
          "tiff": (".tif", ".tiff"), "pgm": (".pgm",), "npy": (".npy",)}


def check_folders(paths: Iterable[Path]) -> None:
    """`UnsupportedError` where a file lies beside a `visu_pars`: ITK then takes it for the voxels of a Bruker image, of
    whatever format it is; and where it lies beside a NIfTI volume that is shown in its place."""
    for path in paths:
        if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(path)), "visu_pars")):
            raise UnsupportedError(f"{shown(path)} lies beside a file visu_pars, by which some programs take it for a "
                                   "Bruker image; move one of the two into another folder.")
        for ending in _VOLUMES:
            if os.path.exists(f"{path}{ending}"):
                raise UnsupportedError(f"{shown(path)} lies beside {shown(path.name + ending)}, whose voxels some "
                                       "programs show in its place; move one of the two into another folder.")


def check_alone(path: Path, file: BinaryIO) -> None:
    """`UnsupportedError` where the `file`, which is no DICOM, is of another format, too."""
    found = "an HDF5 file" if holds_hdf5(file) else ""
    for at, length, words, kind in _WORDS:
        file.seek(at)
        held = file.read(length)
        found = found or (kind if any(word in held for word in words) else "")
    if found:
        raise UnsupportedError(f"{shown(path)} is {found}, too, by what stands in it, and may show each program "
                               "another image; save it again.")


def holds_hdf5(file: BinaryIO) -> bool:
    """Whether HDF5 begins in the file, behind whatever else: at byte 512, or twice, four times, ... as far."""
    end, at = file.seek(0, os.SEEK_END), 512
    while at < end:
        file.seek(at)
        if file.read(len(_HDF5)) == _HDF5:
            return True
        at *= 2
    return False


def kind_alone(paths: Sequence[Path]) -> str | None:
    """The `kind_of` what is sealed, a file or a series; raises as the other checks, and `UnsupportedError` for a file
    with another format's name: some programs go by that, and look for its voxels beside it. A name without a dot is
    any format's but NIfTI's."""
    check_folders(paths)
    path = paths[0]
    with open_file(path) as file:
        kind = kind_of(path, file.read(HEAD))
        if kind not in _NAMES:
            for one in paths if kind == "dicom" else ():
                _check_dicom(one)
            return kind
        check_alone(path, file)
    name = path.name if kind == "nifti" else path.name.lower()
    if not name.endswith(_NAMES[kind]) and ("." in name or kind == "nifti"):
        raise UnsupportedError(f"{shown(path)} has not the name of its format, by which some programs look for its "
                               f"voxels elsewhere; let it end in {' or '.join(_NAMES[kind])}.")
    return kind


def _check_dicom(path: Path) -> None:
    """`UnsupportedError` for a form of DICOM that GDCM does not take, so that ITK asks other formats; and for the name
    of a volume's voxels beside its header."""
    with open_file(path) as file:
        head = file.read(132)
    if head[128:] != b"DICM" and (head[:4] == b"DICM" or head[:1] == b"\0"):
        raise UnsupportedError(f"{shown(path)} has no preamble, and is in big endian or begins with DICM, which "
                               "not all programs take for DICOM; export it again.")
    stem = path.name.lower().removesuffix(".gz")
    if stem.endswith(".img") and any(path.with_name(path.name[:len(stem) - 4] + ending).exists()
                                     for ending in (".hdr", ".hdr.gz", ".HDR")):
        raise UnsupportedError(f"{shown(path)} lies beside a header of its name, with which some programs take it for "
                               "the voxels of a volume; move one of the two into another folder.")
