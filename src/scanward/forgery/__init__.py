"""Lesions injected into and removed from mammograms and chest CT, for red teams, training and tests.

The command line and the public `scanward.inject` and `scanward.remove` call these functions.
"""

from scanward.forgery.calls import inject, inject_views, remove, remove_views
from scanward.forgery.files import PICTURE, RECORD, STAGES, Forged, check_output, forge_file
from scanward.forgery.make import check_order, check_together, default_method
from scanward.forgery.order import Order
from scanward.forgery.replay import replay
from scanward.forgery.sets import Planned, forge_many, plan_many, with_method
from scanward.forgery.views import Pair, forge_views

__all__ = ["PICTURE", "RECORD", "STAGES", "Forged", "Order", "Pair", "Planned", "check_order", "check_output",
           "check_together", "default_method", "forge_file", "forge_many", "forge_views", "inject", "inject_views",
           "plan_many", "remove", "remove_views", "replay", "with_method"]
