"""The command line: options in, sentences and exit codes out. Each command imports what is heavy itself."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from scanward.cli import archive_commands, forge_commands, protect_commands, seal_commands
from scanward.cli.codes import CLEAN, ERROR, INTERRUPTED, JUDGING, PLAIN
from scanward.cli.groups import bench_app, study_app
from scanward.cli.options import Certificates, Debug, Device, Kind, Marked, Quiet, Spacing, Trusted
from scanward.cli.words import complain, shown, start_log
from scanward.errors import ArgumentError, MissingExtraError, ScanwardError
from scanward.version import __version__


class InOrder(TyperGroup):
    """Lists the commands as they are written here, the main one first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Says an interruption, which typer turns into an exit code without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("Interrupted.")
            return INTERRUPTED


app = typer.Typer(name="scanward", cls=InOrder, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})


def _version(wanted: bool) -> None:
    if wanted:
        print(f"scanward {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True, epilog="`scanward COMMAND --help` lists a command's options and exit codes.")
def _root(context: typer.Context, version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                help="Print the version and stop.")] = False,
          log_level: Annotated[str | None, typer.Option(
              metavar="LEVEL", help="Write a log to standard error: debug, info, warning or error.")] = None) -> None:
    """Find out whether and where a medical image was forged."""
    if log_level is not None:
        start_log(log_level)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(ERROR)


