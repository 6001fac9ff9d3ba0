"""`scanward inject`, `remove` and `replay`: options in, files and sentences out."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scanward import forgery, formats
from scanward.cli.codes import CLEAN, ERROR, INTERRUPTED
from scanward.cli.output import discard_if_empty, prepare
from scanward.cli.scanning import parse_modality, parse_spacing, progress_bar
from scanward.cli.table import passed_over
from scanward.cli.words import complain, counted, shown
from scanward.disk import check_free
from scanward.errors import ArgumentError, InputError
from scanward.forgery import Forged, Order
from scanward.formats import Source
from scanward.formats.guard import decoding
from scanward.formats.identity import modality_in
from scanward.formats.marked import forged_in
from scanward.formats.sniff import kind_in
from scanward.formats.sources import Passed
from scanward.formats.write import SIDECAR
from scanward.image import Modality


@dataclass(frozen=True)
class Request:
    """What the user asked for, unchecked."""

    action: str
    hosts: tuple[Path, ...]
    output: Path
    method: str | None
    at: tuple[str, ...]
    size: str
    seed: int = 0
    count: int | None = None
    strength: float = 1.0
    stages: bool = False
    modality: str | None = None
    spacing: str | None = None
    quiet: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    world: bool = False
    dry_run: bool = False
    views: bool = False
    at2: str | None = None
    films_only: bool = False


def parse_at(texts: tuple[str, ...]) -> tuple[tuple[float, ...], ...] | None:
    """`X,Y` in pixels or `X,Y,Z` in voxels each, or None for `auto`; `ArgumentError` for anything else."""
    if texts in ((), ("auto",)):
        return None
    places = []
    for text in texts:
        try:
            place = tuple(float(part) for part in text.split(","))
        except ValueError:
            place = ()
        if len(place) not in (2, 3) or not all(math.isfinite(v) for v in place):
            raise ArgumentError(f"--at {text!r} is no place; write X,Y in pixels, X,Y,Z in voxels of a CT, or auto.")
        places.append(place)
    return tuple(places)


def parse_size(text: str) -> tuple[float, float]:
    """`12` or `5-40` millimetres; `ArgumentError` for anything else."""
    try:
        numbers = [float(part) for part in re.split(r"(?<=[\d.])-", text)]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not numbers[0] <= numbers[-1]:
        raise ArgumentError(f"--size {text!r} is no size in millimetres; write 12, or 5-40 for a range.")
    return numbers[0], numbers[-1]


def run_forge(request: Request) -> int:
    """Forge what was asked for and return the exit code."""
    modality, spacing = parse_modality(request.modality), parse_spacing(request.spacing)
    size, at = parse_size(request.size), parse_at(request.at)
    _check_together(request, at)
    if request.views:
        return _run_views(request, size, at, modality, spacing)
    if request.method is not None:
        forgery.check_order(_order(request, request.method, size, at), request.action, stages=request.stages)
    if request.count is None:
        forgery.check_output(request.output)
    else:
        (check_free if request.dry_run else _new_or_own)(request.output)
    sources, errors = _hosts(request)
    for error in errors:
        complain(str(error))
    if not sources:
        return ERROR
    chest = sources[0].kind == "series" or modality == "CT" or (modality is None and _is_chest(sources[0]))
    if chest and request.films_only:
        raise ArgumentError(f"{shown(str(sources[0].path))} is chest CT, and annotations are of mammograms; a "
                            "set of CT with its masks in voxels is made by scanward inject --count.")
    order = _order(request, request.method or "", size, at)
    if chest and not order.method:
        order = replace(order, method=forgery.default_method(request.action, "CT", options=order.options))
    if request.count is None:
        source = _only(sources)
        order = forgery.with_method(order, source, request.action)
        made = forgery.forge_file(source, request.output, order, request.action, stages=request.stages,
                                  modality=modality, spacing=spacing)
        _tell(made, request.quiet)
        return ERROR if errors else CLEAN
    make = forgery.plan_many if request.dry_run else forgery.forge_many
    many = make(sources, request.output, order, request.action, request.count, stages=request.stages,
                modality=modality, spacing=spacing)
    return (_show if request.dry_run else _run_many)(many, request, bool(errors))


def _check_together(request: Request, at: tuple[tuple[float, ...], ...] | None) -> None:
    """`ArgumentError` for options that say nothing without another."""
    if request.at2 is not None and not request.views:
        raise ArgumentError("--at2 names a place in a second view; say --views, too.")
    for name, given in (("--count", request.count is not None), ("--dry-run", request.dry_run),
                        ("--stages", request.stages), ("--world", request.world)):
        if request.views and given:
            raise ArgumentError(f"{name} does not go with --views, which makes one lesion in one pair; leave it out.")
    forgery.check_together(_order(request, "", (0.0, 0.0), at))
    if request.count is not None and request.count < 1:
        raise ArgumentError(f"--count {request.count} is too small; ask for at least 1.")
    if request.dry_run and request.count is None and not request.views:
        raise ArgumentError("--dry-run tells what a set would hold; say with --count how many forgeries.")


def _only(sources: list[Source]) -> Source:
    if len(sources) > 1:
        raise ArgumentError(f"{counted(len(sources), 'host')} were found; name one (of several series in a folder, "
                            "move one into its own), or say with --count how many forgeries to make, or with --views "
                            "that they are two views of a breast.")
    return sources[0]


def _run_views(request: Request, size: tuple[float, float], at: tuple[tuple[float, ...], ...] | None,
               modality: Modality | None, spacing: tuple[float, float] | None) -> int:
    """One lesion in both views of a breast."""
    at2 = parse_at((request.at2,)) if request.at2 is not None else None
    sources, errors = _hosts(request)
    if errors:
        raise errors[0]
    if len(sources) != 2:
        raise ArgumentError(f"--views takes the CC and the MLO view of one breast, and {counted(len(sources), 'host')} "
                            f"{'was' if len(sources) == 1 else 'were'} found; name those two files.")
    order = forgery.with_method(_order(request, request.method or "", size, at), sources[0], request.action)
    for made in forgery.forge_views(sources, request.output, order, request.action, at2=at2[0] if at2 else None,
                                    modality=modality, spacing=spacing):
        _tell(made, request.quiet)
    return CLEAN


def _order(request: Request, method: str, size: tuple[float, float], at: tuple[tuple[float, ...], ...] | None) -> Order:
    given = {name: value for name, value in request.options.items() if value is not None}
    return Order(method, size, at, request.seed, request.strength, given, request.world)


def _is_chest(source: Source) -> bool:
    """Whether a file is CT, as far as can be told without its pixels."""
    with decoding(source.path):
        kind = kind_in(source.path)
    return kind in ("nifti", "metaimage") or (kind == "dicom" and modality_in(source) == "CT")


def _hosts(request: Request) -> tuple[list[Source], list[InputError]]:
    """What the arguments name; from folders neither what lies in the output folder nor what scanward altered."""
    passed: list[Passed] = []
    sources, errors = formats.find(request.hosts, passed=passed)
    if passed and not request.quiet:
        print(passed_over(passed))
    named, output = set(map(os.path.realpath, request.hosts)), Path(os.path.realpath(request.output))

    def left_out(source: Source) -> bool:
        real = os.path.realpath(source.path)
        return real not in named and (output in Path(real).parents or os.path.exists(real + SIDECAR)
                                      or forged_in(source))

    hosts = [source for source in sources if not left_out(source)]
    if sources and not hosts:
        errors.append(ArgumentError(f"{shown(str(request.hosts[0]))} holds nothing but what scanward altered or forged "
                                    "and what lies in the output folder; name hosts that are neither."))
    return hosts, errors


def _new_or_own(folder: Path) -> None:
    prepare(folder)
    discard_if_empty(folder)


def _show(many: Iterator[forgery.Planned | Forged], request: Request, failed: bool) -> int:
    """A line a forgery that would be made; nothing is written."""
    told: set[str] = set()
    for planned in many:
        where = shown(str(planned.folder))
        if isinstance(planned, forgery.Planned):
            print(f"{where}: {request.action} with {planned.method}, seed {planned.seed}, into "
                  f"{shown(str(planned.host))} at {places(planned.at, planned.size_mm)}")
        elif planned.error is not None:
            _complain_once(planned.error, told)
            failed = True
        else:
            print(f"{where}: there from before")
    return ERROR if failed else CLEAN


def _complain_once(error: InputError, told: set[str]) -> None:
    if str(error) not in told:
        complain(str(error))
    told.add(str(error))


def places(at: Sequence[Sequence[float]], size_mm: Sequence[float]) -> str:
    """Centres, in pixels of a film or voxels of a CT, and diameters."""
    return "; ".join(f"{', '.join(f'{axis} {value:.0f}' for axis, value in zip('xyz', place, strict=False))}, "
                     f"{size:.3g} mm" for place, size in zip(at, size_mm, strict=True))


def _run_many(many: Any, request: Request, failed: bool) -> int:
    new = old = 0
    told: set[str] = set()
    try:
        with progress_bar(request.count or 0, request.quiet) as advance:
            for forged in many:
                advance(forged.folder)
                if forged.error is not None:
                    _complain_once(forged.error, told)
                    failed = True
                else:
                    new, old = new + forged.new, old + (not forged.new)
    except KeyboardInterrupt:
        many.close()
        complain(f"Interrupted after {counted(new + old, 'image')}; run the same command to go on.")
        return INTERRUPTED
    if not request.quiet:
        print(f"{new + old} of {request.count} forged in {shown(str(request.output))}"
              + (f", {old} of them from before." if old else "."))
    return ERROR if failed else CLEAN


def _tell(made: Forged, quiet: bool) -> None:
    if quiet or made.record is None:
        return
    record = made.record
    at = record["at"] if isinstance(record["at"][0], list) else [record["at"]]
    sizes = record["size_mm"] if isinstance(record["size_mm"], list) else [record["size_mm"]]
    half = len(record["box"]) // 2
    corner = ", ".join(f"{axis} {value}" for axis, value in zip("xyz", record["box"][:half], strict=False))
    pair = record.get("pair")
    view = f"{pair['view']}, {pair['from_nipple_mm']:.0f} mm from the nipple: " if pair else ""
    print(f"{view}{record['method']} at {places(at, sizes)} (centre; the corner of the truth is at {corner}):")
    for name in (record["image"], record["mask"], forgery.PICTURE, forgery.STAGES, forgery.RECORD):
        if (made.folder / name).exists():
            print(f"  {shown(str(made.folder / name))}")


def run_replay(record: Path, host: Path | None, output: Path | None) -> int:
    """Make a recorded forgery again and say whether its bytes are the recorded ones."""
    same, written = forgery.replay(record, host=host, folder=output)
    if written is not None:
        print(shown(str(written)))
    print("The same bytes as recorded." if same == "bytes" else
          "The same pixels as recorded; the rest of the file differs, as that of another host does, or of another "
          "version of scanward.")
    return CLEAN
