"""Breaks the code in listed ways and asks the tests: every mutant must be noticed (make mutants).

    python tests/mutants/run.py [WORD ...]    only mutants whose name holds one of the words

The code is broken in a temporary copy of src, never in place. It fails where a mutant survives, where a text to be replaced
does not stand exactly once in its file, or where the tests fail without any mutant.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PASSED, _FAILED = 0, 1  # pytest's exit codes


@dataclass(frozen=True)
class Mutation:
    """One way to break the code: in `file` (below src) `find` becomes `replace`; one of the `tests` must notice."""

    name: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]


def run(mutations: Sequence[Mutation], root: Path) -> list[str]:
    """Complaints, none if every mutant was noticed; progress goes to standard output."""
    stale = [line for line in (_stale(mutation, root) for mutation in mutations) if line]
    if stale:
        return stale
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    print(f"{len(tests)} test files without a mutant ...", flush=True)
    code, output = _test(root, tests, None)
    if code != _PASSED:
        return [f"the tests fail without any mutant:\n{output}"]

    complaints = []
    for number, mutation in enumerate(mutations, start=1):
        code, output = _test(root, mutation.tests, mutation)
        verdict = {_FAILED: "noticed", _PASSED: "SURVIVED"}.get(code, "BROKEN")
        print(f"{number:3d}/{len(mutations)}  {verdict}  {mutation.name}", flush=True)
        if code == _PASSED:
            complaints.append(f"survived: {mutation.name} ({', '.join(mutation.tests)})")
        elif code != _FAILED:
            complaints.append(
                f"no verdict on: {mutation.name} (pytest ended with {code})\n{output}"
            )
    return complaints


def _stale(mutation: Mutation, root: Path) -> str | None:
    missing = [test for test in mutation.tests if not (root / test).is_file()]
    if missing or not mutation.tests:
        return f"{mutation.name}: no test file {', '.join(missing)}"
    path = root / "src" / mutation.file
    count = path.read_text(encoding="utf-8").count(mutation.find) if path.is_file() else 0
    if count != 1:
        return f"{mutation.name}: {mutation.find!r} stands {count} times in src/{mutation.file}, not once"
    return None


def _test(root: Path, tests: Sequence[str], mutation: Mutation | None) -> tuple[int, str]:
    """Exit code and last lines of pytest on a copy of src with the mutation in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "src"
        shutil.copytree(root / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        if mutation is not None:
            path = copy / mutation.file
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(mutation.find, mutation.replace), encoding="utf-8")
        # The path comes before an editable install of the same package.
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.setdefault("OMP_NUM_THREADS", "1")  # small models only wait for one another
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=line"]
        finished = subprocess.run(
            [*command, "-p", "no:cacheprovider", "--no-showlocals", *tests],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    lines = (finished.stdout + finished.stderr).splitlines()
    return finished.returncode, "\n".join(lines[-15:])


def main(words: Sequence[str]) -> int:
    """Exit code: 0 if every chosen mutant was noticed."""
    sys.path.insert(0, str(Path(__file__).parent))
    from mutations import MUTATIONS

    chosen = [one for one in MUTATIONS if not words or any(word in one.name for word in words)]
    if not chosen:
        print(f"no mutant is named like {', '.join(words)}", file=sys.stderr)
        return 2
    complaints = run(chosen, ROOT)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(
        f"{len(chosen) - len(complaints)} of {len(chosen)} mutants noticed"
        if not complaints
        else "FAILED"
    )
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.modules.setdefault(
        "run", sys.modules["__main__"]
    )  # the list below imports Mutation from here
    sys.exit(main(sys.argv[1:]))
