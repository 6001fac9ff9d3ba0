"""Protectors: what makes a forgery fail, or show."""
