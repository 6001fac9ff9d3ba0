"""The command line: options in, sentences and exit codes out. Each command imports what is heavy itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from scanward.cli.codes import CLEAN, ERROR, INTERRUPTED
from scanward.cli.groups import bench_app, study_app
from scanward.cli.options import Debug, Kind, Quiet, Spacing
from scanward.cli.words import complain, shown
from scanward.errors import ArgumentError, MissingExtraError, ScanwardError
from scanward.version import __version__


class InOrder(TyperGroup):
    """Lists the commands as they are written here, the main one first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


app = typer.Typer(name="scanward", cls=InOrder, add_completion=False, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})


def _version(wanted: bool) -> None:
    if wanted:
        print(f"scanward {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                help="Print the version and stop.")] = False) -> None:
    """Find out whether and where a medical image was forged."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(ERROR)


@app.command()
def scan(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Image files, or folders to search for them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of a table.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write heat-map pictures, "
                                                "report.html and verdicts.jsonl there.")] = None,
    dicom: Annotated[Path | None, typer.Option("--dicom", metavar="DIR", help="Write the results of DICOM images "
                                               "there as SEG, SR and Secondary Capture.")] = None,
    method: Annotated[str, typer.Option(help="The detector to run; `scanward methods` lists them.")] = "default",
    modality: Annotated[str | None, typer.Option(help="MG or CT, for files that do not say or say it wrong.")] = None,
    spacing: Annotated[str | None, typer.Option(metavar="MM", help="Pixel spacing in mm, for files that do not say: "
                                                "one number, or row x column as in 0.05x0.05.")] = None,
    site: Annotated[Path | None, typer.Option(metavar="FILE", help="Thresholds of this site, from `scanward "
                                              "calibrate`.")] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward key`: what "
                                             "carries evidence woven with it is verified, too.")] = None,
    record: Annotated[Path | None, typer.Option("--record", metavar="FILE", help="The record of one image's evidence, "
                                                "where it does not lie beside it.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No table and no progress bar, errors only.")] = False,
    debug: Debug = False,
) -> int:
    """Scan images for forged regions. Exits with 0: nothing found, 1: something found, 2: an error."""
    from scanward.cli.scanning import Request, run_scan

    return run_scan(Request(tuple(paths), as_json, output, dicom, method, modality, spacing, quiet, debug, site,
                            key, record))


@app.command()
def calibrate(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Authentic images of this site, ten or more, "
                                                "or folders of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The site file for `scan --site`.")],
    false_alarms: Annotated[float, typer.Option(help="The rate that each detector is to keep to.")] = 0.02,
    modality: Kind = None, spacing: Spacing = None, quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Fit the thresholds to this site's scanners, from authentic images of theirs."""
    from scanward.cli.calibrating import run_calibrate

    return run_calibrate(tuple(paths), output, false_alarms, modality, spacing, quiet, debug)


Hosts = Annotated[list[Path], typer.Argument(metavar="HOST...", help="A mammogram, or a chest CT (a folder with its "
                                             "series, MetaImage, NIfTI); with --count also several.")]
To = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the forged image, its mask, a picture "
                                  "and record.json go.")]
At = Annotated[list[str] | None, typer.Option("--at", metavar="X,Y[,Z]", help="Where, in pixels, or in voxels of a "
                                              "CT, which takes several; auto, the default, picks a place.")]
World = Annotated[bool, typer.Option("--world", help="--at is in the patient's millimetres (CT).")]
Size = Annotated[str, typer.Option("--size", "--diameter", metavar="MM", help="The diameter; with --count also a range "
                                   "as in 5-40.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")]
Count = Annotated[int | None, typer.Option(metavar="N", help="Make a set of N, numbered, with manifest.jsonl; the same "
                                           "command goes on where it was interrupted.")]
Strength = Annotated[float, typer.Option(help="Above 0 and up to 1: how much of the change reaches the host.")]
Stages = Annotated[bool, typer.Option("--stages", help="Save the picture of every stage, too.")]
Sigma = Annotated[float | None, typer.Option(help="Deviation of the noise of stage 7, in stored values.")]
Threshold = Annotated[float | None, typer.Option(help="Th of equation 2.2, in stored values.")]
Alpha = Annotated[float | None, typer.Option(help="α of equation 2.2, in stored values.")]
Power = Annotated[float | None, typer.Option(help="p of equation 2.2.")]
Noise = Annotated[str | None, typer.Option(help="The touch-up: copied from elsewhere, gaussian or none (ct-gan).")]
Density = Annotated[float | None, typer.Option(help="Mean HU of the nodule (ct-gan).")]
Attack = Annotated[str | None, typer.Option("--method", help="The attack, as `scanward methods` lists them; mammo-cgan "
                                            "or ct-gan, and for removal their twins, where none is named.")]
