"""A keyed, semi-fragile watermark of a CT: what is painted into the scan afterwards lacks it, and shows."""

from scanward.protectors.watermark.read import Reading, read
from scanward.protectors.watermark.weave import Watermark

__all__ = ["Reading", "Watermark", "read"]
