"""Short representations: an image has millions of voxels, and none of them belongs on a terminal."""

from __future__ import annotations

import dataclasses
import reprlib
from pathlib import PurePath
from typing import Any

LONGEST = 280
"""Characters of a representation."""


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxtuple, self.maxlist, self.maxdict = 4, 3, 3, 4
        self.maxstring = self.maxother = 80

    def repr_ndarray(self, value: Any, level: int) -> str:
        return f"<{value.dtype} {value.shape}>"

    def repr_float(self, value: float, level: int) -> str:
        return f"{value:.6g}"

    def repr_instance(self, value: Any, level: int) -> str:
        return repr(str(value)) if isinstance(value, PurePath) else super().repr_instance(value, level)

    def repr_bytes(self, value: bytes, level: int) -> str:
        return f"<{len(value)} bytes>"


_BRIEF = _Brief()


def brief(value: Any) -> str:
    """A dataclass with what its fields hold unless that is their default; arrays by type and shape, and cut to
    `LONGEST`."""
    parts = []
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        plain = isinstance(held, str | int | float | tuple | dict | None)
        if field.repr and not (plain and held in (field.default, {})):
            parts.append(f"{field.name}={_BRIEF.repr(held)}")
    text = f"{type(value).__name__}({', '.join(parts)})"
    return text if len(text) <= LONGEST else f"{text[:LONGEST - 4]}...)"
