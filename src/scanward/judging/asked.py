"""What verdicts depend on besides the images: a run goes on only with what it began with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from scanward.judging.case import Terms
from scanward.judging.witnesses import weights_of
from scanward.nets.engine import named
from scanward.version import __version__


def asked_of(terms: Terms, record: Path | None) -> dict[str, Any]:
    """It, as JSON values."""
    secret = None if terms.key is None else hashlib.sha256(b"scanward resume" + terms.key).hexdigest()[:16]
    site = None if terms.site is None else terms.site.to_json()
    asked = {"version": __version__, "method": terms.method, "modality": terms.modality, "spacing": terms.spacing,
             "site": site, "key": secret, "record": None if record is None else str(record),
             "trust": [] if terms.trust is None else [one.said for one in terms.trust.anchors],
             "weights": weights_of(terms.method), "engine": named(), **({"marked": True} if terms.marked else {})}
    found: dict[str, Any] = json.loads(json.dumps(asked))
    return found
