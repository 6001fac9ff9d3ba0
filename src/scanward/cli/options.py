"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")]
Kind = Annotated[str | None, typer.Option("--modality", help="MG or CT, for files that do not say or say it wrong.")]
Spacing = Annotated[str | None, typer.Option(metavar="MM", help="Pixel spacing in mm, for files that do not say or "
                                             "say it wrong: one number, or row x column as in "
                                             "0.05x0.05.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")]
Device = Annotated[str, typer.Option("--device", help="What networks run on: cpu, cuda (a GPU), or auto: a GPU where "
                                     "there is one. Results may differ in their last bits from one to the other.")]
Certificates = Annotated[list[Path] | None, typer.Option("--certificate", metavar="PEM", help="A certificate whose "
                                                         "seals count, or of an authority that issued such; may be "
                                                         "given several times. No secret is needed.")]
Trusted = Annotated[Path | None, typer.Option("--trust", metavar="FILE", help="A trust file: certificates whose seals "
                                              "count, and since when a key is compromised.")]
Marked = Annotated[bool, typer.Option("--marked", help="Every chest CT is to carry the watermark of --key: one that "
                                      "shows none, and whose voxels no seal vouches for, is inconclusive.")]
Heads = Annotated[list[Path] | None, typer.Option("--head", metavar="FILE", help="Heads of the log that were kept "
                                                  "elsewhere; may be given several times.")]
