"""A chest that nobody has: a synthesised CT for the demo and for tests, as data of patients may not ship."""

from scanward.datasets.phantom.chest import chest_phantom

__all__ = ["chest_phantom"]
