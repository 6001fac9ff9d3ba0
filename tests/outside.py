"""What tests need that a clone does not bring: programs and the training data. Where it is missing they skip."""

import os
import shutil
import sys
from pathlib import Path

import pytest

# Named for the code under test too: its own default hangs on the folder that pytest was started in.
DATA = Path(os.environ.setdefault("SCANWARD_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data")))
# In an activated environment pynetdicom's own storescu stands before DCMTK's, which has other options.
if sys.prefix != sys.base_prefix:
    own = Path(sys.executable).parent
    os.environ["PATH"] = os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if Path(one) != own)
DCMTK = ("dcmcjpeg", "dcmcjpls", "dcmconv", "dcmcrle", "dcmdjpeg", "dcmsign", "echoscu", "storescp", "storescu")
PACKAGES = {"chromium": "chromium", "dciodvfy": "dicom3tools", "make": "make", "openssl": "openssl",
            "Orthanc": "orthanc orthanc-dicomweb", "systemd-analyze": "systemd"} | dict.fromkeys(DCMTK, "dcmtk")
"""Debian's packages of the programs."""


def program(name: str) -> str | None:
    """The path of a program, or None where it is not installed."""
    assert name in PACKAGES, f"say in PACKAGES where {name} comes from"
    if name != "Orthanc":
        return shutil.which(name)
    if not Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so").exists():
        return None
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def need(*programs: str) -> None:
    """Skips the test, or every test with the fixture, that calls it where one of the programs is missing."""
    for name in programs:
        if program(name) is None:
            pytest.skip(f"{name} is not installed (Debian: {PACKAGES[name]})")


def need_data(*folders: str) -> None:
    """Skips where one of these folders of the training data is missing."""
    assert folders, "say which folders of the training data are needed"
    for folder in folders:
        if not (DATA / folder).is_dir():
            pytest.skip(f"no {folder} in {DATA}, the data folder; SCANWARD_DATA names another")
