"""Scanward finds tampering with medical images, and makes the forgeries that test the finding.

    import scanward
    verdict = scanward.scan("film.dcm")
    print(verdict.label, verdict.findings)
    tamper = scanward.inject("film.dcm", size_mm=12)
    tamper.save("forged/")

- `scan` and `scan_many` judge: a `Verdict`, a `Result` for each of many.
- `find` says which images files, folders and globs name; `load` reads one.
- `calibrate` and `read_site`: the thresholds of a site's own scanners.
- `read_trust`: whose seals count beside the site's own.
- `inject` and `remove` forge a lesion: a `Tamper`, which can be saved. `inject_views` and `remove_views` forge it in
  both views of a breast: a `Pair`, which can be saved.
- `make_key`, `seal`, `verify`: a signed file beside an image, and the image held to it.
- `protect` perturbs a CT against forgers: a `Protected`, which can be saved. `unprotect` and `read_record` are for
  what earlier versions wove into images, which `verify` hears, too.

An image is a path, what `find` found, a NumPy array, or an `Image`, which `load` makes of any of these. A CT in DICOM
is the folder of its series. A path is a str or an `os.PathLike`.

Arrays are (z, y, x), a mammogram of one slice, too; so are spacings (in millimetres), boxes and the places in answers.
Only `at` of `inject` and `remove`, and `at2`, is (x, y) or (x, y, z), as on the command line and in JSON.

Everything raised on purpose is a `ScanwardError`, and its message one sentence for the user.

Names are imported when they are first used, so that `import scanward` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scanward.version import __version__

if TYPE_CHECKING:
    from scanward.attacks.base import Tamper
    from scanward.errors import (
        ArgumentError,
        InputError,
        MissingExtraError,
        ScanwardError,
        UnjudgedError,
        UnreadableError,
        UnsupportedError,
        WeightsError,
    )
    from scanward.forgery import Pair, inject, inject_views, remove, remove_views
    from scanward.formats import Source, find
    from scanward.image import Image, Provenance
    from scanward.judging.scan import Result, calibrate, load, scan, scan_many
    from scanward.judging.site import Site, read_site
    from scanward.protection import Answer, Around, Perturb, Record, protect, read_record, seal, unprotect, verify
    from scanward.protectors.base import Protected
    from scanward.protectors.seal import make_key
    from scanward.seals.trust import Trust, read_trust
    from scanward.verdict import Evidence, Finding, Verdict

_HOMES = {
    "load": "scanward.judging.scan", "scan": "scanward.judging.scan", "scan_many": "scanward.judging.scan",
    "Result": "scanward.judging.scan", "calibrate": "scanward.judging.scan",
    "Site": "scanward.judging.site", "read_site": "scanward.judging.site",
    "inject": "scanward.forgery", "remove": "scanward.forgery", "Tamper": "scanward.attacks.base",
    "inject_views": "scanward.forgery", "remove_views": "scanward.forgery", "Pair": "scanward.forgery",
    "Source": "scanward.formats", "find": "scanward.formats",
    "Around": "scanward.protection", "Perturb": "scanward.protection", "Record": "scanward.protection",
    "protect": "scanward.protection", "verify": "scanward.protection", "unprotect": "scanward.protection",
    "read_record": "scanward.protection", "Protected": "scanward.protectors.base",
    "Answer": "scanward.protection", "seal": "scanward.protection", "make_key": "scanward.protectors.seal",
    "Trust": "scanward.seals.trust", "read_trust": "scanward.seals.trust",
    "Image": "scanward.image", "Provenance": "scanward.image",
    "Evidence": "scanward.verdict", "Finding": "scanward.verdict", "Verdict": "scanward.verdict",
    "ScanwardError": "scanward.errors", "InputError": "scanward.errors", "UnreadableError": "scanward.errors",
    "UnjudgedError": "scanward.errors", "UnsupportedError": "scanward.errors", "ArgumentError": "scanward.errors",
    "WeightsError": "scanward.errors", "MissingExtraError": "scanward.errors",
}

__all__ = [
    "Answer",
    "ArgumentError",
    "Around",
    "Evidence",
    "Finding",
    "Image",
    "InputError",
    "MissingExtraError",
    "Pair",
    "Perturb",
    "Protected",
    "Provenance",
    "Record",
    "Result",
    "ScanwardError",
    "Site",
    "Source",
    "Tamper",
    "Trust",
    "UnjudgedError",
    "UnreadableError",
    "UnsupportedError",
    "Verdict",
    "WeightsError",
    "__version__",
    "calibrate",
    "find",
    "inject",
    "inject_views",
    "load",
    "make_key",
    "protect",
    "read_record",
    "read_site",
    "read_trust",
    "remove",
    "remove_views",
    "scan",
    "scan_many",
    "seal",
    "unprotect",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'scanward' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
