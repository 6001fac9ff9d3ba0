"""Lesions injected into and removed from mammograms, for red teams, training and tests.

The command line and the public `scanward.inject` and `scanward.remove` call these functions.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from scanward import formats, methods
from scanward.atomic import whole_file
from scanward.attacks import base
from scanward.attacks.base import Attack, Place, Record, Tamper
from scanward.attacks.mammo_cgan import MammoCgan
from scanward.attacks.places import auto_place, check_in_breast
from scanward.errors import ArgumentError, InputError, UnreadableError, UnsupportedError
from scanward.formats import Source
from scanward.formats.guard import shown
from scanward.formats.write import write_altered
from scanward.image import Image, Modality
from scanward.report.forged import before_after, stages_picture
from scanward.report.heat import png

SMALLEST_MM = 3.0
RECORD, MASK, PICTURE, STAGES = "record.json", "mask.png", "before-after.png", "stages.png"
MANIFEST, ORDER = "manifest.jsonl", "order.json"


@dataclass(frozen=True)
class Order:
    """What to forge, whatever the host."""

    method: str
    """An attack with an `action` in the table of methods."""
    size_mm: tuple[float, float]
    """The smallest and the largest diameter of a lesion; drawn log-uniformly between them."""
    at: tuple[float, float] | None = None
    """(x, y) in pixels; None where the method is to choose a plausible place."""
    seed: int = 0
    strength: float = 1.0
    """In (0, 1]: the share of the change that reaches the host."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the method, as its row in the table lists them."""


@dataclass(frozen=True)
class Forged:
    """A forgery that was written, or the error that stopped it."""

    folder: Path
    record: dict[str, Any] | None = None
    """What `record.json` holds."""
    error: InputError | None = None
    new: bool = True
    """False where an earlier, interrupted run had made it."""


def inject(source: Image | str | Path, *, size_mm: float, at: tuple[float, float] | None = None,
           method: str = "mammo-cgan", seed: int = 0, strength: float = 1.0,
           spacing: tuple[float, float] | None = None, **options: Any) -> Tamper:
    """Inject a lesion of `size_mm` into a mammogram at `at` = (x, y) pixels, or at a plausible place.

    `spacing` (millimetres a pixel, (y, x)) goes before what a file says. The same arguments give the same pixels.
    Raises `ArgumentError` for a place outside the breast, a size that does not fit, or an option that the method
    lacks; `UnsupportedError` for what is no mammogram; other `InputError` for what cannot be read.
    """
    return _act("inject", source, Order(method, (size_mm, size_mm), at, seed, strength, options), spacing)


def remove(source: Image | str | Path, *, size_mm: float, at: tuple[float, float] | None = None,
           method: str = "mammo-cgan-remove", seed: int = 0, strength: float = 1.0,
           spacing: tuple[float, float] | None = None, **options: Any) -> Tamper:
    """Paint healthy tissue over `size_mm` of a mammogram; otherwise as `inject`."""
    return _act("remove", source, Order(method, (size_mm, size_mm), at, seed, strength, options), spacing)


def _act(action: str, source: Image | str | Path, order: Order, spacing: tuple[float, float] | None) -> Tamper:
    attack = attack_of(order, action)
    image = source if isinstance(source, Image) else formats.read(source, spacing=spacing)
    return forge_image(attack, image, order, order.seed)


def attack_of(order: Order, action: str) -> Attack:
    """The method of an order, built; `ArgumentError` for one that does not `action`, or lacks an option."""
    able = [row for row in methods.METHODS if row.action == action]
    row = next((row for row in able if row.name == order.method), None)
    if row is None:
        raise ArgumentError(f"No method to {action} lesions is called {order.method!r}; choose one of: "
                            f"{', '.join(r.name for r in able)}.")
    for name in order.options:
        if name not in row.options:
            has = f"it has {', '.join('--' + o for o in row.options)}" if row.options else "it has no options"
            raise ArgumentError(f"The method {row.name} has no option --{name}; {has}.")
    return _built(row.name, tuple(sorted(order.options.items())))


@cache
def _built(name: str, options: tuple[tuple[str, Any], ...]) -> Attack:
    attack: Attack = methods.build(name, "attack", **dict(options))
    return attack


