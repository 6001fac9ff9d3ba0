"""Reading and writing files. The only room that knows pydicom and highdicom.

The public names are imported on first use, so `import scanward.formats` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanward.formats.reader import one_source, read
    from scanward.formats.sources import Source, find

_HOMES = {
    "Source": "scanward.formats.sources",
    "find": "scanward.formats.sources",
    "one_source": "scanward.formats.reader",
    "read": "scanward.formats.reader",
}

__all__ = ["Source", "find", "one_source", "read"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
