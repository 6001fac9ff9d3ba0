"""What the file as a witness finds: changed files, files that were only written anew, and files as they came.

    python benchmarks/structure.py [--data DIR] [-o DIR] [--weights] [--more FOLDER]

Hosts are 8 slices of each chest CT in the data folder and the films of the demo, split by patient: weights are
measured on one half (`--weights` prints them), the table is of the other. Answers are kept in the output folder;
another run goes on. `--more`: folders of DICOM files of which nobody knows what they went through; they count among
the unchanged. Needs Orthanc and DCMTK.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structure_views  # noqa: F401  its scenarios
from gateway import ORTHANC, Orthanc
from structure_deeds import GROUPS
from structure_rewrites import HARMLESS
from structure_scenarios import SCENARIOS, Scenario, Work, copied

from scanward import formats
from scanward.bench.tables import table
from scanward.datasets.films import data_folder
from scanward.demo import films_folder
from scanward.errors import InputError
from scanward.formats import Source
from scanward.formats.fact import Fact
from scanward.judging.case import Case
from scanward.judging.seen import Seen
from scanward.judging.structure import LIMIT, File, weight_of
from scanward.metrics import wilson

SLICES = 8
SERIES, FILMS = (("report", False), ("tune", False)), (("report", True), ("tune", True))
PASSES = (*SERIES, FILMS[0], *SERIES, *SERIES, FILMS[1], *FILMS)
"""Half, and whether films or series: in each pass a host more for every scenario, harmless ones thrice."""
_TURN = (0, 3, 0, 9, 12, 5, 7, 0, 1, 1)
"""Where in the list of hosts a pass begins."""
LARGEST = 2.0
"""The largest weight: of so few files nobody knows more."""
A_FOLDER = 3
"""Images of unknown history of one folder."""
ORIGINALS, UNKNOWN = "originals", "unknown history"


@dataclass(frozen=True)
class Host:
    patient: str
    half: str
    """`tune` or `report`."""
    paths: tuple[Path, ...]

    @property
    def film(self) -> bool:
        return len(self.paths) == 1


@dataclass(frozen=True)
class Row:
    """What was said of one sample."""

    half: str
    scenario: str
    group: str
    host: str
    kind: str
    facts: list[list[dict[str, Any]]]
    """Of each image that lay there."""
    refused: int
    """Images that the reader refused."""


def hosts(data: Path | None) -> list[Host]:
    """By patient, in turns: one for the weights, one for the table."""
    folder = data_folder(data)
    scans: dict[str, tuple[Path, ...]] = {}
    for place in sorted([*folder.glob("ct-more/*"), *folder.glob("ct/*")]):
        found = sorted(formats.find([place])[0], key=lambda one: len(one.paths))
        if found and len(found[-1].paths) >= SLICES:
            middle = (len(found[-1].paths) - SLICES) // 2
            scans.setdefault(place.name, found[-1].paths[middle:middle + SLICES])
    made = []
    patients = sorted({re.sub(r"-[bl]$", "", name) for name in scans})
    for name, paths in scans.items():
        half = "tune" if patients.index(re.sub(r"-[bl]$", "", name)) % 2 == 0 else "report"
        made.append(Host(name, half, paths))
    for patient, half in (("sfm-benign-0", "tune"), ("sfm-malign-0", "report")):
        films = sorted((films_folder().parent / patient).iterdir())
        made += [Host(f"{patient}/{path.name}", half, (path,)) for path in films]
    return made


def said(folder: Path | Sequence[Source]) -> tuple[list[list[dict[str, Any]]], int]:
    """What the witness says of every image there, as one run, and how many could not be read."""
    sources, errors = formats.find([folder]) if isinstance(folder, Path) else (list(folder), [])
    seen, facts, refused = Seen(), [], len(errors)
    for source in sources:
        try:
            evidence = File().testify(Case(formats.read(source), source=source, seen=seen))
        except InputError:
            refused += 1
            continue
        facts.append([] if evidence is None or evidence.facts is None else evidence.facts["facts"])
    return facts, refused


def done(scenario: Scenario, host: Host, donor: Host, orthanc: Orthanc) -> Row | None:
    """A scenario done to a host and looked at; None where a program does not do it to such a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "given"
        work = Work(copied(host.paths, folder), list(donor.paths), folder, orthanc, list(host.paths))
        try:
            scenario.act(work)
        except Exception as error:
            print(f"not done: {scenario.name}, {host.patient}: {type(error).__name__} {error}"[:200], file=sys.stderr)
            return None
        facts, refused = said(folder)
    kind = "film" if host.film else "series"
    return Row(host.half, scenario.name, scenario.group, host.patient, kind, facts, refused)


