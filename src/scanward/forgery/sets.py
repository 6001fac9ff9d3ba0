"""A labelled set of forgeries: many hosts, one order, numbered folders, a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scanward import formats
from scanward.disk import whole_file
from scanward.errors import ArgumentError, InputError, UnreadableError, UnsupportedError
from scanward.forgery.files import RECORD, Forged, forge_file
from scanward.forgery.film import pixel_mm
from scanward.forgery.kinds import KINDS
from scanward.forgery.make import check_order, default_method, plan_image
from scanward.forgery.order import Order
from scanward.forgery.replay import read_record
from scanward.formats import Source
from scanward.formats.guard import decoding, shown
from scanward.formats.identity import digital_in
from scanward.formats.write_volume import check_apart, hash_of, target_of
from scanward.image import Modality

MANIFEST, ORDER = "manifest.jsonl", "order.json"


def forge_many(sources: Sequence[Source], folder: Path, order: Order, action: str, count: int, *,
               stages: bool = False, modality: Modality | None = None,
               spacing: tuple[float, float] | None = None) -> Iterator[Forged]:
    """`count` forgeries of the sources in turn, each in a numbered folder of `folder`, and `manifest.jsonl`.

    The seed of number i is the order's plus i. An order without a method takes for each mammogram what its kind has by
    default. What an interrupted run with the same order made stays, if it is whole;
    a source that cannot be read is answered with its error, once. Raises `ArgumentError` where `folder` holds another
    order, or a manifest of something else.
    """
    whole = _checked(sources, folder, order, action, stages, modality, spacing)
    broken: set[Source] = set()
    made = False
    try:
        for number in range(count):
            source, home, seed = sources[number % len(sources)], folder / f"{number + 1:05d}", order.seed + number
            earlier = home.exists()
            if source in broken and not earlier:
                continue
            try:
                forged = _earlier(home, seed) if earlier else forge_file(
                    source, home, with_method(order, source, action), action, seed=seed, stages=stages,
                    modality=modality, spacing=spacing)
            except InputError as error:
                if isinstance(error, UnreadableError | UnsupportedError) and not earlier:
                    broken.add(source)
                yield Forged(home, error=error)
                continue
            if not made:
                _keep(folder / ORDER, json.dumps(whole, indent=2) + "\n")
                made = True
            yield forged
    finally:
        if made:
            _keep(folder / MANIFEST, "".join(_lines(folder)))


@dataclass(frozen=True)
class Planned:
    """A forgery that would be made."""

    folder: Path
    host: Path
    method: str
    seed: int
    at: list[list[float]]
    """Centres of the lesions, each (x, y) in pixels of a mammogram or (x, y, z) in voxels of a CT."""
    size_mm: list[float]


def plan_many(sources: Sequence[Source], folder: Path, order: Order, action: str, count: int, *,
              stages: bool = False, modality: Modality | None = None,
              spacing: tuple[float, float] | None = None) -> Iterator[Planned | Forged]:
    """What `forge_many` would do, number by number, with nothing made and nothing written; `Forged` for what is
    there from before, and for the error of a source that cannot be used. Raises as `forge_many`."""
    _checked(sources, folder, order, action, stages, modality, spacing)
    for number in range(count):
        source, home, seed = sources[number % len(sources)], folder / f"{number + 1:05d}", order.seed + number
        try:
            if home.exists():
                yield _earlier(home, seed)
                continue
            own = with_method(order, source, action)
            attack = check_order(own, action, stages=stages)
            image = formats.read(source, modality=modality, spacing=spacing)
            target_of(image, source, home, "forged")
            lesions = plan_image(attack, image, own, seed)
            scale = pixel_mm(image) if image.shape[0] == 1 else 1.0
            yield Planned(home, source.path, own.method, seed,
                          [[*lesion.centre[::-1]][:KINDS[image.modality].axes] for lesion in lesions],
                          [lesion.diameter * scale for lesion in lesions])
        except InputError as error:
            yield Forged(home, error=error)


def with_method(order: Order, source: Source, action: str) -> Order:
    """The order with the method that a mammogram's kind has by default, unless it names one."""
    return order if order.method else replace(order, method=default_method(
        action, "MG", digital=digital_in(source.path), options=order.options))


def _checked(sources: Sequence[Source], folder: Path, order: Order, action: str, stages: bool,
             modality: Modality | None, spacing: tuple[float, float] | None) -> dict[str, Any]:
    """The whole order, as `order.json` keeps it, once it was held against what `folder` holds."""
    check_order(with_method(order, sources[0], action), action, stages=stages)
    if order.at is not None and len(sources) > 1:
        raise ArgumentError("--at names places in one image only; use --at auto for several.")
    whole = {"action": action, **asdict(order), "spacing": spacing, "modality": modality,
             "hosts": [os.path.realpath(s.path if s.kind == "file" else s.paths[0]) for s in sources]}
    for source in sources:
        check_apart(source, folder)
    _same_order(folder, whole)
    return whole


def _earlier(home: Path, seed: int) -> Forged:
    """The forgery that an earlier run left in `home`; `UnreadableError` where it is not whole any more."""
    same, record = False, {}
    if (home / RECORD).is_file():
        record = read_record(home / RECORD)
        with decoding(home):
            same = hash_of(home / Path(record["image"]).name) == record["image_sha256"]
    if not same or record["order"].get("seed") != seed or not (home / Path(str(record["mask"])).name).is_file():
        raise UnreadableError(f"{shown(home)} is not what was forged there; move it away to have it made again.")
    return Forged(home, record, new=False)


def _lines(folder: Path) -> Iterator[str]:
    """The manifest: every numbered folder with a record, in order."""
    for path in sorted(folder.glob(f"[0-9]*/{RECORD}")):
        try:
            record: dict[str, Any] = read_record(path)
        except UnreadableError:
            continue
        kept = {key: value for key, value in record.items() if key not in ("params", "order")}
        yield json.dumps({**kept, "folder": path.parent.name}) + "\n"


def _same_order(folder: Path, order: dict[str, Any]) -> None:
    """Refuse to mix two orders; the number of forgeries may grow."""
    path = folder / ORDER
    if path.is_file():
        with decoding(path):
            known = {"world": False, "view": None, **json.loads(path.read_text("utf-8"))}
        if known != json.loads(json.dumps(order)):
            raise ArgumentError(f"{shown(folder)} holds forgeries of another order; choose another folder, or the same "
                                "hosts and options to go on.")
    elif (folder / MANIFEST).exists():
        raise ArgumentError(f"{shown(folder / MANIFEST)} belongs to something else and is not overwritten; choose "
                            "another folder.")


def _keep(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())
