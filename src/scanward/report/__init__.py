"""Heat maps, HTML and JSON for people and programs."""
