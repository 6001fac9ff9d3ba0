"""Images on disk perturbed, put under keyed evidence, verified, and given back as they were.

The command line and the public `scanward.protect` and `scanward.verify` call these functions.
"""

from scanward.protection.files import (
    PICTURE,
    check_answer,
    check_order,
    check_output,
    facts,
    protect,
    protect_file,
    unprotect,
    unprotect_file,
    verify,
    verify_file,
)
from scanward.protection.make import Key, Perturb, key_in
from scanward.protection.records import RECORD, Records, Sealed, beside, read_record, seal_for, sealed
from scanward.protectors.mits_gan import Around
from scanward.protectors.seal import Record

__all__ = ["PICTURE", "RECORD", "Around", "Key", "Perturb", "Record", "Records", "Sealed", "beside", "check_answer",
           "check_order", "check_output", "facts", "key_in", "protect", "protect_file", "read_record", "seal_for",
           "sealed", "unprotect", "unprotect_file", "verify", "verify_file"]
