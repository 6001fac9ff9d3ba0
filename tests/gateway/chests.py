"""Chests that a modality sends, and what a forger makes of them."""

import cv2
import numpy as np
import pydicom
import pytest

from scanward.gateway.scanning import Scanner
from scanward.inbox.folders import Inbox
from scanward.protectors.seal import make_key
from scanward.seals.log import Log
from scanward.settings import Gateway, Rule, Seal, Store, Work

CT, PACS = "CT_SCANNER_1", "PACS"
SLICES = 8


def chest(seed, slices=SLICES, side=256):
    """Something with organs, vessels and grain, (z, y, x) in stored values: no two seeds share any."""
    numbers = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    body = (np.hypot(x / 0.45, y / 0.35) < 1) * 1000.0
    volume = []
    organs = [cv2.GaussianBlur(numbers.normal(0, 1, (side, side)), (0, 0), s) for s in (3, 3, 12)]
    for z in range(slices):
        turn = z / 5
        tissue = organs[0] * np.cos(turn) + organs[1] * np.sin(turn)
        detail = tissue / tissue.std() * 120 + organs[2] / organs[2].std() * 200
        grain = cv2.GaussianBlur(numbers.normal(0, 60, (side, side)), (0, 0), 1.5)
        volume.append(body + 40 + (body > 0) * detail + grain)
    return np.clip(np.rint(np.array(volume)), 0, 4095).astype(np.uint16)


def series(dicom, folder, volume, **elements):
    """A CT series with these stored values, a file a slice."""
    paths = dicom.ct(folder, len(volume), **(elements | {"shape": volume.shape[1:]}))
    for path, plane in zip(paths, volume, strict=True):
        data = pydicom.dcmread(path)
        data.PixelData = plane.tobytes()
        data.save_as(path)
    return paths


def forged(volume, z=slice(3, 6), y=140, x=120, r=10):
    """The same with a nodule."""
    made = volume.copy()
    rows, columns = np.mgrid[:volume.shape[1], :volume.shape[2]]
    made[z] += (300 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (r * r / 2))).astype(np.uint16)
    return made


def blurred(volume):
    return np.array([np.rint(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 0.8)) for plane in volume], np.uint16)


def seals(gate):
    return sorted(path.name for path in (gate.root / "seals").glob("*.seal"))


def entries(gate):
    return [entry.name for entry in Log(gate.root / "log").entries()]


@pytest.fixture
def gate(tmp_path, dicom, bright):
    """Takes files in as from an AE title, scans the study, and gives back its record."""
    make_key(tmp_path / "site.key")
    inbox = Inbox(tmp_path / "in box")
    plain = Gateway(store=Store(folder=inbox.root), work=Work(method="self-reference"),
                    seal=Seal(key=tmp_path / "site.key", senders=("CT_*", "MAMMO"),
                              must_be_sealed=(Rule(sender=PACS, modality="CT"), Rule(patient="VIP-*"))))

    def arrive(paths, sender):
        for path in paths:
            dicom.arrive(inbox, path, sender, instead=plain.seal.by(sender))

    def scan(paths, sender=CT, gateway=plain):
        arrive(paths, sender)
        job = inbox.take(0, 99)
        scanned = Scanner(gateway, inbox).scan(job)
        inbox.finish(job, scanned.record)
        return scanned.record

    scan.inbox, scan.arrive, scan.gateway, scan.root = inbox, arrive, plain, inbox.root
    return scan
