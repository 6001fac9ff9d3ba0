"""`scanward archive report`, `scanward bench` and `scanward study`: options in. Each command imports what is heavy
itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scanward.cli.archive_commands import archive_app
from scanward.cli.codes import PLAIN
from scanward.cli.options import Debug, Quiet


@archive_app.command("report", epilog=PLAIN)
def archive_report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that `scanward archive` writes to; its run "
                                           "may still go on.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where the page goes; "
                                                "report.html in DIR where it is not given.")] = None,
    sql: Annotated[str | None, typer.Option("--sql", metavar="QUERY", help="Print what a query of the view `answers` "
                                            "gives instead; it can read nothing else.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write it there.")] = None,
    quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Tell what came of an archive: a page with alarms by scanner, site and month, the worst as pictures, what occurs
    twice, errors and cost; or the answer to a query."""
    from scanward.cli.archive_report import run_archive_report

    return run_archive_report(folder, output, sql, csv_file, quiet)


bench_app = typer.Typer(name="bench", help="Measure the shipped detectors by protocols that anyone can repeat.",
                        no_args_is_help=True, epilog=PLAIN)


@bench_app.command("mammography", epilog=PLAIN)
def bench_mammography(
    protocols: Annotated[list[str] | None, typer.Argument(metavar="[PROTOCOL...]", help="source, target, hard, sizes, "
                         "compression, families, source-digital, target-digital, compression-digital, makers: all of "
                         "these where none is named; or leave-one-out, which trains networks first.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="A detector; may be given several times.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder with mias/ and, for the digital ones, "
                                              "ffdm/.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where tables (Markdown, JSON), curves "
                                         "(PNG) and the answers go; an interrupted bench goes on.")] = Path("bench"),
    workers: Annotated[int, typer.Option(help="Processes that scan side by side.")] = 2,
    debug: Debug = False,
) -> int:
    """Forge the frozen sets of the mammography protocols again, scan them, and print the tables."""
    from scanward.cli.benching import Request, run_bench

    return run_bench(Request(tuple(protocols or ()), tuple(method or ("default",)), data, output, workers))


@bench_app.command("ct", epilog=PLAIN)
def bench_ct(
    protocol: Annotated[str | None, typer.Argument(metavar="[PROTOCOL]", help="None: the shipped detector; or "
                        "leave-one-out, which trains networks without each maker's scanners first.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder with ct/, ct-more/ and "
                                              "lidc-nodules/.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where tables (Markdown) and the "
                                         "answers go; an interrupted bench goes on.")] = Path("bench"),
    debug: Debug = False,
) -> int:
    """Forge lesions in whole chest CTs of scanners that no detector was trained on, scan them, and print the tables."""
    from scanward.cli.benching import run_ct_bench

    return run_ct_bench(protocol, data, output)


@bench_app.command("protection", epilog=PLAIN)
def bench_protection(
    tables: Annotated[list[str] | None, typer.Argument(metavar="[TABLE...]", help="success, purified, likeness, harm: "
                                                       "all of these where none is named.")] = None,
    places: Annotated[int, typer.Option(min=1, help="Places of each of the two drawings of a scan at most.")] = 40,
    scans: Annotated[list[str] | None, typer.Option("--scan", metavar="NAME", help="A chest CT to attack, by its name "
                     "in the data folder; may be repeated, and intervals are then over scans. By default a sharp one, "
                     "which no protector has seen.")] = None,
    slices: Annotated[str | None, typer.Option(metavar="FIRST-LAST", help="Only these slices of a scan, and one "
                                               "drawing of places.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder with ct/, ct-more/ and "
                                              "lidc-nodules/.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where tables (Markdown) and the "
                                         "answers go; an interrupted bench goes on.")] = Path("bench"),
    debug: Debug = False,
) -> int:
    """Attack a protected chest CT, and print what is left of the attacks and what the protection did to the scan."""
    from scanward.cli.benching import run_protection_bench

    return run_protection_bench(tuple(tables or ()), places, tuple(scans or ()), slices, data, output)


study_app = typer.Typer(name="study", help="A reader study: blinded mammograms or chest CT for people to judge, and "
                        "the tables of it.", no_args_is_help=True, epilog=PLAIN)
Study = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]
Address = Annotated[str, typer.Option("--url", help="What the printed links begin with.")]


@study_app.command("new", epilog=PLAIN)
def study_new(
    protocol: Annotated[Path, typer.Argument(metavar="PROTOCOL", help="A TOML file: readers, folders, counts, seed.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The study's folder, which is made.")],
    modality: Annotated[str, typer.Option("--modality", help="MG or CT: what the readers read.")] = "MG",
    views: Annotated[bool, typer.Option("--views", help="Show the CC and MLO views of a breast as one case.")] = False,
    url: Address = "http://127.0.0.1:8043", quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Draw a blinded mixture of fakes, healthy and unhealthy mammograms or chest CT, and print each reader's link."""
    from scanward.cli.studying import run_new

    return run_new(protocol, output, modality, views, url, quiet)


@study_app.command("serve", epilog=PLAIN)
def study_serve(
    folder: Study,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8043,
    cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The TLS certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")] = None, debug: Debug = False,
) -> int:
    """Serve the pages on which the readers read."""
    from scanward.cli.studying import run_serve

    return run_serve(folder, host, port, cert, key)


@study_app.command("link", epilog=PLAIN)
def study_link(folder: Study, reader: Annotated[str, typer.Argument(metavar="READER", help="The reader's name.")],
               url: Address = "http://127.0.0.1:8043", debug: Debug = False) -> int:
    """Give a reader another link; the one before stops working."""
    from scanward.cli.studying import run_link

    return run_link(folder, reader, url)


@study_app.command("close", epilog=PLAIN)
def study_close(
    folder: Study, yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False, debug: Debug = False,
) -> int:
    """Close a study for good: nothing more is saved, and readers may see how they did. Asks first."""
    from scanward.cli.studying import run_close

    return run_close(folder, yes)


@study_app.command("report", epilog=PLAIN)
def study_report(
    folder: Study,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write the report (Markdown, "
                                                "HTML, JSON), every answer and every mark (CSV) there.")] = None,
    debug: Debug = False,
) -> int:
    """Print what came of a study, finished or not, with the published figures beside."""
    from scanward.cli.studying import run_report

    return run_report(folder, output)


@study_app.command("power", epilog=PLAIN)
def study_power(
    readers: Annotated[str, typer.Option(help="Numbers of readers, the table's rows.")] = "4,6,8,10",
    films: Annotated[str, typer.Option(help="Numbers of films or scans, its columns; 20+45 says how many are healthy "
                                       "and how many are fakes.")] = "50,100,200",
    effect: Annotated[float, typer.Option(help="The difference of two AUCs that is to be found.")] = 0.05,
    components: Annotated[str | None, typer.Option(metavar="Var(tR),Cov1,Cov2,Cov3,Var,CASES", help="Of a pilot: what "
                                                   "its report.json has under averages.")] = None,
    rates: Annotated[str | None, typer.Option(metavar="HEALTHY,FAKE", help="Plan the blind part's χ² test instead: how "
                                              "often each kind will be called unhealthy.")] = None,
    debug: Debug = False,
) -> int:
    """Tell before a study how likely it is to find a difference: a table of readers and films."""
    from scanward.cli.study_power import run_power

    return run_power(readers, films, effect, components, rates)
