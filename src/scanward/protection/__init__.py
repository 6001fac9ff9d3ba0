"""Images on disk perturbed, put under keyed evidence, verified, and given back as they were.

The command line and the public `scanward.protect` and `scanward.verify` call these functions.
"""

from scanward.protection.files import (
    PICTURE,
    RECORD,
    facts,
    protect_file,
    salt_in,
    unprotect_file,
    verify_file,
    verify_source,
)
from scanward.protection.make import Perturb, protect, verify
from scanward.protectors.mits_gan import Around

__all__ = ["PICTURE", "RECORD", "Around", "Perturb", "facts", "protect", "protect_file", "salt_in", "unprotect_file",
           "verify", "verify_file", "verify_source"]
