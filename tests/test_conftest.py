"""The rule about skips: free on someone's own machine, forbidden under SEGLOOP_CI=1 save for accelerators.

The inner runs are processes of their own: torch cannot be imported twice in one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SKIPPING_TESTS = """
import pytest

@pytest.fixture
def absent_tool():
    pytest.skip("the tool is missing")

@pytest.mark.gpu
def test_accelerated():
    pytest.skip("no accelerator")

def test_skipping_in_its_body():
    pytest.skip("the data is missing")

def test_skipping_in_a_fixture(absent_tool):
    pass

@pytest.mark.skip(reason="not today")
def test_skipping_by_mark():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_expected_failure():
    assert 1 == 2

def test_running():
    pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = gpu: needs an accelerator\n")
    return pytester


def test_skips_are_free_on_ones_own_machine(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEGLOOP_CI", raising=False)
    project.makepyfile(SKIPPING_TESTS)
    project.runpytest_subprocess().assert_outcomes(passed=1, skipped=4, xfailed=1)


def test_ci_fails_every_skip_but_that_for_an_accelerator(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGLOOP_CI", "1")
    project.makepyfile(SKIPPING_TESTS)
    result = project.runpytest_subprocess()
    # A skip during set-up is reported as an error of the set-up, one in the body as a failure.
    result.assert_outcomes(passed=1, skipped=1, xfailed=1, failed=1, errors=2)
    result.stdout.fnmatch_lines(["*allows no skip*the data is missing*"])
    result.stdout.fnmatch_lines(["*allows no skip*the tool is missing*"])


def test_ci_fails_a_module_that_skips_itself(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGLOOP_CI", "1")
    project.makepyfile('import pytest\npytest.importorskip("no_such_package")\ndef test_it(): pass')
    result = project.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*allows no skip*no_such_package*"])


def test_a_gpu_test_skips_where_there_is_no_accelerator(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SEGLOOP_CI", "1")
    project.makepyfile(
        "import pytest\n@pytest.mark.gpu\ndef test_it(): raise AssertionError('it ran')"
    )
    project.runpytest_subprocess().assert_outcomes(skipped=1)


def test_shared_dir_follows_the_environment(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.makepyfile(
        f"from pathlib import Path\ndef test_it(shared_dir): assert shared_dir == Path({str(tmp_path)!r})"
    )
    monkeypatch.setenv("SEGLOOP_SHARED", str(tmp_path))
    project.runpytest_subprocess().assert_outcomes(passed=1)
    monkeypatch.setenv("SEGLOOP_SHARED", str(tmp_path / "absent"))
    monkeypatch.setenv("SEGLOOP_CI", "0")
    result = project.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no data folder at*SEGLOOP_SHARED*"])
