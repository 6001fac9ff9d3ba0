"""Exit codes, the same as clamscan's."""

CLEAN = 0
FOUND = 1
ERROR = 2
"""At least one error, even where something was found too."""
UNSURE = 3
"""Neither authentic nor tampered."""
INTERRUPTED = 130
