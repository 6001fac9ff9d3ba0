"""Images on disk sealed, perturbed, held to their seals and, of earlier versions, to their records, and given back.

The command line and the public `scanward.seal`, `protect`, `verify` and `unprotect` call these functions.
"""

from scanward.protection.answer import Answer, facts
from scanward.protection.files import (
    check_answer,
    check_order,
    check_output,
    protect,
    protect_file,
    unprotect,
    unprotect_file,
)
from scanward.protection.make import Key, Perturb, key_in
from scanward.protection.records import RECORD, Records, Sealed, beside, read_record, seal_for, sealed
from scanward.protection.verifying import seal, verify, verify_file
from scanward.protectors.mits_gan import Around
from scanward.protectors.seal import Record

__all__ = ["RECORD", "Answer", "Around", "Key", "Perturb", "Record", "Records", "Sealed", "beside",
           "check_answer", "check_order", "check_output", "facts", "key_in", "protect", "protect_file", "read_record",
           "seal", "seal_for", "sealed", "unprotect", "unprotect_file", "verify", "verify_file"]
