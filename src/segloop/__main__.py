"""`python -m segloop` is the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C is one line from the first import on."""
    try:
        from segloop.cli.main import main as run

        run()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("segloop: error: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
