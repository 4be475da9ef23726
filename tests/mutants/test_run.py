from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "run", sys.modules.get("run"))  # put back afterwards
    return load("run")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package of one function whose test looks at sums of positive numbers alone."""
    package = tmp_path / "src" / "tiny_sums"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def add(a, b):\n    return abs(a) + b\n")
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_sums.py").write_text(
        "from tiny_sums import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    )
    return tmp_path


def mutation(
    runner: ModuleType, find: str, replace: str, test: str = "tests/test_sums.py"
) -> object:
    return runner.Mutation(f"{find} to {replace}", "tiny_sums/__init__.py", find, replace, (test,))


def test_a_noticed_mutant_is_no_complaint_and_the_code_stays(
    runner: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "src" / "tiny_sums" / "__init__.py").read_text()
    assert runner.run([mutation(runner, "+ b", "- b")], project) == []
    assert "noticed  + b to - b" in capsys.readouterr().out
    assert (project / "src" / "tiny_sums" / "__init__.py").read_text() == before
    assert sorted(path.name for path in project.iterdir()) == ["src", "tests"]


def test_a_surviving_mutant_is_reported(
    runner: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complaints = runner.run(
        [mutation(runner, "abs(a)", "a"), mutation(runner, "+ b", "- b")], project
    )
    assert complaints == ["survived: abs(a) to a (tests/test_sums.py)"]
    assert "SURVIVED  abs(a) to a" in capsys.readouterr().out


def test_a_mutant_that_cannot_be_imported_proves_nothing(runner: ModuleType, project: Path) -> None:
    (complaint,) = runner.run([mutation(runner, "return", "retrun")], project)
    assert complaint.startswith("no verdict on")


@pytest.mark.parametrize(("find", "count"), [("absent", 0), ("a", 4)])
def test_the_text_to_replace_must_stand_once(
    runner: ModuleType, project: Path, find: str, count: int
) -> None:
    (complaint,) = runner.run([mutation(runner, find, "x")], project)
    assert f"stands {count} times in src/tiny_sums/__init__.py" in complaint


def test_a_missing_test_file_is_reported(runner: ModuleType, project: Path) -> None:
    (complaint,) = runner.run([mutation(runner, "+ b", "- b", "tests/test_gone.py")], project)
    assert "no test file tests/test_gone.py" in complaint


def test_tests_that_fail_anyway_are_reported(runner: ModuleType, project: Path) -> None:
    (project / "tests" / "test_sums.py").write_text("def test_nothing():\n    assert False\n")
    (complaint,) = runner.run([mutation(runner, "+ b", "- b")], project)
    assert complaint.startswith("the tests fail without any mutant")


def test_the_list_is_in_step_with_the_code(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mutations", None)
    mutations = load("mutations").MUTATIONS
    assert len(mutations) >= 20
    assert len({one.name for one in mutations}) == len(mutations)
    assert [line for line in (runner._stale(one, runner.ROOT) for one in mutations) if line] == []
