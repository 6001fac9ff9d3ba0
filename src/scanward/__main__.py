"""`python -m scanward`, and the `scanward` program."""

import sys


def main() -> None:
    """Run it; an interruption is one sentence while modules are imported, too."""
    try:
        from scanward.cli import main as program

        program()
    except KeyboardInterrupt:
        print("scanward: Interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