def originals(data: Path | None, among: Sequence[Host]) -> Iterator[Row]:
    """Every image as it came, whole; the halves of those that are no hosts follow from their names."""
    halves = {re.sub(r"-[bl]$", "", one.patient.split("/")[0]): one.half for one in among}
    folder = data_folder(data)
    for place in [*sorted([*folder.glob("ct-more/*"), *folder.glob("ct/*")]), *sorted(films_folder().parent.iterdir())]:
        for source in formats.find([place])[0]:
            facts, refused = said([source])
            half = halves.get(re.sub(r"-[bl]$", "", place.name)) or ("tune", "report")[len(source.path.name) % 2]
            if not refused:
                yield Row(half, ORIGINALS, HARMLESS, f"{place.name}/{source.path.name}", source.kind, facts, refused)


def weights(rows: Sequence[Row]) -> dict[str, float]:
    """Of every fact that the half for it shows: the logarithm of how much likelier changed samples show it."""
    half = [row for row in rows if row.half == "tune"]
    changed, calm = ([row for row in half if (row.group == HARMLESS) is harmless] for harmless in (False, True))
    names = sorted({name for row in half for name in telling(row)})
    made = {}
    for name in names:
        hits, false = (sum(name in telling(row) for row in some) for some in (changed, calm))
        ratio = ((hits + 0.5) / (len(changed) + 1)) / ((false + 0.5) / (len(calm) + 1))
        made[name] = round(min(LARGEST, max(0.0, math.log10(ratio))), 2)
    return made


def telling(row: Row) -> set[str]:
    """The facts of a sample that are not harmless, by name."""
    return {fact["name"] for facts in row.facts for fact in facts if not fact["harmless"]}


def named(row: Row) -> str:
    """`odd`, `refused` or nothing."""
    for facts in row.facts:
        found = {one["name"]: weight_of(Fact(one["name"], "", one["harmless"])) for one in facts if not one["harmless"]}
        if sum(found.values()) >= LIMIT or any(one.get("proof") for one in facts):
            return "odd"
    return "refused" if row.refused else ""


def rate(hits: int, count: int) -> str:
    low, high = wilson(hits, count)
    return f"{100 * hits / max(1, count):.1f} % ({hits}/{count}; {100 * low:.1f}–{100 * high:.1f})"


