"""`scanward study`: a blinded reading of mammograms or chest CT, from the draw to the report."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from scanward.cli.codes import CLEAN
from scanward.cli.scanning import parse_modality
from scanward.cli.words import counted, shown
from scanward.errors import ArgumentError, MissingExtraError

NEEDS = "The pages of a reader study need the web server; install it with `pip install 'scanward[serve]'`."


def run_new(protocol: Path, output: Path, modality: str, views: bool, url: str, quiet: bool) -> int:
    """Draw a study, and print the readers' links, which are kept nowhere."""
    from scanward.readerstudy.make import new_study
    from scanward.readerstudy.protocol import NOUNS, read_protocol

    chest = parse_modality(modality) == "CT"
    if chest and views:
        raise ArgumentError("--views is of mammograms, and a CT has none; leave one of --views and --modality CT out.")
    console = Console(stderr=True)
    wanted = read_protocol(protocol, "scan" if chest else "pair" if views else "film")
    doing = f"rendering the {NOUNS[wanted.shows]}s"
    with console.status(doing) as status:
        made = new_study(wanted, output, lambda done, total: status.update(f"{doing}: {done} of {total}"))
    if not quiet:
        for part, counts in made.counts.items():
            print(f"{part} part: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    for note in made.notes:
        print(f"scanward: {shown(note)}", file=sys.stderr)
    for name, path in made.links:
        print(f"{shown(name)}: {url.rstrip('/')}{path}")
    if not quiet:
        print("Keep the links: only their hashes are kept. `scanward study link` gives a reader another.")
    return CLEAN


def run_link(folder: Path, reader: str, url: str) -> int:
    """Give a reader another link."""
    import secrets

    from scanward.readerstudy.folder import renew

    token = secrets.token_urlsafe(24)
    renew(folder, reader, token)
    print(f"{shown(reader)}: {url.rstrip('/')}/r/{token}")
    return CLEAN


def run_serve(folder: Path, host: str, port: int, cert: Path | None, key: Path | None) -> int:
    """Serve a study until interrupted."""
    from scanward.readerstudy.folder import read_study

    study = read_study(folder)
    if (cert is None) != (key is None):
        raise ArgumentError("--cert and --key belong together; name both, or neither.")
    for path in (cert, key):
        if path is not None and not path.is_file():
            raise ArgumentError(f"{shown(str(path))} does not exist; check the path.")
    try:
        from scanward.readerstudy.server import serve
    except ModuleNotFoundError as missing:
        raise MissingExtraError(NEEDS) from missing
    serve(study, host, port, cert, key,
          lambda url: print(f"Readers' links begin with {url}; Ctrl+C stops.", flush=True))
    return CLEAN


def run_close(folder: Path, yes: bool) -> int:
    """Close a study for good, once somebody has said so."""
    from scanward.readerstudy.folder import close, read_study
    from scanward.readerstudy.outcome import collect

    study = read_study(folder)
    reads, _ = collect(study)
    missing = sum(read.answer is None for read in reads)
    name = shown(str(folder))
    said = f"{counted(missing, 'reading')} of {len(reads)} will stay missing." if missing else "everything was read."
    if not yes and not study.closed:
        if not sys.stdin.isatty():
            raise ArgumentError(f"Closing {name} cannot be undone, and nobody is there to be asked; add --yes.")
        try:
            answer = input(f"Close {name} for good? This cannot be undone; {said} [y/N] ")
        except EOFError:
            answer = ""
            print()
        if answer.strip().lower() not in ("y", "yes"):
            print(f"{name} stays open.")
            return CLEAN
    close(folder, datetime.now(UTC).isoformat(timespec="seconds"))
    print(f"{name} is closed; {said}")
    return CLEAN


def run_report(folder: Path, output: Path | None) -> int:
    """Print the tables, and write everything where asked."""
    from scanward.readerstudy.report import report

    sys.stdout.write(report(folder, output))
    return CLEAN
