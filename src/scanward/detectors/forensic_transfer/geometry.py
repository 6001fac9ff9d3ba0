"""Sizes that the network and what runs it must agree on."""

TILE = 256
STRIDE = 64
CELL = 16
"""Pixels a latent cell: four layers of stride 2."""
RING = 1
"""Latent cells at a tile's border that its own zero padding reaches; scores leave them out, in training too, which is
what lets one dense pass equal the tile loop."""
