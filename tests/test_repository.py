"""Rules about the repository itself: sizes, names, the mirror of modules and tests, the public surface, a light import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import segloop

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "segloop"
TESTS = ROOT / "tests"

MAX_FILE_LINES = 400
MAX_MODEL_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_TRACKED_BYTES = 20_000_000
VAGUE_NAMES = {"util", "utils", "misc", "common", "helper", "helpers"}

# Folders of tests about several modules at once, and tests of what is not a module of the package.
UNMIRRORED_FOLDERS = {"vectors", "golden", "parity", "e2e", "mutants"}
UNMIRRORED_TESTS = {
    "test_repository.py",
    "test_conftest.py",
    "test_bad_input.py",
    "data/sets/test_how_to.py",
}

PUBLIC_NAMES = {
    "AutomaticConfig",
    "Backend",
    "Embedding",
    "EncodedMasks",
    "Frame",
    "ImageError",
    "InputError",
    "MaskBatch",
    "Predictor",
    "Prompt",
    "WeightsError",
    "__version__",
    "generate",
    "load",
    "load_image",
}

# What `import segloop` may load beside the standard library.
LIGHT_PACKAGES = {"segloop"}

# Folders that only a builder's machine has: nothing in the repository may point into them.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:work|root|opt/(?:wheels?|pypi)|home/\w+|tmp/(?:brief|bash_jobs?))(?=[/.\s\"'`)]|$)"
)


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tracked_files() -> list[Path]:
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git cannot list this repository's files")
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file()]


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_keep_their_line_budget() -> None:
    too_long = []
    for path in python_files("src", "tests", "benchmarks", "examples"):
        is_model = path.is_relative_to(SOURCE / "model")
        limit = MAX_MODEL_FILE_LINES if is_model else MAX_FILE_LINES
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        if num_lines > limit:
            too_long.append(f"{path.relative_to(ROOT)}: {num_lines} lines, at most {limit}")
    assert not too_long, "\n".join(too_long)


def test_files_of_the_web_page_keep_their_line_budget() -> None:
    generated = ROOT / "web" / "src" / "api" / "schema.d.ts"
    files = [path for path in (ROOT / "web" / "src").rglob("*.*") if path != generated]
    assert len(files) > 20
    too_long = [
        path.relative_to(ROOT)
        for path in files
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_FILE_LINES
    ]
    assert not too_long


def test_functions_keep_their_line_budget() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in python_files("src", "tests", "benchmarks", "examples")
        for node in functions_of(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not too_long, f"more than {MAX_FUNCTION_LINES} lines:\n" + "\n".join(too_long)


def test_no_file_is_named_for_nothing() -> None:
    vague = [
        path.relative_to(ROOT)
        for path in tracked_files()
        if VAGUE_NAMES & {part.split(".")[0].lower() for part in path.relative_to(ROOT).parts}
    ]
    assert not vague


def test_every_module_has_its_test() -> None:
    missing = []
    for path in python_files("src"):
        inner = path.relative_to(SOURCE)
        if path.name in ("__init__.py", "__main__.py"):
            continue
        test = TESTS / inner.parent / f"test_{inner.name}"
        if not test.is_file():
            missing.append(f"{inner} lacks {test.relative_to(ROOT)}")
    assert not missing, "\n".join(missing)


def test_every_test_has_its_module() -> None:
    stray = []
    for path in TESTS.rglob("test_*.py"):
        inner = path.relative_to(TESTS)
        if inner.parts[0] in UNMIRRORED_FOLDERS or str(inner) in UNMIRRORED_TESTS:
            continue
        module = SOURCE / inner.parent / inner.name.removeprefix("test_")
        in_repository = ROOT / inner.parent / inner.name.removeprefix("test_")
        if not module.is_file() and not in_repository.is_file():
            stray.append(f"tests/{inner} tests no module")
    assert not stray, "\n".join(sorted(stray))


def test_public_names_are_those_listed_here_and_all_load() -> None:
    assert set(segloop.__all__) == PUBLIC_NAMES
    assert dir(segloop) == sorted(PUBLIC_NAMES)
    for name in PUBLIC_NAMES:
        assert getattr(segloop, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = segloop.nothing


def test_importing_segloop_is_light() -> None:
    script = (
        "import sys; before = set(sys.modules); import segloop; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    completed = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, check=True, text=True
    )
    loaded = set(completed.stdout.split())
    assert loaded - set(sys.stdlib_module_names) == LIGHT_PACKAGES


def test_names_in_the_documentation_exist() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    unknown = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in pages
        for name in set(re.findall(r"`(segloop(?:\.\w+)+)", page.read_text(encoding="utf-8")))
        if not is_defined(name.split(".")[1:])
    ]
    assert not unknown, "\n".join(sorted(unknown))


def test_every_recipe_says_how_it_is_run_and_how_long_it_takes() -> None:
    for path in python_files("src/segloop/train/recipes"):
        if path.name != "__init__.py":
            header = ast.get_docstring(ast.parse(path.read_text())) or ""
            assert "segloop train " in header, f"{path.name} names no command"
            assert re.search(r"\bhours?\b", header), f"{path.name} says nothing of hours"
            assert re.search(r"\.\d|\d%|no numbers|docs/", header), f"{path.name}: what to expect?"


def is_defined(parts: list[str]) -> bool:
    """Whether segloop.PARTS is a public name, a module, or something defined in one; nothing is imported."""
    if parts[0] in PUBLIC_NAMES:
        home = segloop._HOMES.get(parts[0])
        return home is None or is_defined([*home.split(".")[1:], *parts])
    place, body = SOURCE, None
    for part in parts:
        if body is None and (place / part).is_dir():
            place = place / part
        elif body is None and (place / f"{part}.py").is_file():
            body = ast.parse((place / f"{part}.py").read_text(encoding="utf-8")).body
        else:
            found = [node for node in body or [] if part in names_of(node)]
            if not found:
                return False
            body = getattr(found[0], "body", [])
    return True


def names_of(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_no_tracked_file_points_into_a_builders_machine() -> None:
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if MACHINE_PATH.search(line) and "MACHINE_PATH" not in line:
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def test_tracked_files_are_small() -> None:
    large = [
        f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes"
        for path in tracked_files()
        if path.stat().st_size >= MAX_TRACKED_BYTES
    ]
    assert not large, "\n".join(large)
