from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import segloop
from segloop.evaluate.conditions import Device, commit_of, describe_conditions, describe_device


def test_machine_and_versions_are_told() -> None:
    conditions = describe_conditions()
    assert conditions.versions["segloop"] == segloop.__version__
    assert {"numpy", "scipy", "pycocotools"} <= conditions.versions.keys()
    machine = conditions.machine
    assert machine.processors is None or machine.processors >= 1
    assert machine.memory_bytes is None or machine.memory_bytes > 100_000_000


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "src" / "package").mkdir(parents=True)
    (tmp_path / "src" / "package" / "a.py").write_text("a = 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_the_commit_is_that_of_the_checkout_and_says_whether_files_were_changed(
    checkout: Path,
) -> None:
    folder = checkout / "src" / "package"
    told = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    head = subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()
    assert commit_of(folder) == head
    (checkout / "README").write_text("not of the package")
    assert commit_of(folder) == head
    (folder / "a.py").write_text("a = 2\n")
    assert commit_of(folder) == f"{head}+"


def test_an_installed_package_has_no_commit(checkout: Path, tmp_path_factory) -> None:
    assert commit_of(tmp_path_factory.mktemp("site-packages") / "package") is None
    # A package in an environment inside somebody's own checkout is not of that checkout.
    assert commit_of(checkout / ".venv" / "site-packages" / "package") is None


def test_the_device_is_told_with_the_name_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU behind {device}")
    assert describe_device("cpu") == Device("cpu", None)
    assert describe_device("cuda:1") == Device("cuda:1", "GPU behind cuda:1")
