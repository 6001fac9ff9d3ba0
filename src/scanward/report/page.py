"""What self-contained pages share: one style, pictures inside, and no half of a page on the disk."""

from __future__ import annotations

import base64
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from scanward.disk import whole_file


def write_page(path: Path, template: Traversable, **values: Any) -> Path:
    """Write a template of Jinja with these values to `path`, whole or not at all; the path. The template includes
    `head.html`, up to the shared style, which wants a `title` and, where a script is to run, its `script_digest`;
    everything is escaped in it. Raises `ArgumentError` where the file cannot be written."""
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    style, head = (files("scanward.report").joinpath(name).read_text(encoding="utf-8") for name in
                   ("page.css", "head.html"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                              loader=DictLoader({"head.html": head + "\n"}))
    parts = environment.from_string(template.read_text(encoding="utf-8")).generate(
        style=Markup(style.removesuffix("\n")), **values)  # noqa: S704  # our own file
    with whole_file(path) as file:
        for part in parts:
            # File names may hold bytes that are no UTF-8; a page must.
            file.write(part.encode("utf-8", "replace"))
    return path


def picture_uri(data: bytes) -> str:
    """A PNG or JPEG file as a data URI."""
    kind = "jpeg" if data[:2] == b"\xff\xd8" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
