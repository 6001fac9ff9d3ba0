"""Forgeries, each with its truth mask and a record it replays from."""
