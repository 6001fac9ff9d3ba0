"""Images on disk sealed, perturbed, held to their seals and, of earlier versions, to their records, and given back.

The command line and the public `scanward.seal`, `protect`, `verify` and `unprotect` call these functions.
"""

from scanward.protection.answer import Answer
from scanward.protection.files import (
    PICTURE,
    check_answer,
    check_order,
    check_output,
    protect,
    protect_file,
    unprotect,
    unprotect_file,
    write_answer,
)
from scanward.protection.make import Key, Perturb, key_in
from scanward.protection.records import RECORD, Records, Sealed, beside, read_record, seal_for, sealed
from scanward.protection.verifying import Checking, checking, held, seal, trusted, verify
from scanward.protectors.mits_gan import Around
from scanward.protectors.seal import Record

__all__ = ["PICTURE", "RECORD", "Answer", "Around", "Checking", "Key", "Perturb", "Record", "Records", "Sealed",
           "beside", "check_answer", "check_order", "check_output", "checking", "held", "key_in", "protect",
           "protect_file", "read_record", "seal", "seal_for", "sealed", "trusted", "unprotect", "unprotect_file",
           "verify", "write_answer"]
