"""Keyed evidence: a pattern of a few HU in the image and a record beside it, by which any change shows."""

from scanward.protectors.evidence.answer import Answer, Found, verify
from scanward.protectors.evidence.keys import make_key, read_key
from scanward.protectors.evidence.record import Record, from_json
from scanward.protectors.evidence.weave import unweave, weave

__all__ = ["Answer", "Found", "Record", "from_json", "make_key", "read_key", "unweave", "verify", "weave"]
