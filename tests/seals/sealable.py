"""Images to be sealed."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from objects import change
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT, MG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2"
NUMBERS = np.random.default_rng(11)
VOLUME = NUMBERS.integers(0, 2500, (9, 64, 80)).astype(np.uint16)
FILM = NUMBERS.integers(0, 4096, (160, 120)).astype(np.uint16)


def made(pixels: np.ndarray, uid: str, **elements: object) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = "P17", "Doe^Jane", "19600101", "F"
    data.StudyDate, data.AccessionNumber = "20260102", "A9"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.4"
    data.SOPInstanceUID, data.SamplesPerPixel, data.PhotometricInterpretation = uid, 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    change(data, elements)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    return data


def ct_slice(z: int, pixels: np.ndarray | None = None, **elements: object) -> Dataset:
    plain = {"SOPClassUID": CT, "Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024,
             "PixelSpacing": [0.7, 0.6], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "InstanceNumber": z + 1,
             "ImagePositionPatient": [-20, -30, 2.5 * z]}
    return made(VOLUME[z] if pixels is None else pixels, f"1.2.5.{z}", **plain | elements)


@cache
def _pair(kind: str, name: str) -> tuple[bytes, bytes]:
    """A key and its certificate, of yesterday, as PEM."""
    key = rsa.generate_private_key(65537, int(kind)) if kind.isdigit() else ec.generate_private_key(
        {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key()).serial_number(7)
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=9))
    return (key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption()),
            made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def signing_pair(folder: Path, kind: str = "2048", name: str = "Scanner") -> tuple[Path, Path]:
    """The files of a private key (bits of RSA, or p256, p384, p521) and of its certificate."""
    paths = folder / f"{name}-{kind}.key", folder / f"{name}-{kind}.crt"
    for path, data in zip(paths, _pair(kind, name), strict=True):
        path.write_bytes(data)
    return paths


def rewritten(path: Path, change: Callable[[Dataset], None]) -> None:
    """A file with something in it changed."""
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)
