"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")]
Kind = Annotated[str | None, typer.Option("--modality", help="MG, for files that do not say or say it wrong.")]
Spacing = Annotated[str | None, typer.Option(metavar="MM", help="Pixel spacing in mm, for files that do not say.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")]
