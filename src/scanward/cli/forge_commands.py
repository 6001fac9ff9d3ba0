"""`scanward inject`, `remove` and `replay`: options in. Each imports what is heavy itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scanward.cli.options import Debug, Device, Kind, Quiet, Spacing

Hosts = Annotated[list[Path], typer.Argument(metavar="HOST...", help="A mammogram, or a chest CT (a folder with its "
                                             "series, MetaImage, NIfTI); with --count also several.")]
To = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the forged image, its mask, a picture "
                                  "and record.json go.")]
At = Annotated[list[str] | None, typer.Option("--at", metavar="X,Y[,Z]", help="The lesion's centre: x to the right, y "
                                              "down, in pixels of a film; of a CT in voxels, z the slice, from 0 at "
                                              "the feet, and several may be given; auto, the default, picks a "
                                              "place.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what --count would make, and where; write nothing.")]
World = Annotated[bool, typer.Option("--world", help="--at is in the patient's millimetres (CT).")]
Size = Annotated[str, typer.Option("--size", "--diameter", metavar="MM", help="The diameter; with --count also a range "
                                   "as in 5-40.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")]
Count = Annotated[int | None, typer.Option(metavar="N", help="Make a set of N, numbered, with manifest.jsonl; the same "
                                           "command goes on where it was interrupted.")]
Strength = Annotated[float, typer.Option(help="Above 0 and up to 1: how much of the change reaches the host.")]
Stages = Annotated[bool, typer.Option("--stages", help="Save the picture of every stage, too.")]
Sigma = Annotated[float | None, typer.Option(help="Deviation of the noise of stage 7, in stored values.")]
Threshold = Annotated[float | None, typer.Option(help="Th of equation 2.2, in stored values.")]
Alpha = Annotated[float | None, typer.Option(help="α of equation 2.2, in stored values.")]
Power = Annotated[float | None, typer.Option(help="p of equation 2.2.")]
Noise = Annotated[str | None, typer.Option(help="The touch-up: copied from elsewhere, gaussian or none (ct-gan).")]
Density = Annotated[float | None, typer.Option(help="HU of the nodule (ct-gan, ct-diffusion, projection).")]
Extent = Annotated[str | None, typer.Option(help="How far a change reaches: to the rim of the lesion, the default, or "
                                            "over the cuboid, as published (ct-gan, ct-diffusion).")]
Attack = Annotated[str | None, typer.Option("--method", help="The attack, as `scanward methods` lists them; where none "
                                            "is named mammo-digital for DICOM of digital mammography, mammo-cgan for "
                                            "other mammograms, ct-gan, and for removal their twins.")]
Margin = Annotated[str | None, typer.Option(help="circumscribed, ill-defined or spiculated; drawn where none is named "
                                            "(mammo-digital).")]
Morphology = Annotated[str | None, typer.Option(help="punctate, amorphous, fine-pleomorphic or fine-linear, drawn "
                                                "where none is named; or a benign popcorn or rim "
                                                "(mammo-calcifications).")]
Through = Annotated[int | None, typer.Option(metavar="PIXELS", help="Resample the whole film to this shorter side and "
                                             "back (partial-conv).")]
Grain = Annotated[str | None, typer.Option(help="What stage 7 adds: white (mammo-cgan), host (its own grain) or "
                                           "resynthesised.")]


Views = Annotated[bool, typer.Option("--views", help="One lesion in both: the hosts are the CC and the MLO view of a "
                                     "breast. --at is in the first; the second place lies as far from the nipple.")]
At2 = Annotated[str | None, typer.Option("--at2", metavar="X,Y", help="The centre in the second view, with --views.")]


def inject(hosts: Hosts, output: To, size: Size, at: At = None, world: World = False, method: Attack = None,
           seed: Seed = 0, count: Count = None, dry_run: DryRun = False, strength: Strength = 1.0,
           stages: Stages = False, sigma: Sigma = None, threshold: Threshold = None, alpha: Alpha = None,
           power: Power = None, grain: Grain = None, margin: Margin = None, morphology: Morphology = None,
           noise: Noise = None, density: Density = None, extent: Extent = None, views: Views = False, at2: At2 = None,
           modality: Kind = None, spacing: Spacing = None,
           device: Device = "cpu", quiet: Quiet = False, debug: Debug = False) -> int:
    """Inject a lesion into a mammogram or a chest CT; the copy is marked as forged."""
    from scanward.cli.device import choose_device
    from scanward.cli.forging import Request, run_forge

    choose_device(device)
    options = {"sigma": sigma, "threshold": threshold, "alpha": alpha, "power": power, "grain": grain, "margin": margin,
               "morphology": morphology, "noise": noise, "density": density, "extent": extent}
    return run_forge(Request("inject", tuple(hosts), output, method, tuple(at or ()), size, seed, count, strength,
                             stages, modality, spacing, quiet, options, world, dry_run, views, at2))


def augment(
    hosts: Annotated[list[Path], typer.Argument(metavar="HOST...", help="Mammograms, or folders of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the set and annotations.json "
                                         "go.")],
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many images to make, the hosts in turn; the same "
                                       "command goes on where it was interrupted.")],
    size: Annotated[str, typer.Option("--size", "--diameter", metavar="MM", help="Diameters, as 12 or 5-40.")] = "5-30",
    method: Attack = None, seed: Seed = 0, margin: Margin = None, grain: Grain = None, modality: Kind = None,
    spacing: Spacing = None, device: Device = "cpu", quiet: Quiet = False, debug: Debug = False,
) -> int:
    """Inject masses into mammograms, and annotate them for those who train lesion detectors: masks, COCO, DICOM SR.

    Every image is marked as forged. The set is that of `inject --count`.
    """
    from scanward.cli.augmenting import run_augment
    from scanward.cli.device import choose_device
    from scanward.cli.forging import Request

    choose_device(device)
    return run_augment(Request("inject", tuple(hosts), output, method, (), size, seed, count, modality=modality,
                               spacing=spacing, quiet=quiet, options={"margin": margin, "grain": grain}))


def remove(hosts: Hosts, output: To, size: Size, at: At = None, world: World = False, method: Attack = None,
           seed: Seed = 0, count: Count = None, dry_run: DryRun = False, strength: Strength = 1.0,
           stages: Stages = False, sigma: Sigma = None, power: Power = None, grain: Grain = None, noise: Noise = None,
           extent: Extent = None, through: Through = None, views: Views = False, at2: At2 = None,
           modality: Kind = None, spacing: Spacing = None,
           device: Device = "cpu", quiet: Quiet = False, debug: Debug = False) -> int:
    """Remove a lesion from a mammogram or a chest CT; the copy is marked as forged."""
    from scanward.cli.device import choose_device
    from scanward.cli.forging import Request, run_forge

    choose_device(device)
    options = {"sigma": sigma, "power": power, "grain": grain, "noise": noise, "extent": extent,
               "through": through}
    return run_forge(Request("remove", tuple(hosts), output, method, tuple(at or ()), size, seed, count, strength,
                             stages, modality, spacing, quiet, options, world, dry_run, views, at2))


def replay(
    record: Annotated[Path, typer.Argument(metavar="record.json", help="What `inject` or `remove` wrote.")],
    host: Annotated[Path | None, typer.Option(help="The host, where it has moved.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write the image there.")] = None,
    debug: Debug = False,
) -> int:
    """Make a recorded forgery again, and compare its bytes with the recorded ones."""
    from scanward.cli.forging import run_replay

    return run_replay(record, host, output)
