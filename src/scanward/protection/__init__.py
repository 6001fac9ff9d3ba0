"""Images on disk perturbed, put under keyed evidence, verified, and given back as they were.

The command line and the public `scanward.protect` and `scanward.verify` call these functions.
"""

from scanward.protection.files import (
    PICTURE,
    check_answer,
    check_order,
    check_output,
    facts,
    protect_file,
    unprotect_file,
    verify_file,
)
from scanward.protection.make import Perturb, key_in, protect, verify
from scanward.protection.records import RECORD, Records, Sealed, beside, read_record, sealed
from scanward.protectors.mits_gan import Around
from scanward.protectors.seal import Record

__all__ = ["PICTURE", "RECORD", "Around", "Perturb", "Record", "Records", "Sealed", "beside", "check_answer",
           "check_order", "check_output", "facts", "key_in", "protect", "protect_file", "read_record", "sealed",
           "unprotect_file", "verify", "verify_file"]
