"""Exit codes, the first three the same as clamscan's. Of several the first of 2, 1, 3, 0 counts."""

CLEAN = 0
FOUND = 1
ERROR = 2
"""At least one error, even where something was found too."""
UNSURE = 3
"""At least one image inconclusive, and none tampered."""
INTERRUPTED = 130

PLAIN = "Exit codes: 0 done, 2 an error, 130 interrupted."
"""What `--help` says below the options of commands that judge nothing, and `JUDGING` below those that do."""
JUDGING = ("Exit codes: 0 every image authentic, 1 one tampered, 2 an error, 3 one inconclusive and none tampered, "
           "130 interrupted. Where several hold, 2 comes before 1, and 1 before 3.")


def worst(codes: set[int]) -> int:
    """The one that counts of several."""
    return next((code for code in (ERROR, FOUND, UNSURE) if code in codes), CLEAN)
