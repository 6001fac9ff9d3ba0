"""The table of every attack, detector and protector. Listing it imports none of them, and never torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from scanward.errors import ArgumentError

Kind = Literal["detector", "attack", "protector", "judge"]


@dataclass(frozen=True)
class Method:
    """One row: what `scanward methods` prints, and where the code is."""

    name: str
    kind: Kind
    factory: str
    """`module:attribute`; the attribute called without arguments gives the method."""
    modality: str
    summary: str
    weights: tuple[str, ...] = ()
    """Names in `weights/manifest.toml`."""
    trainer: str = ""
    """`module:function` that `scanward train` calls, where the method is trained."""
    action: str = ""
    """`inject` or `remove`, for the attacks that need no more than a host and a place."""
    options: tuple[str, ...] = ()
    """Keyword arguments of the factory that `scanward inject` and `remove` offer."""
    digital: bool = False
    """An attack for digital mammograms, not for films."""
    lesion: str = "mass"
    """What an injection into a mammogram makes; `augment` annotates masses."""
    reach: float = 0.0
    """Radii from the middle of what an attack for digital mammograms makes to where its change ends, where it bends the
    edge of a pectoral muscle: places are chosen so far off it."""
    views: bool = False
    """An injection that can be given a `view`: one lesion seen in two."""


_CGAN = ("sigma", "threshold", "alpha", "power", "grain")
_CT = ("noise", "density", "extent")


METHODS: tuple[Method, ...] = (
    Method("self-reference", "detector", "scanward.detectors.self_reference:SelfReference", "MG",
           "noise of each region against the image's own noise, dense network (default)",
           ("self-reference", "self-reference-film"), "scanward.training.self_reference:train"),
    Method("copy-move", "detector", "scanward.detectors.copy_move:CopyMove", "MG",
           "regions copied within one image, also mirrored or rotated; untrained"),
    Method("forensic-transfer", "detector", "scanward.detectors.forensic_transfer:ForensicTransfer", "MG",
           "Mammo-ForensicTransfer as published, raw pixels",
           ("forensic-transfer-raw",), "scanward.training.forensic_transfer:train"),
    Method("forensic-transfer-highpass", "detector", "scanward.detectors.forensic_transfer:ForensicTransferHighpass",
           "MG", "the same network on the high-pass residual, as ForensicTransfer feeds it",
           ("forensic-transfer-highpass",), "scanward.training.forensic_transfer:train"),
    Method("ct-self-reference", "detector", "scanward.detectors.ct_self_reference:CtSelfReference", "CT",
           "noise of each region of the lungs against the scan's own noise, dense network (default)",
           ("ct-self-reference",), "scanward.training.ct_self_reference:train"),
    Method("ct-copy-move", "detector", "scanward.detectors.ct_copy_move:CtCopyMove", "CT",
           "regions of the lungs copied within one scan, also mirrored or turned, and slices that repeat; untrained"),
    Method("mammo-cgan", "attack", "scanward.attacks.mammo_cgan:MammoCgan", "MG",
           "a mass made by two cascaded conditional GANs (Bar-on 2020)", ("mammo-cgan",),
           "scanward.training.mammo_cgan:train", "inject", _CGAN),
    Method("mammo-cgan-b", "attack", "scanward.attacks.mammo_cgan:MammoCganB", "MG",
           "the same with other widths, seed and training patients: an unseen generator", ("mammo-cgan-b",),
           "scanward.training.mammo_cgan:train", "inject", _CGAN),
    Method("mammo-cgan-remove", "attack", "scanward.attacks.mammo_cgan:MammoCganRemove", "MG",
           "the twin trained on healthy tissue: a lesion painted over", ("mammo-cgan-remove",),
           "scanward.training.mammo_cgan:train", "remove", ("sigma", "power", "grain")),
    Method("mammo-digital", "attack", "scanward.attacks.mammo_digital:MammoDigital", "MG",
           "a mass of mammo-cgan's form at a digital mammogram's own pixel, under the host's own strands",
           ("mammo-cgan",), action="inject", options=("margin", "grain"), digital=True, views=True),
    Method("mammo-digital-remove", "attack", "scanward.attacks.mammo_digital:MammoDigitalRemove", "MG",
           "tissue of the same digital mammogram over a lesion, under the strands that crossed it; untrained",
           action="remove", digital=True),
    Method("mammo-calcifications", "attack", "scanward.attacks.mammo_calcifications:MammoCalcifications", "MG",
           "a group of microcalcifications, or a benign coarse one, at a digital mammogram's own pixel; untrained",
           action="inject", options=("morphology",), digital=True, lesion="calcifications",
           views=True),
    Method("mammo-distortion", "attack", "scanward.attacks.mammo_distortion:MammoDistortion", "MG",
           "architectural distortion without a mass: tissue drawn to a point, strands that radiate; untrained",
           action="inject", options=("grain",), digital=True, lesion="distortions", reach=1.4,
           views=True),
    Method("partial-conv", "attack", "scanward.attacks.partial_conv:PartialConv", "MG",
           "removal by partial convolutions (Liu et al. 2018)", ("partial-conv",),
           "scanward.training.partial_conv:train", "remove", ("through",)),
    Method("diffusion", "attack", "scanward.attacks.diffusion:Diffusion", "MG",
           "removal by a small diffusion model (after Saharia et al. 2022); no detector is trained on it",
           ("diffusion",), "scanward.training.diffusion:train", "remove"),
    Method("copy-move", "attack", "scanward.attacks.copy_move:CopyMove", "MG", "a region of the host pasted elsewhere"),
    Method("splice", "attack", "scanward.attacks.splice:Splice", "MG",
           "a real lesion of another image, feathered or gradient-domain"),
    Method("composed-mass", "attack", "scanward.attacks.splice:ComposedMass", "MG",
           "a mass composed from shape and texture models", action="inject"),
    Method("faithful-mass", "attack", "scanward.attacks.splice:FaithfulMass", "MG",
           "the same under the host's own grain: the hard case", action="inject"),
    Method("inpaint-telea", "attack", "scanward.attacks.inpaint:Telea", "MG", "removal by fast marching (Telea 2004)",
           action="remove"),
    Method("inpaint-ns", "attack", "scanward.attacks.inpaint:NavierStokes", "MG",
           "removal by Navier-Stokes inpainting (Bertalmio 2001)", action="remove"),
    Method("resample", "attack", "scanward.attacks.patches:Resample", "MG",
           "a region resized, rotated or warped in place"),
    Method("noise", "attack", "scanward.attacks.patches:Noise", "MG", "grain added to a region"),
    Method("blur", "attack", "scanward.attacks.patches:Blur", "MG", "a region smoothed"),
    Method("jpeg", "attack", "scanward.attacks.patches:Jpeg", "MG", "a region through JPEG"),
    Method("self-blend", "attack", "scanward.attacks.self_blend:SelfBlend", "MG",
           "the host blended with an altered copy of itself; for training"),
    Method("ct-gan", "attack", "scanward.attacks.ct_gan:CtGan", "CT",
           "a lung nodule painted by a 3-D conditional GAN (Mirsky et al. 2019)", ("ct-gan",),
           "scanward.training.ct_gan:train", "inject", _CT),
    Method("ct-gan-b", "attack", "scanward.attacks.ct_gan:CtGanB", "CT",
           "the same with other patients, widths and seed: an unseen attacker", ("ct-gan-b",),
           "scanward.training.ct_gan:train", "inject", _CT),
    Method("ct-gan-remove", "attack", "scanward.attacks.ct_gan:CtGanRemove", "CT",
           "the twin trained on healthy lung: a nodule painted over", ("ct-gan-remove",),
           "scanward.training.ct_gan:train", "remove", ("noise", "extent")),
    Method("ct-gan-b-remove", "attack", "scanward.attacks.ct_gan:CtGanBRemove", "CT",
           "the unseen attacker's twin", ("ct-gan-b-remove",),
           "scanward.training.ct_gan:train", "remove", ("noise", "extent")),
    Method("ct-gan-plain", "attack", "scanward.attacks.ct_gan:CtGanPlain", "CT",
           "the published kind, told neither shape nor density", ("ct-gan-plain",),
           "scanward.training.ct_gan:train", "inject", ("noise", "extent")),
    Method("ct-gan-plain-b", "attack", "scanward.attacks.ct_gan:CtGanPlainB", "CT",
           "the published kind with other patients, widths and seed", ("ct-gan-plain-b",),
           "scanward.training.ct_gan:train", "inject", ("noise", "extent")),
    Method("ct-diffusion", "attack", "scanward.attacks.ct_diffusion:CtDiffusion", "CT",
           "a nodule drawn by a 3-D diffusion model: an unseen attacker of another kind", ("ct-diffusion",),
           "scanward.training.ct_diffusion:train", "inject", _CT),
    Method("ct-diffusion-remove", "attack", "scanward.attacks.ct_diffusion:CtDiffusionRemove", "CT",
           "the same model painting a nodule over", ("ct-diffusion",), action="remove", options=("noise", "extent")),
    Method("projection", "attack", "scanward.attacks.projection:Projection", "CT",
           "a nodule inserted in the projections, reconstructed as the scan was (Chen et al. 2016); no detector is "
           "trained on it", action="inject", options=("density",)),
    Method("projection-remove", "attack", "scanward.attacks.projection:ProjectionRemove", "CT",
           "a nodule's excess over the lung taken off the projections; no detector is trained on it", action="remove"),
    Method("ct-copy-move", "attack", "scanward.attacks.ct_copy_move:CtCopyMove", "CT",
           "something dense of the same scan's lungs pasted elsewhere, also mirrored or turned", action="inject"),
    Method("ct-copy-move-remove", "attack", "scanward.attacks.ct_copy_move:CtCopyMoveRemove", "CT",
           "lung of the same scan pasted over a nodule, also mirrored or turned", action="remove"),
    Method("mits-gan", "protector", "scanward.protectors.mits_gan:MitsGan", "CT",
           "a bounded change around known places, trained through the attack", ("mits-gan",),
           "scanward.training.mits_gan:train"),
    Method("mits-gan-published", "protector", "scanward.protectors.mits_gan:MitsGanPublished", "CT",
           "MITS-GAN as published, whole slices, without a bound", ("mits-gan-published",),
           "scanward.training.mits_gan_published:train"),
    Method("mits-gan-repaired", "protector", "scanward.protectors.mits_gan:MitsGanRepaired", "CT",
           "its generator bound to a few HU over whole scans, trained through the attack", ("mits-gan-repaired",),
           "scanward.training.mits_gan_repaired:train"),
    Method("tafim", "protector", "scanward.protectors.tafim:Tafim", "CT",
           "TAFIM (Aneja et al. 2022) adapted to CT, whole slices, without a bound", ("tafim",),
           "scanward.training.tafim:train"),
    Method("watermark", "protector", "scanward.protectors.watermark:Watermark", "CT",
           "a keyed pattern of a few HU over the lungs, missing where something is painted in later; untrained"),
    Method("nodule-judge", "judge", "scanward.bench.judge:NoduleJudge", "CT",
           "whether a place shows a nodule; measures attacks on the scans that ct-gan has not seen", ("nodule-judge",),
           "scanward.training.judge:train"),
    Method("nodule-judge-b", "judge", "scanward.bench.judge:NoduleJudgeB", "CT",
           "the same for the scans that ct-gan-b has not seen", ("nodule-judge-b",), "scanward.training.judge:train"),
)

DEFAULT = "default"
"""The method of a plain `scanward scan`: the detectors of the image's modality together (`modality.py`)."""


def find(name: str, kind: Kind) -> Method:
    """The row of `name`; `ArgumentError` with the known names if there is none."""
    for method in METHODS:
        if method.name == name and method.kind == kind:
            return method
    known = ", ".join([DEFAULT] * (kind == "detector") + [m.name for m in METHODS if m.kind == kind])
    raise ArgumentError(f"No {kind} is called {name!r}; choose one of: {known}.")


def build(name: str, kind: Kind, **options: Any) -> Any:
    """The method itself, imported now, with some of the `options` of its row."""
    module, attribute = find(name, kind).factory.split(":")
    return getattr(import_module(module), attribute)(**options)
