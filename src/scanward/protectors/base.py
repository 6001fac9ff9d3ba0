"""What every protector gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from scanward.image import Image

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Protected(Generic[Kept]):
    """An image under protection, and the record that verifies it and, with the key, undoes it."""

    image: Image
    record: Kept