Grain = Annotated[str | None, typer.Option(help="What stage 7 adds: white, host (its own grain) or resynthesised.")]


@app.command()
def inject(hosts: Hosts, output: To, size: Size, at: At = None, world: World = False, method: Attack = None,
           seed: Seed = 0, count: Count = None, strength: Strength = 1.0, stages: Stages = False, sigma: Sigma = None,
           threshold: Threshold = None, alpha: Alpha = None, power: Power = None, grain: Grain = None,
           noise: Noise = None, density: Density = None, modality: Kind = None, spacing: Spacing = None,
           quiet: Quiet = False, debug: Debug = False) -> int:
    """Inject a lesion into a mammogram or a chest CT; the copy is marked as forged."""
    from scanward.cli.forging import Request, run_forge

    options = {"sigma": sigma, "threshold": threshold, "alpha": alpha, "power": power, "grain": grain, "noise": noise,
               "density": density}
    return run_forge(Request("inject", tuple(hosts), output, method, tuple(at or ()), size, seed, count, strength,
                             stages, modality, spacing, quiet, options, world))


@app.command()
def remove(hosts: Hosts, output: To, size: Size, at: At = None, world: World = False, method: Attack = None,
           seed: Seed = 0, count: Count = None, strength: Strength = 1.0, stages: Stages = False, sigma: Sigma = None,
           power: Power = None, grain: Grain = None, noise: Noise = None, through: Annotated[int | None, typer.Option(
               metavar="PIXELS", help="Resample the whole film to this shorter side and back (partial-conv).")] = None,
           modality: Kind = None, spacing: Spacing = None, quiet: Quiet = False, debug: Debug = False) -> int:
    """Remove a lesion from a mammogram or a chest CT; the copy is marked as forged."""
    from scanward.cli.forging import Request, run_forge

    options = {"sigma": sigma, "power": power, "grain": grain, "noise": noise, "through": through}
    return run_forge(Request("remove", tuple(hosts), output, method, tuple(at or ()), size, seed, count, strength,
                             stages, modality, spacing, quiet, options, world))


@app.command()
def replay(
    record: Annotated[Path, typer.Argument(metavar="record.json", help="What `inject` or `remove` wrote.")],
    host: Annotated[Path | None, typer.Option(help="The host, where it has moved.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write the image there.")] = None,
    debug: Debug = False,
) -> int:
    """Make a recorded forgery again, and compare its bytes with the recorded ones."""
    from scanward.cli.forging import run_replay

    return run_replay(record, host, output)


@app.command("methods")
def list_methods() -> int:
    """List the detectors and attacks, and what their weights were trained on."""
    from scanward.cli.table import print_methods

    print_methods()
    return CLEAN


