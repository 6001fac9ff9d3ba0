"""Seals: a record beside an image, by which any later change shows. No voxel changes."""
