"""`gateway.toml`, read and checked before anything is opened."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import TypeAdapter, ValidationError

from scanward.errors import ArgumentError
from scanward.formats.guard import shown
from scanward.setting_checks import complaints
from scanward.settings import Gateway

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails


def read_config(path: Path | None) -> Gateway:
    """The settings in `path`, or the defaults; `ArgumentError` names the file, the setting and what it may be."""
    gateway, wrong = looked_at(path)
    for sentence in wrong:
        raise ArgumentError(sentence)
    return gateway


def looked_at(path: Path | None) -> tuple[Gateway, list[str]]:
    """The settings in `path`, and all that is wrong with them, each a sentence with the file and the setting. The
    defaults where they cannot be read."""
    if path is None:
        return Gateway(), [f"The default settings: {sentence}" for sentence in complaints(Gateway())]
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        return Gateway(), [f"{shown(path)} cannot be read ({error.strerror}); name the gateway's TOML file."]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Gateway(), [f"{shown(path)} is no TOML ({error}); mend that line."]
    if "protect" in values:
        return Gateway(), [f"{shown(path)}: [protect] wove evidence into whatever arrived, and is no more; name the "
                           "key in [seal], and in seal.from the modalities whose images are sealed."]
    try:
        gateway = TypeAdapter(Gateway).validate_python(values, context={"base": path.parent})
    except ValidationError as error:
        return Gateway(), [f"{shown(path)}: {_misread(one)}" for one in error.errors(include_url=False)]
    return gateway, [f"{shown(path)}: {sentence}" for sentence in complaints(gateway)]


def _misread(error: ErrorDetails) -> str:
    """One setting that is none, or is not what it may be."""
    where = shown(".".join(map(str, error["loc"])))
    if error["type"] == "value_error":
        return f"{where}: {shown(error['msg'].removeprefix('Value error, '))}; docs/gateway.md has every setting."
    if error["type"] != "unexpected_keyword_argument":
        return f"{where}: {shown(error['msg'])}; docs/gateway.md has every setting."
    near = get_close_matches(str(error["loc"][-1]), _known(Gateway, error["loc"][:-1]), 1)
    meant = f"did you mean {near[0]}?" if near else "docs/gateway.md has every setting."
    return f"{where}: there is no such setting; {meant}"


def _known(kind: Any, where: Sequence[int | str]) -> list[str]:
    """The settings in the table there."""
    for part in where:
        if isinstance(part, str):
            kind = _table(next(one.annotation for name, one in _named(kind) if name == part))
    return [name for name, _ in _named(kind)]


def _named(table: Any) -> list[tuple[str, FieldInfo]]:
    """Its settings, under the names that the file has."""
    return [(one.alias or name, one) for name, one in table.__pydantic_fields__.items()]


def _table(kind: Any) -> Any:
    """The one in a list of tables, or in one that may be left out."""
    return kind if hasattr(kind, "__pydantic_fields__") else next(filter(None, map(_table, get_args(kind))), None)
