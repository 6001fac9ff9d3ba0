"""`scanward seal`, `certificate` and `log`: options in. Each imports what is heavy itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scanward.cli.codes import PLAIN
from scanward.cli.options import Certificates, Debug, Heads, Quiet, Trusted

OwnKey = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The site's key.")]
Private = Annotated[Path | None, typer.Option("--signing-key", metavar="PEM", help="A private key of the site's own "
                                              "authority (Ed25519, or ECDSA on P-256 or P-384), instead of --key.")]
Certified = Annotated[Path | None, typer.Option("--certificate", metavar="PEM", help="That key's certificate.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The log's folder.")]

log_app = typer.Typer(no_args_is_help=True, help="The log of seals: signed heads, and what proves a seal is in it.")


def seal(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Images of any kind, or folders to search for "
                                               "them: DICOM, NIfTI, MetaImage, PNG, TIFF, PGM, NPY.")],
    key: OwnKey = None, signing_key: Private = None, certificate: Certified = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where the seals go; beside the "
                                                "images where nothing is said.")] = None,
    log: Annotated[Path | None, typer.Option("--log", metavar="DIR", help="Add every seal to this log.")] = None,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write the seals of DICOM images as DICOM objects, too, for a "
                                        "PACS to keep beside the study; with --key, --signing-key (RSA or ECDSA) then "
                                        "signs these alone.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Seal what is sealed already as its next version; the earlier "
                                        "seal stays.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Write no reduced copy: quick, but of an image that is encoded "
                                        "anew as a whole the seal then says nothing.")] = False,
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="The site's name in its certificate.")] =
    "Scanward site", quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Seal images: a file beside each, by which any later change shows, and where. No voxel changes.

    With --key a reduced copy is written beside each seal, encrypted, to which verify --key holds what was encoded anew
    with loss.
    """
    from scanward.cli.sealing import object_signer, run_seal, signer
    from scanward.protectors.seal import read_key

    both = dicom and key is not None
    sealing = signer(key, site, None if both else signing_key, None if both else certificate)
    return run_seal(paths, output, sealing, log, again, quiet, dicom,
                    object_signer(sealing, key, signing_key, certificate) if dicom else None,
                    None if exact or key is None else read_key(key))


def sign(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="DICOM images, or folders to search for them.")],
    signing_key: Annotated[Path, typer.Option("--signing-key", metavar="PEM", help="The private key: RSA of 2,048 bits "
                                              "or more, or ECDSA on P-256 or P-384.")],
    certificate: Annotated[Path, typer.Option("--certificate", metavar="PEM", help="Its certificate.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the signed copies go.")],
    quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Write copies of DICOM images with a digital signature in them, as DICOM defines it (PS3.15, Creator RSA)."""
    from scanward.cli.dicom_signing import run_sign
    from scanward.seals.dicom_keys import read_dicom_signer

    return run_sign(paths, output, read_dicom_signer(signing_key, certificate), quiet)


def certificate(
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward key`.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The certificate's file.")],
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="The site's name in it.")] = "Scanward site",
    debug: Debug = False,
) -> int:
    """Write a site's certificate, by which anybody can check its seals without a secret."""
    from scanward.cli.sealing import run_certificate

    return run_certificate(key, output, site)


@log_app.command("head", epilog=PLAIN)
def log_head(folder: Folder, key: OwnKey = None, signing_key: Private = None, certificate: Certified = None,
             debug: Debug = False) -> int:
    """Sign the log's state and print it: whoever keeps it will notice what is altered or taken out."""
    from scanward.cli.sealing import run_log_head, signer

    return run_log_head(folder, signer(key, "Scanward site", signing_key, certificate))


@log_app.command("list", epilog=PLAIN)
def log_list(folder: Folder, debug: Debug = False) -> int:
    """Print all entries, one JSON object a line."""
    from scanward.cli.sealing import run_log_list

    return run_log_list(folder)


@log_app.command("check", epilog="Exit codes: 0 whole, 1 altered, 2 an error.")
def log_check(
    folder: Folder, key: OwnKey = None,
    certificate: Certificates = None,
    trust: Trusted = None, head: Heads = None, debug: Debug = False,
) -> int:
    """Say whether a log is whole, and begins as its heads say."""
    from scanward.cli.sealing import run_log_check, trusted

    return run_log_check(folder, head or [], trusted(key, certificate or [], trust))


@log_app.command("prove", epilog=PLAIN)
def log_prove(folder: Folder, seal: Annotated[Path, typer.Argument(metavar="SEAL", help="A seal's file.")],
              debug: Debug = False) -> int:
    """Print what proves that a seal is in the log (RFC 9162)."""
    from scanward.cli.sealing import run_log_prove

    return run_log_prove(folder, seal)
