"""`--device`: what networks run on."""

from __future__ import annotations

import os

from scanward.errors import ArgumentError

DEVICES = ("cpu", "cuda", "auto")


def choose_device(name: str) -> None:
    """Take `cpu`, `cuda` or `auto` for this process and those it starts; `ArgumentError` for anything else, and for
    `cuda` where torch finds none."""
    if name not in DEVICES:
        raise ArgumentError(f"--device {name!r} is not one of {', '.join(DEVICES)}.")
    if name != "cpu":
        import torch

        if torch.cuda.is_available():
            os.environ["SCANWARD_DEVICE"] = "cuda"
            return
        if name == "cuda":
            raise ArgumentError("--device cuda needs a GPU that torch can use, and there is none; choose cpu or auto.")
    os.environ.pop("SCANWARD_DEVICE", None)
