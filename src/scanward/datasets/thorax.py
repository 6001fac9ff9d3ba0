"""The chest CTs that a detector is trained, chosen and tested on, with their fixed splits by patient.

Those of `chests.py` are what attackers are trained on; what is not in the data folder's `ct` is looked for in
`ct-more`, a folder a scan, and passed over where it lies in neither. Scans without a nodule list are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scanward import formats
from scanward.anatomy.airways import lungs_alone
from scanward.anatomy.lung import Lungs
from scanward.datasets.films import Split, data_folder
from scanward.errors import UnreadableError
from scanward.image import Image

LEAST_SIDE = 144
"""Pixels of a slice."""
BY3, BY4 = "CC BY 3.0", "CC BY 4.0"
MAKERS = ("GE", "Siemens", "Philips")
"""Of whose scanners there are scans to test on."""


@dataclass(frozen=True)
class Thorax:
    """One row: a scan, or a folder of single slices of many patients."""

    name: str
    split: Split
    source: str
    """Data set and licence."""
    scanner: str
    """Maker, model and kernel as the header gives them, and the slices' distance. Where it names no maker, the kernel's
    name tells whose it is; 4D-Lung's names a planning system alone."""
    single: bool = False
    """A folder of single slices of many patients."""
    known_to: tuple[str, ...] = ()
    """Attackers that were trained on its lungs, which forge it too well to be tested there."""
    forged: bool = True
    """Whether a bench forges it, or only looks for false alarms: one scan of a scanner is enough to be forged."""

    @property
    def maker(self) -> str:
        """One of `MAKERS`; empty of a folder whose slices are of several."""
        return "" if self.single else next((name for name in MAKERS if self.scanner.startswith(name)), "")


_OURS = ("ct-gan", "ct-gan-plain", "ct-gan-remove", "ct-diffusion", "ct-diffusion-remove")
_OTHERS = ("ct-gan-b", "ct-gan-plain-b", "ct-gan-b-remove")

_CTMD = "COVID-CT-MD sample: no licence named"

SCANS: tuple[Thorax, ...] = (
    Thorax("cptac-lscc-C3N-00247", "train", f"CPTAC-LSCC: {BY4}", "Siemens, B70f, 3 mm", known_to=_OTHERS),
    Thorax("lidc-idri-0001", "train", f"LIDC-IDRI: {BY3}", "GE LightSpeed Plus, STANDARD, 2.5 mm", known_to=_OURS),
    Thorax("lidc-idri-0002", "train", f"LIDC-IDRI: {BY3}", "GE, 1.25 mm"),
    Thorax("lidc-idri-0003", "train", f"LIDC-IDRI: {BY3}", "GE, 2.5 mm", known_to=_OURS),
    Thorax("cmb-crc-msb-01068", "train", f"CMB-CRC: {BY4}", "GE LightSpeed VCT, LUNG, 2.5 mm"),
    Thorax("rider-pilot-0117", "train", "RIDER Pilot: TCIA", "GE LightSpeed16, STANDARD, .8 mm"),
    Thorax("r01-001", "train", f"NSCLC Radiogenomics: {BY3}", "Siemens, B45f, 1 mm"),
    Thorax("nlst-100252", "train", f"NLST: {BY4}", "GE HiSpeed QX/i, STANDARD, 2.5 mm"),
    Thorax("4dlung-113", "train", f"4D-Lung: {BY3}", "Philips, 4-D CT, 3 mm"),
    Thorax("tcga-slices", "train", f"TCGA-LUAD and TCGA-LUSC: {BY3}", "19 models of Siemens and GE, single slices",
           True),
    Thorax("covid-nysbu", "train", f"COVID-19-NY-SBU: {BY4}", "GE and Toshiba, single slices", True),
    Thorax("lidc-idri-0006", "train", f"LIDC-IDRI: {BY3}", "GE LightSpeed16, STANDARD, 2.5 mm"),
    Thorax("lidc-idri-0013", "train", f"LIDC-IDRI: {BY3}", "GE LightSpeed Plus, STANDARD, 2.5 mm"),
    *(Thorax(f"qin-{name}", "train", f"QIN LUNG CT: {BY3}", f"Siemens Sensation {kind}, 3 mm") for name, kind in (
        ("lsc-0003", "40, B41f"), ("lsc-0014", "40, B41f"), ("lsc-0028", "16, B41f"), ("lung-01-0013", "16, B41f"),
        ("lsc-0088", "16, B40f"))),
    Thorax("nsclc-lung1-001", "val", "NSCLC-Radiomics: CC BY-NC 3.0", "Siemens Biograph 40, B19f, 3 mm"),
    *(Thorax(f"ricord-{name}", "val", "MIDRC-RICORD-1A/1B: CC BY-NC 4.0", "GE, STANDARD, 3 mm, ten slices")
      for name in ("neg-1", "neg-2", "neg-3", "neg-4", "neg-5", "pos-1", "pos-2", "pos-3")),
    Thorax("osic-00423", "val", "OSIC Pulmonary Fibrosis Progression: competition rules, research only",
           "Philips Brilliance 64, D, 1 mm"),
    Thorax("qin-lsc-0064", "val", f"QIN LUNG CT: {BY3}", "Siemens Sensation 64, B30f, 3 mm"),
    Thorax("lidc-idri-0314", "test", f"LIDC-IDRI: {BY3}", "Philips Brilliance 16P, D, 1 mm"),
    Thorax("lung-fused-ct-pathology-1", "test", f"Lung-Fused-CT-Pathology: {BY3}", "Siemens, B31f, 1 mm",
           known_to=_OURS),
    Thorax("ricord-1a-001012", "test", "MIDRC-RICORD-1A: CC BY-NC 4.0", "GE, STANDARD, 1.25 mm"),
    Thorax("lidc-idri-1011", "test", f"LIDC-IDRI: {BY3}", "GE LightSpeed Plus, STANDARD, 2.5 mm"),
    Thorax("qin-lung-01-0007", "test", f"QIN LUNG CT: {BY3}", "Siemens Sensation 64, B30f, 3 mm", forged=False),
    Thorax("qin-lsc-0049", "test", f"QIN LUNG CT: {BY3}", "Siemens Sensation 40, B41f, 3 mm", forged=False),
    Thorax("covidctmd-normal001", "test", _CTMD, "Siemens SOMATOM Scope, D40s, 2 mm", forged=False),
    Thorax("covidctmd-normal002", "test", _CTMD, "Siemens SOMATOM Scope, B41s, 2 mm", forged=False),
    *(Thorax(f"covidctmd-{name}", "test", _CTMD, "Siemens SOMATOM Scope, D40s, 2 mm", forged=False)
      for name in ("cap001", "cap002", "p001", "p002")),
)


