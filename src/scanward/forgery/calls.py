"""Forging from Python: one lesion, in memory, which may then be saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path

import numpy as np

from scanward.arguments import PathLike, in_python, number_of, path_of, refused
from scanward.attacks.base import Tamper
from scanward.forgery.files import PICTURE, RECORD, write_tamper
from scanward.forgery.make import check_order, check_together, default_method, forge_image
from scanward.forgery.order import Order
from scanward.forgery.sets import with_method
from scanward.forgery.views import Pair, made_of, plan_views
from scanward.formats.host import Host, host_of
from scanward.formats.identity import digital_in
from scanward.formats.reader import Given, image_in
from scanward.formats.sources import Source, series_or_file
from scanward.image import Image, Modality


def inject(source: Given, *, size_mm: float, at: Sequence[float] | None = None, world: bool = False,
           method: str | None = None, seed: int = 0, strength: float = 1.0, modality: Modality | None = None,
           spacing: tuple[float, float] | None = None, **options: float | str | None) -> Tamper:
    """Inject a lesion of diameter `size_mm` into a mammogram or a chest CT. `Tamper.save` writes what `scanward inject`
    writes.

    `source` is a path (of a CT in DICOM: the folder of its series), what `find` found, an array as `load` takes it, or
    an `Image`; `modality` and `spacing`, (y, x) in millimetres a pixel, go before what a file says. `at` is (x, y) in
    pixels of a mammogram or (x, y, z) in voxels of a CT, in this order as on the command line, counted from 0, slices
    towards the head; with `world` (x, y, z) in the patient's millimetres (LPS); a plausible place where it is None.
    `method` is an attack, as `scanward methods` lists them; where it is None `ct-gan`, `mammo-digital` for a DICOM file
    that is a digital mammogram by its SOP class, and `mammo-cgan` for others. `options` are its own; one that only the
    other of these two has chooses that. `strength`, above
    0 and up to 1, is the share of the change that reaches the host. The same arguments give the same pixels.
    Raises `ArgumentError` for a place outside the breast or the lungs, a size that does not fit, or an option that the
    method lacks; `UnsupportedError` for an image that the method does not forge; other `InputError` for what cannot be
    read.
    """
    return _act("inject", source, _order(size_mm, at, world, seed, strength, options), method, modality, spacing)


def remove(source: Given, *, size_mm: float, at: Sequence[float] | None = None, world: bool = False,
           method: str | None = None, seed: int = 0, strength: float = 1.0, modality: Modality | None = None,
           spacing: tuple[float, float] | None = None, **options: float | str | None) -> Tamper:
    """Paint healthy tissue over `size_mm` of a mammogram or a chest CT; otherwise as `inject`, with
    `mammo-cgan-remove`, `mammo-digital-remove` or `ct-gan-remove` where no method is named."""
    return _act("remove", source, _order(size_mm, at, world, seed, strength, options), method, modality, spacing)


def inject_views(first: PathLike | Source, second: PathLike | Source, *, size_mm: float,
                 at: Sequence[float] | None = None, at2: Sequence[float] | None = None, method: str | None = None,
                 seed: int = 0, strength: float = 1.0, modality: Modality | None = None,
                 spacing: tuple[float, float] | None = None, **options: float | str | None) -> Pair:
    """Inject one lesion into the CC and the MLO view of a breast. `Pair.tampers` has both, `Pair.save` writes what
    `scanward inject --views` writes.

    `first` and `second` are paths or what `find` found; files that do not say which view they are come in the order CC,
    MLO. `at` is (x, y) in pixels of the first, `at2` of the second; without `at2` the place there is one about as far
    from the nipple. Otherwise as `inject`; `ArgumentError`, too, where the two are not of one breast.
    """
    return _both("inject", (first, second), _order(size_mm, at, False, seed, strength, options), at2, method, modality,
                 spacing)


def remove_views(first: PathLike | Source, second: PathLike | Source, *, size_mm: float,
                 at: Sequence[float], at2: Sequence[float] | None = None, method: str | None = None, seed: int = 0,
                 strength: float = 1.0, modality: Modality | None = None, spacing: tuple[float, float] | None = None,
                 **options: float | str | None) -> Pair:
    """Paint healthy tissue over one lesion in both views of a breast, that which the first shows at `at`; without `at2`
    it is looked for in the second, and `ArgumentError` says where it is not clear. Otherwise as `inject_views`."""
    return _both("remove", (first, second), _order(size_mm, at, False, seed, strength, options), at2, method, modality,
                 spacing)


@in_python()
def _both(action: str, given: Sequence[PathLike | Source], order: Order, at2: Sequence[float] | None,
          method: str | None, modality: Modality | None, spacing: tuple[float, float] | None) -> Pair:
    check_together(order)
    if method is not None and not isinstance(method, str):
        raise refused("method", "the name of an attack", method)
    sources = [one if isinstance(one, Source) else series_or_file(path_of(one, name))
               for name, one in zip(("first", "second"), given, strict=True)]
    order = with_method(replace(order, method=method or ""), sources[0], action)
    both = plan_views(sources, order, action, at2=None if at2 is None else _place(at2, "at2"), modality=modality,
                      spacing=spacing)
    return made_of(both, action, modality, spacing)


def _place(given: Sequence[float], name: str) -> tuple[float, ...]:
    """One place; `ArgumentError` for what is none."""
    takes = "one place, (x, y) in pixels or (x, y, z) in voxels"
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray) or len(given) not in (2, 3):
        raise refused(name, takes, given)
    return tuple(number_of(v, name, takes) for v in given)


def _order(size_mm: float, at: Sequence[float] | None, world: bool, seed: int, strength: float,
           options: dict[str, float | str | None]) -> Order:
    """What was asked for, with no method yet; `ArgumentError` for what is of another kind."""
    size = number_of(size_mm, "size_mm", "a number of millimetres")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise refused("seed", "a whole number", seed)
    place = None if at is None else (_place(at, "at"),)
    given = {name: value for name, value in options.items() if value is not None}
    return Order("", (size, size), place, int(seed), number_of(strength, "strength"), given, bool(world))


@in_python()
def _act(action: str, source: Given, order: Order, method: str | None, modality: Modality | None,
         spacing: tuple[float, float] | None) -> Tamper:
    check_together(order)
    if method is not None:
        if not isinstance(method, str):
            raise refused("method", "the name of an attack", method)
        check_order(replace(order, method=method), action)  # before a series is read for nothing
    image = image_in(source if isinstance(source, Image | np.ndarray) else series_or_file(source), modality, spacing)
    path = image.provenance.path
    digital = image.modality == "MG" and path is not None and digital_in(path)
    order = replace(order, method=method or default_method(action, image.modality, digital=digital,
                                                            options=order.options))
    tamper = forge_image(check_order(order, action), image, order, order.seed)
    return replace(tamper, writer=partial(_save, host_of(source, image, modality, spacing), order, action))


def _save(host: Host, order: Order, action: str, tamper: Tamper, folder: Path) -> list[Path]:
    source, image = host.again()
    record = write_tamper(tamper, image, source, folder, order, action, host.modality, host.spacing).record or {}
    return [folder / name for name in (record["image"], record["mask"], PICTURE, RECORD)]