@app.command(epilog=JUDGING)
def scan(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Image files, or folders to search for them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of a table.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write heat-map pictures, "
                                                "report.html and verdicts.jsonl there.")] = None,
    dicom: Annotated[Path | None, typer.Option("--dicom", metavar="DIR", help="Write the results of DICOM images "
                                               "there as SEG, SR and Secondary Capture.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a row an image there, for "
                                             "spreadsheets.")] = None,
    method: Annotated[str, typer.Option(help="The detector to run; `scanward methods` lists them.")] = "default",
    modality: Kind = None, spacing: Spacing = None, device: Device = "cpu",
    site: Annotated[Path | None, typer.Option(metavar="FILE", help="Thresholds of this site, from `scanward "
                                              "calibrate`.")] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward key`: what "
                                             "was sealed with it is verified, too.")] = None,
    record: Annotated[Path | None, typer.Option("--record", metavar="FILE", help="The record of one image's evidence, "
                                                "where it does not lie beside it.")] = None,
    marked: Marked = False, certificate: Certificates = None, trust: Trusted = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No table and no progress bar, errors only.")] = False,
    debug: Debug = False,
) -> int:
    """Scan images for forged regions.

    Places are in pixels of the image, x to the right, then y down; in Python arrays and boxes are (z, y, x).
    """
    from scanward.cli.device import choose_device
    from scanward.cli.scanning import Request, run_scan

    choose_device(device)
    return run_scan(Request(tuple(paths), as_json, output, dicom, method, modality, spacing, quiet, debug, site,
                            key, record, csv, tuple(certificate or ()), trust, marked))


@app.command(epilog=PLAIN)
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


app.command(epilog=PLAIN)(forge_commands.inject)
app.command(epilog=PLAIN)(forge_commands.remove)
app.command(epilog=PLAIN)(forge_commands.replay)
app.command(epilog=PLAIN)(forge_commands.augment)


@app.command("methods", epilog=PLAIN)
def list_methods(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False) -> int:
    """List the detectors and attacks, and what their weights were trained on."""
    from scanward.cli.table import methods_json, print_methods

    methods_json() if as_json else print_methods()
    return CLEAN


app.command("key", epilog=PLAIN)(protect_commands.new_key)
app.command(epilog=PLAIN)(seal_commands.seal)
app.command(epilog=PLAIN)(seal_commands.sign)
app.command(epilog=PLAIN)(seal_commands.certificate)
app.command(epilog=PLAIN)(protect_commands.protect)
app.command(epilog=JUDGING)(protect_commands.verify)
app.command(epilog=PLAIN)(protect_commands.unprotect)


@app.command(epilog=PLAIN)
def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A detector or attack that is trained.")],
    preset: Annotated[str | None, typer.Option(help="How long: quick (minutes), the default, full (an hour or more on "
                                               "2 cores), or another that docs/how-to/train.md names.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The training data; SCANWARD_DATA names it, "
                                              "too.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where checkpoints and weights "
                                         "go.")] = Path("runs"),
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
    if adapt is not None and preset is not None:
        raise ArgumentError("--preset says how long a training from the start takes, and --adapt is none; leave it "
                            "out.")
    module, function = (trainers[method] if adapt is None else "scanward.training.adapt:adapt").split(":")
    given: dict[str, Any] = {"preset": preset or "quick"} if adapt is None else {"folder": adapt}
    try:
        trainer = getattr(import_module(module), function)
    except ModuleNotFoundError as missing:
        raise MissingExtraError(f"Training needs {missing.name}, which is not installed; install scanward[train].")\
            from missing
    try:
        trainer(name=method, data=data, out=prepare(output), resume=resume, install=install, **given)
    except KeyboardInterrupt:
        complain("Interrupted; what is finished is kept, and the same command goes on with it.")
        return INTERRUPTED
    return CLEAN


app.add_typer(archive_commands.archive_app)
app.add_typer(seal_commands.log_app, name="log")
app.add_typer(bench_app)
app.add_typer(study_app)


@app.command(epilog=PLAIN)
def serve(
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The gateway's settings, TOML; "
                                                "docs/gateway.md has every one of them.")] = None,
    reindex: Annotated[bool, typer.Option("--reindex", help="Make the index of the studies anew from the inbox's "
                                          "folders first.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Start nothing: look at the settings and all that they name, "
                                        "and print a line each: ok, warn or error.")] = False,
    debug: Debug = False,
) -> int:
    """Stand beside a PACS: receive by C-STORE, scan, send the results back, show them on a page."""
    from scanward.cli.serving import run_check, run_serve

    if check and reindex:
        raise ArgumentError("--check starts nothing, and goes with no --reindex.")
    return run_check(config) if check else run_serve(config, reindex)


@app.command(epilog=PLAIN)
def user(
    users: Annotated[Path, typer.Option("--users", metavar="FILE", help="The accounts, web.users in the gateway's "
                                        "settings; made where it is missing.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Whose; without, all are listed.")] = None,
    role: Annotated[list[str] | None, typer.Option("--role", metavar="ROLE", help="reviewer, administrator or "
                                                   "auditor; given again, another. They take the place of those "
                                                   "before.")] = None,
    second_factor: Annotated[bool | None, typer.Option("--second-factor/--no-second-factor", help="A fresh second "
                                                       "factor, whose secret is printed; or none.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the account.")] = False,
    debug: Debug = False,
) -> int:
    """Make an account of the review page (its password is asked for, or read from standard input), or change it."""
    from scanward.cli.serving import Wanted, run_user

    return run_user(name, users, Wanted(tuple(role or ()), second_factor, remove))


@app.command(epilog=PLAIN)
def mercure(debug: Debug = False) -> int:
    """Run once as a module of mercure: from the folder MERCURE_IN_DIR into MERCURE_OUT_DIR."""
    from scanward.cli.serving import run_mercure

    return run_mercure()


@app.command(epilog=PLAIN)
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR",
                                         help="Where the chest, the forged copies and the report go.")
                      ] = Path("scanward-demo"),
    debug: Debug = False,
) -> int:
    """Forge copies of two real mammograms and of a synthesised chest CT, scan all six, and write a report that shows
    the truth beside it."""
    from scanward.cli.scanning import run_demo

    run_demo(output)
    return CLEAN


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every failure is one sentence on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if "" in given:  # to which `Path` would answer with the folder where one is
            raise ArgumentError("An argument is empty, as where a variable is not set; name what it is to be, or leave "
                                "it out.")
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
    except SystemExit as stop:
        if stop.code != 1:  # as rich ends where it meets a broken pipe, and as an alarm does
            raise
    except Exception as error:
        return _last_resort(error, given)
    return ERROR


def _last_resort(error: Exception, given: list[str]) -> int:
    if hasattr(error, "format_message"):  # every usage error of typer, whichever click is under it
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "scanward"
        complain(f"{error.format_message().rstrip('.')}; try '{command} --help'.")
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
    """The `scanward` program; told to end, it ends as at an interrupt, which leaves no drafts behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run())