def forge_image(attack: Attack, image: Image, order: Order, seed: int) -> Tamper:
    """One forgery of an image in memory. Raises as `inject`."""
    if image.modality != "MG":
        raise UnsupportedError(f"{shown(image.name)} is a {image.modality} image; this version of scanward forges "
                               "mammograms only.")
    each = pixel_mm(image)
    low, high = order.size_mm
    if not SMALLEST_MM <= low <= high < np.inf:
        raise ArgumentError(f"A lesion of {low:g} mm cannot be made; choose a size from {SMALLEST_MM:g} mm.")
    rng = np.random.default_rng((seed, 1))
    mm = float(np.exp(rng.uniform(np.log(low), np.log(high)))) if high > low else low
    diameter = mm / each
    if order.at is None:
        place = auto_place(image, rng, diameter)
    else:
        place = Place(order.at[1], order.at[0], diameter)
        check_in_breast(image, place)
    return base.forge(attack, image, place, seed, strength=order.strength)


def forge_file(source: Source | Path, folder: Path, order: Order, action: str, *, seed: int | None = None,
               stages: bool = False, modality: Modality | None = None,
               spacing: tuple[float, float] | None = None) -> Forged:
    """One forgery of a file, written into `folder`: the image in its host's format, `mask.png`, `before-after.png`,
    `record.json`, and with `stages` the picture of every stage. All or nothing, and nothing is overwritten.

    Raises `InputError`.
    """
    attack = attack_of(order, action)
    if stages and not isinstance(attack, MammoCgan):
        raise ArgumentError(f"--stages shows the stages of Mammo-CGAN, and the method {order.method} has none; leave "
                            "it out.")
    image = formats.read(source, modality=modality, spacing=spacing)
    tamper = forge_image(attack, image, order, order.seed if seed is None else seed)
    with _together(folder) as draft:
        record = _write_image(tamper, image, draft, action)
        _write(draft / MASK, png(tamper.mask[0].astype(np.uint8) * 255))
        _write(draft / PICTURE, png(before_after(image, tamper)))
        if stages and isinstance(attack, MammoCgan):
            _write(draft / STAGES, png(stages_picture(attack.stages(image, tamper.record.params))))
        record["spacing"], record["modality"] = spacing, modality
        _write(draft / RECORD, (json.dumps(record, indent=2) + "\n").encode())
    return Forged(folder, record)


def _write_image(tamper: Tamper, host: Image, folder: Path, action: str) -> dict[str, Any]:
    """Write the forged image under its host's name; what `record.json` says of both."""
    path = Path(host.name)
    name = f"{path.stem}-forged{path.suffix}"
    params = tamper.record.params.get("shape", tamper.record.params)
    x, y, diameter = (float(params[key]) for key in ("x", "y", "diameter"))
    done = "injected" if action == "inject" else "removed"
    written = write_altered(tamper.image, folder / name, synthetic=True, description=(
        f"Forgery: a lesion {done} by {tamper.record.method}, centre x {x:.0f} y {y:.0f}, diameter {diameter:.0f} "
        "pixels."))
    ys, xs = np.nonzero(tamper.mask[0])
    return {**asdict(tamper.record), "action": action, "at": [x, y], "size_mm": round(diameter * pixel_mm(host), 3),
            "box": [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1], "host": str(path.resolve()),
            "image": name, "mask": MASK, "image_sha256": hashlib.sha256(written.read_bytes()).hexdigest()}


def pixel_mm(image: Image) -> float:
    """Millimetres a pixel of a mammogram; `ArgumentError` where it does not say."""
    if image.spacing is None:
        raise ArgumentError(f"{shown(image.name)} does not say how large its pixels are; give --spacing MM.")
    return float(np.sqrt(image.spacing[1] * image.spacing[2]))


