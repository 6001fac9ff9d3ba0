"""Protocols and measurements on patients that no model was trained on."""