@dataclass(frozen=True)
class Scan:
    """One chest CT, read."""

    name: str
    image: Image
    lungs: Lungs
    maker: str = ""
    """One of `MAKERS`, or what the header says of a maker that is none of them."""


def scans(split: Split, data: Path | None = None) -> Iterator[Scan]:
    """The scans of a split that lie in the data folder, read one by one, slices of many patients each as one.

    `UnreadableError` where none lies there.
    """
    found = False
    for row in SCANS:
        if row.split == split:
            for scan in read(row, data):
                found = True
                yield scan
    if not found:
        raise UnreadableError(f"{data_folder(data)} holds no chest CT of the split {split}; name the data folder with "
                              "--data or SCANWARD_DATA.")


def place_of(name: str, data: Path | None = None) -> Path | None:
    """The folder of a scan; None where it lies nowhere in the data folder."""
    folder = data_folder(data)
    return next((one for one in (folder / "ct-more" / name, folder / "ct" / name) if one.is_dir()), None)


def read(row: Thorax, data: Path | None = None) -> Iterator[Scan]:
    """What lies in a row's folder; nothing where there is none, the whole scan where a part lies beside it."""
    for name, image in images(row, data):
        spacing = image.spacing or (1.0, 1.0, 1.0)
        # a single slice has too little of a lung to be found by its volume
        lungs = lungs_alone(replace(image, spacing=(60.0, *spacing[1:])) if row.single else image)
        if lungs.mask.any():
            yield Scan(name, image, lungs, row.maker or maker_of(image.provenance.manufacturer or ""))


def maker_of(said: str) -> str:
    """One of `MAKERS` where a header's manufacturer begins with its name, in any case; otherwise what it says."""
    return next((name for name in MAKERS if said.upper().startswith(name.upper())), said)


def images(row: Thorax, data: Path | None = None) -> Iterator[tuple[str, Image]]:
    """The same with and without lungs, each with its name; none of slices that are too small."""
    place = place_of(row.name, data)
    if place is None:
        return
    for path in sorted(place.iterdir()) if row.single else [place]:
        for source in formats.find([path])[0]:
            image = formats.read(source, modality="CT")
            if min(image.shape[1:]) >= LEAST_SIDE:
                yield f"{row.name}/{path.name}" if row.single else row.name, image
