"""A small CT series, a film and a site."""

from __future__ import annotations

from pathlib import Path

import pytest
from sealable import FILM, MG, VOLUME, ct_slice, made

from scanward.seals.signing import signer_of


@pytest.fixture(scope="session")
def site():
    return signer_of(bytes(range(32)), "General Hospital")


@pytest.fixture
def series(tmp_path) -> Path:
    """A folder of nine slices."""
    folder = tmp_path / "series"
    folder.mkdir()
    for z in range(len(VOLUME)):
        ct_slice(z).save_as(folder / f"{z}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def film(tmp_path) -> Path:
    path = tmp_path / "film.dcm"
    made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG", ImagerPixelSpacing=[0.1, 0.1], ImageLaterality="L",
         ViewPosition="MLO", SeriesInstanceUID="1.2.44").save_as(path, enforce_file_format=True)
    return path
