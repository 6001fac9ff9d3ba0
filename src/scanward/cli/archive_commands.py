"""`scanward archive`: options in. Each command imports what is heavy itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from scanward.cli.codes import JUDGING
from scanward.cli.options import Certificates, Debug, Device, Kind, Marked, Quiet, Spacing, Trusted


class SourceFirst(TyperGroup):
    """What is no command is what `run` is to judge: `scanward archive SOURCE -o OUT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options_first = args and args[0].startswith("-") and args[0] not in ctx.help_option_names
        return super().parse_args(ctx, ["run", *args] if options_first else args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


archive_app = typer.Typer(name="archive", cls=SourceFirst, no_args_is_help=True, epilog=JUDGING,
                          help="Judge a whole archive, on one machine or many, and tell what came of it. `scanward "
                               "archive SOURCE -o OUT` is short for `scanward archive run`.")


@archive_app.command("run", epilog=JUDGING)
def archive_run(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder; a text file with a path a line; "
                                          "orthanc:URL; dicomweb:URL; or a URL that fsspec knows, such as "
                                          "s3://bucket/path.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the answers go; the same command "
                                         "goes on there after any interruption.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that judge side by side; one a core where it is "
                                                "not given. With --ray, one a core of the cluster.")] = None,
    ray: Annotated[str | None, typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster: its address, auto for the "
                                            "one this machine belongs to, or local to start one here.")] = None,
    method: Annotated[str, typer.Option(help="The detector to run; `scanward methods` lists them.")] = "default",
    modality: Kind = None, spacing: Spacing = None, device: Device = "cpu",
    site: Annotated[Path | None, typer.Option(metavar="FILE", help="Thresholds of this site, from `scanward "
                                              "calibrate`.")] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The site's key, from `scanward key`: what "
                                             "was sealed with it is verified, too. With --ray the file must be there "
                                             "on every node.")] = None,
    marked: Marked = False, certificate: Certificates = None, trust: Trusted = None,
    seconds: Annotated[float, typer.Option(min=1, help="What one image or series may take.")] = 900,
    memory: Annotated[float, typer.Option(min=500, metavar="MB", help="What the process that judges it may hold.")] =
    8192,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what was set aside or ended in an error before; "
                                        "--seconds and --memory may be other ones.")] = False,
    user: Annotated[str, typer.Option(help="Of a server.")] = "",
    password_file: Annotated[Path | None, typer.Option(metavar="FILE", help="With the password in its first "
                                                       "line.")] = None,
    authority: Annotated[Path | None, typer.Option("--ca", metavar="PEM", help="The authority that a server's "
                                                   "certificate is from.")] = None,
    quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Judge every image of an archive; answers go to DIR as Parquet."""
    from scanward.cli.archiving import Request, run_archive
    from scanward.cli.device import choose_device

    choose_device(device)
    return run_archive(Request(source, output, workers, ray, method, modality, spacing, site, seconds, memory, user,
                               password_file, authority, quiet, retry, key, tuple(certificate or ()), trust,
                               marked))
