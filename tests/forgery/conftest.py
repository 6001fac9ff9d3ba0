"""Hosts to forge and the command line to forge them with."""

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from scanward import formats

MASS = ("--method", "composed-mass")
"""An attack without weights: what is tested here is what surrounds the attacks."""


def half_round(seed=0, shape=(400, 300), bits=12):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]]
    inside = np.hypot((y - shape[0] / 2) / (0.45 * shape[0]), x / (0.8 * shape[1])) < 1
    tissue = 0.45 + 0.05 * np.sin(y / 9) * np.sin(x / 7) + rng.normal(0, 0.01, shape)
    return np.rint(np.where(inside, tissue, 0.01) * (2**bits - 1)).astype(np.uint16)


@pytest.fixture(scope="session")
def pixels():
    """Makes a half-round breast on black film, chest wall on the left."""
    return half_round


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "hosts" / "a füm.png"
    path.parent.mkdir()
    assert cv2.imwrite(str(path), half_round(bits=16))
    return path


@pytest.fixture
def muscular(png, pixels):
    """A breast with a pectoral muscle, .2 mm a pixel; and (y, x) where there is breast, and where muscle."""
    values = pixels(bits=16, shape=(500, 400)).astype(np.float32)
    y, x = np.mgrid[:500, :400]
    inside = values > 5000
    muscle = inside & (y - 40 < 260 * (1 - x / 130))
    values[muscle] += 16000
    return formats.read(png, modality="MG", spacing=(0.2, 0.2)).with_plane(values), inside, muscle


def film_file(path, values, **header):
    """Writes a digital mammogram (y, x) of 12 bits, .2 mm a pixel."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", generate_uid(entropy_srcs=[path.stem])
    data.Modality, data.PatientName = "MG", "Test^Film"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = values.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.ImagerPixelSpacing = [0.2, 0.2]
    data.PixelData = values.tobytes()
    data["PixelData"].VR = "OW"
    for keyword, value in header.items():
        setattr(data, keyword, value)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def dicom(tmp_path):
    return film_file(tmp_path / "film.dcm", half_round())


@pytest.fixture
def write_film():
    return film_file


@pytest.fixture
def inject(run):
    """Injects a composed mass into a host that says nothing of itself."""

    def _inject(host, out, *more, size=10):
        return run("inject", host, "-o", out, "--size", size, "--spacing", 0.2, "--modality", "MG", *MASS, *more)

    return _inject
