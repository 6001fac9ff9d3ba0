"""One judgement for every front door: cases, witnesses, the judge, and runs over many."""
