"""Measure on this machine, each subject in a process of its own: `make bench`, or `python -m benchmarks [SUBJECT...]`.

Prints tables and writes them to benchmarks/results/. It all takes a quarter of an hour on two cores; `default` takes one.
`training` measures nothing without a CUDA device.
"""

from __future__ import annotations

import subprocess
import sys

SUBJECTS = (
    "default",
    "encode",
    "decode",
    "everything",
    "browser",
    "page",
    "server",
    "loading",
    "training",
)


def main() -> int:
    """Run the named subjects, or all."""
    wanted = sys.argv[1:] or SUBJECTS
    unknown = [subject for subject in wanted if subject not in SUBJECTS]
    if unknown:
        print(f"no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    codes = [
        subprocess.run([sys.executable, "-m", f"benchmarks.{one}"]).returncode for one in wanted
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