def report(rows: Sequence[Row], half: str) -> str:
    """Markdown of a half."""
    part = [row for row in rows if row.half == half]
    changed = [row for row in part if row.group != HARMLESS]
    calm = [row for row in part if row.group == HARMLESS and row.scenario not in (ORIGINALS, UNKNOWN)]
    own, others = ([row for row in part if row.scenario == name] for name in (ORIGINALS, UNKNOWN))
    groups = [(one, [row for row in changed if row.group == one]) for one in GROUPS]
    lines = [[title, str(len({row.scenario for row in some})), rate(sum(named(r) == "odd" for r in some), len(some)),
              str(sum(named(r) == "refused" for r in some))]
             for title, some in [*groups, ("all of these", changed), ("written anew, nothing changed", calm),
                                 ("as they came", own), ("of unknown history", others)]]
    parts = [table(("what", "scenarios", "named as changed", "refused by the reader"), lines)]
    each = []
    for name in dict.fromkeys((row.scenario, row.kind) for row in changed):
        some = [row for row in changed if (row.scenario, row.kind) == name]
        facts = sorted({one for row in some if named(row) == "odd" for one in telling(row)
                        if weight_of(Fact(one, "")) > 0 or one in ("same name", "foreign slice")})
        hits = sum(named(row) == "odd" for row in some)
        refused = sum(named(row) == "refused" for row in some)
        each.append([f"{name[0]} ({name[1]})", f"{hits} of {len(some)}" + (f", {refused} refused" if refused else ""),
                     ", ".join(facts) or "–"])
    parts.append(table(("scenario", "named", "by"), each))
    found = sorted({one for row in part for one in telling(row)})
    parts.append(table(("fact", "weight", "changed samples", "written anew", "as they came", "of unknown history"), [
        [one, f"{weight_of(Fact(one, '')):.2f}", *(f"{sum(one in telling(row) for row in some)}/{len(some)}"
                                                  for some in (changed, calm, own, others))] for one in found]))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("bench"))
    parser.add_argument("--weights", action="store_true", help="print the weights that the tuning half gives")
    parser.add_argument("--more", type=Path, help="a folder with folders of other DICOM files")
    parser.add_argument("--only", default="", help="scenarios whose names hold this")
    given = parser.parse_args()
    if ORTHANC is None:
        sys.exit("Orthanc is not installed; Debian has it in orthanc, and dcmodify in dcmtk.")
    warnings.simplefilter("ignore")
    given.output.mkdir(parents=True, exist_ok=True)
    keep = given.output / "structure.jsonl"
    rows = [Row(**json.loads(line)) for line in keep.read_text().splitlines()] if keep.exists() else []
    listed = given.output / "structure-hosts.json"
    if not listed.exists():
        listed.write_text(json.dumps([(one.patient, one.half, [str(path) for path in one.paths])
                                      for one in hosts(given.data)]))
    among = [Host(patient, half, tuple(map(Path, paths))) for patient, half, paths in json.loads(listed.read_text())]
    known = {(row.half, row.scenario, row.host) for row in rows}
    with tempfile.TemporaryDirectory() as name, keep.open("a") as file:
        orthanc = Orthanc(Path(name) / "orthanc", 14243, 18043)
        try:
            for row in _new(given, among, known, orthanc):
                file.write(json.dumps(asdict(row)) + "\n")
                file.flush()
                rows.append(row)
        finally:
            orthanc.stop()
    if given.weights:
        print(json.dumps(weights(rows), indent=1))
    text = report(rows, "report")
    (given.output / "structure.md").write_text(text)
    print(text)


def _new(given: argparse.Namespace, among: list[Host], known: set[tuple[str, str, str]],
         orthanc: Orthanc) -> Iterator[Row]:
    if not given.only and not any(name == ORIGINALS for _, name, _ in known):
        yield from originals(given.data, among)
    if given.more is not None and not any(name == UNKNOWN for _, name, _ in known):
        yield from _unknown(given.more)
    for number, (half, film) in enumerate(PASSES):
        part = [one for one in among if one.half == half and one.film == film]
        for at, scenario in enumerate(SCENARIOS):
            if given.only not in scenario.name or scenario.kind not in ("harmless", "film" if film else "series"):
                continue
            for more in range(3 if scenario.kind == "harmless" and not film else 1):
                host = part[(at + _TURN[number] + 5 * more) % len(part)]
                donor = _other(host, among, at)
                if (half, scenario.name, host.patient) not in known:
                    known.add((half, scenario.name, host.patient))
                    row = done(scenario, host, donor, orthanc)
                    if row is not None:
                        yield row


def _other(host: Host, among: Sequence[Host], at: int) -> Host:
    """Another patient's, of the same half where it has one."""
    others = [one for one in among if one.film == host.film and one.patient.split("/")[0] != host.patient.split("/")[0]]
    near = [one for one in others if one.half == host.half] or others
    return near[at % len(near)]


def _unknown(folder: Path) -> Iterator[Row]:
    """Images of which nobody knows what they went through, one folder for the weights, the next for the table; of a
    folder, which is mostly one program's, no more than a few."""
    for number, place in enumerate(sorted(folder.iterdir())):
        for source in formats.find([place])[0][:A_FOLDER]:
            facts, refused = said([source])
            if facts:
                yield Row(("tune", "report")[number % 2], UNKNOWN, HARMLESS, f"{place.name}/{source.path.name}",
                          source.kind, facts, refused)


if __name__ == "__main__":
    main()
