"""Removal by partial convolutions (Liu et al. 2018), with which the published target domain was made."""

from scanward.attacks.partial_conv.remove import PartialConv

__all__ = ["PartialConv"]
