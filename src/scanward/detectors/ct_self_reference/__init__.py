"""Noise of each region of a CT against the noise of the whole scan."""
