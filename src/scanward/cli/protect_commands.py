"""`scanward key`, `protect`, `verify` and `unprotect`: options in. Each imports what is heavy itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scanward.cli.options import Certificates, Debug, Device, Heads, Quiet, Trusted

Key = Annotated[Path, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward key`.")]
Kept = Annotated[Path | None, typer.Option("--record", metavar="FILE", help="The record, evidence.json, where it does "
                                           "not lie beside the image.")]
Guarded = Annotated[Path, typer.Argument(metavar="IMAGE", help="A mammogram, or a CT: a folder with its series, "
                                         "MetaImage, NIfTI.")]
Several = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="A mammogram, or a CT: a folder with its "
                                              "series, MetaImage, NIfTI; several, and patterns in quotes, too.")]
Into = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the image and what belongs to it go.")]


def new_key(file: Annotated[Path, typer.Argument(metavar="FILE", help="The new key's file.")],
            debug: Debug = False) -> int:
    """Make the secret key of a site, with which images are sealed and verified."""
    from scanward.cli.protecting import run_key

    return run_key(file)


def protect(
    images: Several,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the perturbed copy and what "
                                         "belongs to it go, of several each into a folder of its own there; without "
                                         "--method, the seals.")],
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward key`: "
                                             "without --method as `scanward seal --key FILE -o DIR`, with it the "
                                             "copy is sealed.")] = None,
    method: Annotated[str | None, typer.Option(help="What is changed in a CT against forgers: watermark (with "
                                               "--key), which makes forgeries show; mits-gan, or "
                                               "mits-gan-published, mits-gan-repaired or tafim for "
                                               "comparison.")] = None,
    epsilon: Annotated[float | None, typer.Option(metavar="HU", help="What a voxel changes by at most; 16 where "
                                                  "nothing is said (mits-gan, mits-gan-repaired, watermark).")] = None,
    around: Annotated[list[str] | None, typer.Option(metavar="X,Y,Z:MM", help="A place in voxels, x to the right, y "
                                                     "down, z the slice (Python's Around takes z, y, x), and the "
                                                     "diameter of what is there; may be given several "
                                                     "times.")] = None,
    device: Device = "cpu", quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Perturb a CT against forgers (--method); without a method, another name for `seal`."""
    from scanward.cli.device import choose_device
    from scanward.cli.protecting import run_protect

    choose_device(device)
    return run_protect(images, output, key, method, epsilon, tuple(around or ()), quiet)


def verify(images: Several,
           key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward "
                                                    "key`.")] = None,
           certificate: Certificates = None, trust: Trusted = None,
           seal: Annotated[Path | None, typer.Option("--seal", metavar="PATH", help="The seal, or a folder of seals, "
                                                     "where they do not lie beside the images.")] = None,
           identity: Annotated[str, typer.Option("--identity", metavar="same|any", help="any: take a sealed copy "
                                                 "without a name, or with another.")] = "same",
           log: Annotated[Path | None, typer.Option("--log", metavar="DIR", help="Hold seals to this log.")] = None,
           head: Heads = None, record: Kept = None,
           output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where the map of what "
                                                       "was altered and its picture go; of several images each into "
                                                       "a folder of its own there.")] = None,
           as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
           quiet: Quiet = False, debug: Debug = False) -> int:
    """Say whether sealed or protected images were altered.

    A seal, NAME.seal or in a DICOM object, counts before the record of an older protection, evidence.json. Digital
    signatures in DICOM files are heard, too.
    Places are in voxels, x to the right, then y down, then z, the slice; in Python they are (z, y, x).
    """
    from scanward.cli.protecting import run_verify
    from scanward.cli.sealing import checking, trusted

    asked = checking(trusted(key, certificate or [], trust), seal, identity, log, head or [], key)
    return run_verify(images, key, asked, record, output, as_json, quiet)


def unprotect(image: Guarded, output: Into, key: Key, record: Kept = None, quiet: Quiet = False,
              debug: Debug = False) -> int:
    """Take out again, to the last bit, what an earlier version wove into an image."""
    from scanward.cli.protecting import run_unprotect

    return run_unprotect(image, output, key, record, quiet)
