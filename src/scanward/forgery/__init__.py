"""Lesions injected into and removed from mammograms, for red teams, training and tests.

The command line and the public `scanward.inject` and `scanward.remove` call these functions.
"""

from scanward.forgery.files import MASK, PICTURE, RECORD, STAGES, Forged, forge_file
from scanward.forgery.make import Order, check_order, inject, remove
from scanward.forgery.replay import replay
from scanward.forgery.sets import forge_many

__all__ = ["MASK", "PICTURE", "RECORD", "STAGES", "Forged", "Order", "check_order", "forge_file", "forge_many",
           "inject", "remove", "replay"]
