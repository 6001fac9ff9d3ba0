"""`python -m scanward`."""

from scanward.cli import main

main()
