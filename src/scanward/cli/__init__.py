"""The command line: options in, sentences and exit codes out. Each command imports what is heavy itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from scanward import __version__
from scanward.cli.codes import CLEAN, ERROR, INTERRUPTED
from scanward.cli.words import complain, shown
from scanward.errors import ArgumentError, MissingExtraError, ScanwardError


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


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")]


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
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No table and no progress bar, errors only.")] = False,
    debug: Debug = False,
) -> int:
    """Scan images for forged regions. Exits with 0: nothing found, 1: something found, 2: an error."""
    from scanward.cli.scanning import Request, run_scan

    return run_scan(Request(tuple(paths), as_json, output, dicom, method, modality, spacing, quiet, debug))


@app.command("methods")
def list_methods() -> int:
    """List the detectors and attacks, and what their weights were trained on."""
    from scanward.cli.table import print_methods

    print_methods()
    return CLEAN


@app.command()
def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A detector that is trained.")],
    preset: Annotated[str, typer.Option(help="How long: quick (minutes) or full (an hour on 2 cores).")] = "quick",
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The training data.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where checkpoints and weights go.")] = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint, if there is one.")] = True,
    install: Annotated[bool, typer.Option("--install", help="Put the weights into this installation.")] = False,
    debug: Debug = False,
) -> int:
    """Train a detector."""
    from importlib import import_module

    from scanward.cli.output import prepare
    from scanward.methods import METHODS, find

    row = find(method, "detector")
    if not row.trainer:
        known = ", ".join(m.name for m in METHODS if m.trainer)
        raise ArgumentError(f"The detector {method!r} is not trained; those that are: {known}.")
    module, function = row.trainer.split(":")
    try:
        trainer = getattr(import_module(module), function)
    except ModuleNotFoundError as missing:
        raise MissingExtraError(f"Training needs {missing.name}, which is not installed; install scanward[train].")\
            from missing
    trainer(name=method, preset=preset, data=data, out=prepare(out), resume=resume, install=install)
    return CLEAN


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
