"""Keyed evidence: a pattern of a few HU in the image and a record beside it, by which any change shows."""

from scanward.protectors.seal.answer import Answer, Found, verify
from scanward.protectors.seal.keys import make_key, read_key
from scanward.protectors.seal.record import Record, from_json
from scanward.protectors.seal.weave import unweave, weave

__all__ = ["Answer", "Found", "Record", "from_json", "make_key", "read_key", "unweave", "verify", "weave"]
