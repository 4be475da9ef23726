"""`python -m segloop` is the command line."""

from __future__ import annotations

from segloop.cli.main import main

if __name__ == "__main__":
    main()
