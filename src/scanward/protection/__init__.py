"""Images under keyed evidence on disk: woven in, verified, and taken out again.

The command line and the public `scanward.protect` and `scanward.verify` call these functions.
"""

from scanward.protection.files import PICTURE, RECORD, facts, protect_file, unprotect_file, verify_file
from scanward.protection.make import protect, verify

__all__ = ["PICTURE", "RECORD", "facts", "protect", "protect_file", "unprotect_file", "verify", "verify_file"]
