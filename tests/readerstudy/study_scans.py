"""Small chest CTs, forgeries of them, and the two views of breasts, for the tests of the reader study."""

from __future__ import annotations

import cv2
import nibabel
import numpy as np
from objects import axial_series
from pydicom.uid import generate_uid
from study_films import breast, protocol

from scanward.forgery.files import forge_file
from scanward.forgery.order import Order

SHAPE, MM = (24, 120, 120), 2.5


def hounsfield(seed, shape=SHAPE):
    """A body with two lungs, which taper to the head, and a bright ball in each, (z, y, x); each seed another chest."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:shape[0], :shape[1], :shape[2]]
    values = np.where(np.hypot((y - 60) / 55, (x - 60) / 58) < 1, 40.0, -1000.0)
    for side in (35, 85):
        values = np.where(np.hypot((y - 60) / (46 - z), (x - side) / (21 - z / 2)) < 1, -860.0, values)
        middle = rng.uniform((6, 50, side - 4), (14, 70, side + 4))
        values[np.sqrt((z - middle[0])**2 + (y - middle[1])**2 + (x - middle[2])**2) < 2] = 30
    return np.rint(values + rng.normal(0, 15, shape)).astype(np.int16)


def nifti(path, values, mm=MM):
    """A volume that lies as an ordinary axial scan, feet first."""
    made = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([-mm, -mm, mm, 1.0]))
    made.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(made, path)
    return path


def series(folder, values, patient, **elements):
    """The same as DICOM, of somebody."""
    uid = generate_uid(entropy_srcs=[str(folder)])
    return axial_series(folder, values, MM, SeriesInstanceUID=uid, SOPInstanceUID=lambda z: f"{uid[:50]}.{z}",
                        PatientName="Somebody^Known", PatientID=patient, **elements)


def scans(folder, healthy=3, unhealthy=2, fakes=2):
    """Folders `healthy`, `unhealthy` and `set`, the last with forgeries of scans that are in neither; the protocol's
    path. Each scan is a patient's."""
    for kind, count, first in (("healthy", healthy, 0), ("unhealthy", unhealthy, 100)):
        for number in range(count):
            nifti(folder / kind / f"{kind}{number}.nii.gz", hounsfield(first + number))
    for number in range(fakes):
        host = nifti(folder / "hosts" / f"host{number}.nii.gz", hounsfield(200 + number))
        forge_file(host, folder / "set" / f"{number + 1:05d}", Order("ct-copy-move", (10.0, 12.0)), "inject",
                   seed=number)
    return scan_protocol(folder)


def scan_protocol(folder, **settings):
    """A protocol file for them; their patients are their own."""
    path = protocol(folder, **{"title": "Reading of chest CT"} | settings)
    path.write_text(path.read_text().replace('patients = "patients.csv"\n', ""))
    return path


def pairs(folder, healthy=3, fakes=2):
    """Folders `healthy`, `hosts` and `set`: of each breast two films; of the first fake both views are forged, of
    others the MLO. The protocol's path."""
    lines = ["film,patient,case,view"]

    def save(kind, number, view):
        path = folder / kind / f"{kind}{number}{view}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = 400 + 10 * number + (view == "MLO") + 100 * (kind == "hosts")
        assert cv2.imwrite(str(path), breast(seed, (320, 240) if view == "CC" else (360, 260)))
        lines.append(f"{path.name},{kind}{number},{kind}{number} L,{view}")
        return path

    for number in range(healthy):
        for view in ("CC", "MLO"):
            save("healthy", number, view)
    for number in range(fakes):
        for view in ("CC", "MLO"):
            host = save("hosts", number, view)
            if view == "MLO" or number == 0:
                forge_file(host, folder / "set" / f"{number}{view}", Order("composed-mass", (8.0, 12.0)), "inject",
                           seed=number, modality="MG", spacing=(0.2, 0.2))
    (folder / "patients.csv").write_text("\n".join(lines) + "\n")
    return protocol(folder, films={"fake": ["set", "hosts"], "healthy": ["healthy"]}, open_share=0)