Key = Annotated[Path, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward key`.")]
Kept = Annotated[Path | None, typer.Option("--record", metavar="FILE", help="The record, evidence.json, where it does "
                                           "not lie beside the image.")]
Guarded = Annotated[Path, typer.Argument(metavar="IMAGE", help="A mammogram, or a CT: a folder with its series, "
                                         "MetaImage, NIfTI.")]
Into = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the image and what belongs to it go.")]


@app.command("key")
def new_key(file: Annotated[Path, typer.Argument(metavar="FILE", help="The new key's file.")],
            debug: Debug = False) -> int:
    """Make the secret key of a site, with which images are protected and verified."""
    from scanward.cli.protecting import run_key

    return run_key(file)


@app.command()
def protect(
    image: Guarded, output: Into,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward key`: "
                                             "whatever is changed afterwards shows, and the protection can be "
                                             "undone.")] = None,
    method: Annotated[str | None, typer.Option(help="A perturbation against some forgers (CT): mits-gan, or "
                                               "mits-gan-published or tafim for comparison.")] = None,
    epsilon: Annotated[float | None, typer.Option(metavar="HU", help="What a voxel changes by at most; 16 where "
                                                  "nothing is said (mits-gan).")] = None,
    around: Annotated[list[str] | None, typer.Option(metavar="X,Y,Z:MM", help="A place, in voxels, and the diameter "
                                                     "of what is there; may be given several times.")] = None,
    quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Weave keyed evidence into an image, so that whatever is changed in it shows; or perturb it against forgers."""
    from scanward.cli.protecting import run_protect

    return run_protect(image, output, key, method, epsilon, tuple(around or ()), quiet)


@app.command()
def verify(image: Guarded, key: Key, record: Kept = None,
           output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where the map of what "
                                                       "was altered and its picture go.")] = None,
           as_json: Annotated[bool, typer.Option("--json", help="The answer as one JSON object.")] = False,
           quiet: Quiet = False, debug: Debug = False) -> int:
    """Say whether a protected image was altered. Exits with 0: authentic, 1: tampered, 3: neither can be said."""
    from scanward.cli.protecting import run_verify

    return run_verify(image, key, record, output, as_json, quiet)


@app.command()
def unprotect(image: Guarded, output: Into, key: Key, record: Kept = None, quiet: Quiet = False,
              debug: Debug = False) -> int:
    """Take the evidence out again, to the last bit."""
    from scanward.cli.protecting import run_unprotect

    return run_unprotect(image, output, key, record, quiet)


@app.command()
def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A detector or attack that is trained.")],
    preset: Annotated[str, typer.Option(help="How long: quick (minutes) or full (an hour on 2 cores).")] = "quick",
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The training data.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where checkpoints and weights go.")] = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint, if there is one.")] = True,
    install: Annotated[bool, typer.Option("--install", help="Put the weights into this installation.")] = False,
    adapt: Annotated[Path | None, typer.Option(metavar="DIR", help="Fine-tune the shipped weights on five or more "
                     "forgeries of a new kind, as `inject` and `remove` write them (self-reference).")] = None,
    debug: Debug = False,
) -> int:
    """Train a detector or an attack."""
    from importlib import import_module

    from scanward.cli.output import prepare
    from scanward.methods import METHODS

    trainers = {row.name: row.trainer for row in METHODS if row.trainer}
    if method not in trainers:
        raise ArgumentError(f"No method that is trained is called {method!r}; choose one of: {', '.join(trainers)}.")
    if adapt is not None and method != "self-reference":
        raise ArgumentError(f"{method} cannot be adapted; --adapt is for self-reference.")
    module, function = (trainers[method] if adapt is None else "scanward.training.adapt:adapt").split(":")
    given: dict[str, Any] = {"preset": preset} if adapt is None else {"folder": adapt}
    try:
        trainer = getattr(import_module(module), function)
    except ModuleNotFoundError as missing:
        raise MissingExtraError(f"Training needs {missing.name}, which is not installed; install scanward[train].")\
            from missing
    try:
        trainer(name=method, data=data, out=prepare(out), resume=resume, install=install, **given)
    except KeyboardInterrupt:
        complain("Interrupted; what is finished is kept, and the same command goes on with it.")
        return INTERRUPTED
    return CLEAN


app.add_typer(bench_app)
app.add_typer(study_app)


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The gateway's settings, TOML; "
                                                "docs/gateway.md has every one of them.")] = None,
    debug: Debug = False,
) -> int:
    """Stand beside a PACS: receive by C-STORE, scan, send the results back, show them on a page."""
    from scanward.cli.serving import run_serve

    return run_serve(config)


@app.command()
def user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who may log in to the review page.")],
    users: Annotated[Path, typer.Option("--users", metavar="FILE", help="The accounts, web.users in the gateway's "
                                        "settings; made where it is missing.")],
    debug: Debug = False,
) -> int:
    """Make an account of the review page, or give it another password (asked for, or read from standard input)."""
    from scanward.cli.serving import run_user

    return run_user(name, users)


@app.command()
def mercure(debug: Debug = False) -> int:
    """Run once as a module of mercure: from the folder MERCURE_IN_DIR into MERCURE_OUT_DIR."""
    from scanward.cli.serving import run_mercure

    return run_mercure()


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR",
                                         help="Where the forged copies and the report go.")] = Path("scanward-demo"),
    debug: Debug = False,
) -> int:
    """Forge copies of two real mammograms, scan all four, and write a report that shows the truth beside it."""
    from scanward.cli.scanning import run_demo

    run_demo(output)
    return CLEAN


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every failure is one sentence on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name="scanward", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else CLEAN
    except ScanwardError as error:
        complain(str(error))
    except KeyboardInterrupt:
        complain("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; what is still buffered must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        return _last_resort(error, given)
    return ERROR


def _last_resort(error: Exception, given: list[str]) -> int:
    if hasattr(error, "format_message"):  # every usage error of typer, whichever click is under it
        complain(f"{error.format_message().rstrip('.')}; see `scanward --help`.")
        return ERROR
    if isinstance(error, typer.Abort):
        complain("Interrupted.")
        return INTERRUPTED
    if "--debug" in given:
        raise error
    complain(f"Internal error ({type(error).__name__}: {shown(str(error))}); please report it, with what "
             "`--debug` prints, at the project's issue tracker.")
    return ERROR


def main() -> None:
    """The `scanward` program."""
    sys.exit(run())
