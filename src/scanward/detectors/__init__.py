"""Detectors: each maps an `Image` to `Evidence`."""