@contextmanager
def _together(folder: Path) -> Iterator[Path]:
    """A draft folder beside `folder`, whose files move there together when the block ends without an exception."""
    _refuse_taken(folder, (RECORD, MASK, PICTURE, STAGES))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".scanward-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield draft
        _refuse_taken(folder, tuple(path.name for path in draft.iterdir()))
        folder.mkdir(exist_ok=True)
        # An image after its mark, and the record last: where it is, all is.
        for path in sorted(draft.iterdir(), key=lambda path: (path.name == RECORD, path.suffix != ".json")):
            path.rename(folder / path.name)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _refuse_taken(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise ArgumentError(f"{shown(folder / name)} exists already and is not overwritten; choose another folder.")


def _unwritable(folder: Path, error: OSError) -> ArgumentError:
    return ArgumentError(f"{shown(folder)} cannot be written ({error.strerror}); choose another folder.")


def _write(path: Path, data: bytes) -> None:
    with whole_file(path, replace=False) as file:
        file.write(data)


def forge_many(sources: Sequence[Source], folder: Path, order: Order, action: str, count: int, *,
               stages: bool = False, modality: Modality | None = None,
               spacing: tuple[float, float] | None = None) -> Iterator[Forged]:
    """`count` forgeries of the sources in turn, each in a numbered folder of `folder`, and `manifest.jsonl`.

    The seed of number i is the order's plus i. What an interrupted run with the same order made stays; a source
    that cannot be used is answered with its error, once. Raises `ArgumentError` where `folder` holds another order.
    """
    attack_of(order, action)
    if order.at is not None and len(sources) > 1:
        raise ArgumentError("--at X,Y names a place in one image only; use --at auto for several.")
    _same_order(folder, {"action": action, **json.loads(json.dumps(asdict(order))), "spacing": spacing,
                         "modality": modality, "hosts": [str(s.path.resolve()) for s in sources]})
    broken: set[Path] = set()
    lines: list[str] = []
    try:
        for number in range(count):
            source, home = sources[number % len(sources)], folder / f"{number + 1:05d}"
            if source.path in broken:
                continue
            try:
                forged = _earlier(home) or forge_file(source, home, order, action, seed=order.seed + number,
                                                      stages=stages, modality=modality, spacing=spacing)
            except InputError as error:
                if isinstance(error, UnreadableError | UnsupportedError):
                    broken.add(source.path)
                yield Forged(home, error=error)
                continue
            lines.append(json.dumps({"folder": home.name, **(forged.record or {})}) + "\n")
            yield forged
    finally:
        with whole_file(folder / MANIFEST) as manifest:
            manifest.write("".join(lines).encode())


def _earlier(home: Path) -> Forged | None:
    if not (home / RECORD).is_file():
        return None
    return Forged(home, read_record(home / RECORD), new=False)


def _same_order(folder: Path, order: dict[str, Any]) -> None:
    """Keep the order beside what it makes, and refuse to mix two; the number of forgeries may grow."""
    path, order = folder / ORDER, json.loads(json.dumps(order))
    if path.is_file():
        try:
            known = json.loads(path.read_text("utf-8"))
        except ValueError:
            known = None
        if known != order:
            raise ArgumentError(f"{shown(folder)} holds forgeries of another order; choose another folder, or the same "
                                "hosts and options to go on.")
        return
    with whole_file(path) as file:
        file.write((json.dumps(order, indent=2) + "\n").encode())


def read_record(path: Path) -> dict[str, Any]:
    """What a `record.json` holds; `UnreadableError` for what is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict) and {"method", "params", "host", "image", "image_sha256"} <= found.keys():
            return found
    except OSError as error:
        raise UnreadableError(f"{shown(path)} cannot be read ({error.strerror}); name a record.json that scanward "
                              "wrote.") from error
    except ValueError:
        pass
    raise UnreadableError(f"{shown(path)} is no record of a forgery; name a record.json that scanward wrote.")


def replay(path: Path, *, host: Path | None = None, folder: Path | None = None) -> tuple[bool, Path | None]:
    """Make a recorded forgery again; whether its bytes are the recorded ones, and where it was written, if anywhere.

    `host` goes before the path in the record. Raises `InputError`, also where the host is not the recorded one.
    """
    record = read_record(path)
    names = {field.name for field in fields(Record)}
    try:
        attack: Attack = methods.build(record["method"], "attack")
        spacing = tuple(record["spacing"]) if record.get("spacing") else None
        image = formats.read(host or Path(record["host"]), spacing=spacing, modality=record.get("modality"))
        again = base.replay(attack, Record(**{k: v for k, v in record.items() if k in names}), image)
        with tempfile.TemporaryDirectory() as draft:
            made = _write_image(again, image, Path(draft), record.get("action", "inject"))
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise UnreadableError(f"{shown(path)} cannot be replayed ({error}); name its host with --host, or another "
                              "record.") from error
    if folder is not None:
        _write_image(again, image, folder, record.get("action", "inject"))
    return made["image_sha256"] == record["image_sha256"], folder / made["image"] if folder is not None else None
