"""Lesions inserted in the projection domain, and taken away there (Chen et al. 2016)."""

from scanward.attacks.projection.attack import Projection, ProjectionRemove

__all__ = ["Projection", "ProjectionRemove"]
