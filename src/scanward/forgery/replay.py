"""A recorded forgery made again."""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from scanward import formats
from scanward.attacks.base import Tamper, View
from scanward.errors import UnreadableError
from scanward.forgery.files import check_output, together, write_image
from scanward.forgery.make import carried_out, check_order
from scanward.forgery.order import Order
from scanward.formats import Source
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.sources import series_or_file
from scanward.formats.whose import PAIR
from scanward.formats.write_volume import target_of
from scanward.image import Image, digest
from scanward.methods import find

LARGEST = 1 << 20
"""Bytes of a record: no forgery needs more, and what is larger is none."""


def read_record(path: Path) -> dict[str, Any]:
    """What a `record.json` holds; `UnreadableError` for what is none."""
    with decoding(path):
        with open_file(path) as file:
            data = file.read(LARGEST + 1)
        try:
            found = json.loads(data) if len(data) <= LARGEST else None
        except (ValueError, RecursionError):
            found = None
    known = {"order": dict, "params": dict, "action": str, "host": str, "host_sha256": str, "image": str,
             "image_sha256": str, "pixels_sha256": str}
    if isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in known.items()) and (
            found["action"] in ("inject", "remove")):
        return found
    raise _no_record(path)


def _no_record(path: Path) -> UnreadableError:
    return UnreadableError(f"{shown(path)} is no record of a forgery; name a record.json that scanward wrote.")


def _order_of(kept: dict[str, Any]) -> Order:
    """An order as JSON kept it; any exception for what is none."""
    low, high = (float(mm) for mm in kept["size_mm"])
    at = kept["at"]
    if at is not None:
        # records of version 0.1 hold one place of two numbers
        at = tuple(tuple(float(v) for v in place) for place in ([at] if not isinstance(at[0], list) else at))
    return Order(str(kept["method"]), (low, high), at, int(kept["seed"]), float(kept["strength"]),
                 dict(kept["options"]), bool(kept.get("world", False)), _view_of(kept.get("view")))


def _view_of(kept: dict[str, Any] | None) -> View | None:
    if kept is None:
        return None
    y, x = (float(v) for v in kept["inward"])
    view = View(str(kept["name"]), int(kept["solid"]), float(kept["contrast"]), (y, x))
    if view.name not in PAIR or not 0 <= view.contrast < math.inf or not abs(math.hypot(y, x) - 1) < 1e-3:
        raise ValueError("no view")
    return view


def _as_then(order: Order, params: dict[str, Any]) -> Order:
    """The order with what its attack did unasked when the record was made. Changes of records that name no extent, as
    all did once, filled their cuboid."""
    known = "extent" in find(order.method, "attack").options and "extent" not in order.options
    if known and not any("extent" in place for place in params.get("places", [])):
        return replace(order, options={**order.options, "extent": "cuboid"})
    return order


def replay(path: Path, *, host: Path | None = None,
           folder: Path | None = None) -> tuple[Literal["bytes", "pixels"], Path | None]:
    """Make a recorded forgery again: whether the file's bytes are the recorded ones or its pixels only, as of another
    host, or by a version that writes other headers; and where it was written, if anywhere.

    The order is carried out again, so that no parameter of the record is believed. `host` goes before the path in it.
    Raises `InputError`, also where the host, the weights or the pixels made are not the recorded ones.
    """
    record = read_record(path)
    if folder is not None:
        check_output(folder)
    try:
        order = _order_of(record["order"])
        spacing = tuple(record["spacing"]) if record.get("spacing") else None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _no_record(path) from error
    with decoding(path):
        order = _as_then(order, record["params"])
        attack = check_order(order, record["action"])
    source = host or Path(record["host"])
    with decoding(path):
        # A record may name any folder, the root of the disk too: only its user may have one searched to its depths.
        host_source = series_or_file(source, below=host is not None)
        image = formats.read(host_source, modality=record.get("modality"), spacing=spacing)  # type: ignore[arg-type]
        if digest(image) != record["host_sha256"]:
            raise UnreadableError(f"The pixels of {shown(source)} differ from those that {shown(path)} was made on; "
                                  "name its host with --host.")
        if folder is not None:
            target_of(image, host_source, folder, "forged")
        tamper = carried_out(attack, image, order, order.seed)
    if digest(tamper.image) != record["pixels_sha256"]:
        why = "its weights are others" if tamper.record.weights_sha256 != record.get("weights_sha256") else \
            f"scanward {record.get('version')} or another processor made it, or it was altered"
        raise UnreadableError(f"{shown(path)} gives other pixels here than it was recorded with: {why}.")
    made, written = _written(path, record, tamper, image, host_source, folder)
    return "bytes" if made["image_sha256"] == record["image_sha256"] else "pixels", written


def _written(path: Path, record: dict[str, Any], tamper: Tamper, image: Image, source: Source,
             folder: Path | None) -> tuple[dict[str, Any], Path | None]:
    place: AbstractContextManager[str | Path] = TemporaryDirectory() if folder is None else together(folder)
    with place as draft:
        made = write_image(tamper, image, source, Path(draft), record["action"])
        _check_truth(path, record, made)
    return made, None if folder is None else folder / made["image"]


def _check_truth(path: Path, record: dict[str, Any], made: dict[str, Any]) -> None:
    """`UnreadableError` where a record says otherwise of place, size and box than what its order makes."""
    again = json.loads(json.dumps(made))
    for key in ("at", "size_mm", "box"):
        if key in record and record[key] != again.get(key):
            raise UnreadableError(f"{shown(path)} gives the recorded pixels, but its {key} is not that of what was "
                                  "forged: it was altered.")
