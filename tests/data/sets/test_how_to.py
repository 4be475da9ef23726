"""Follows docs/guide/evaluation-sets.md, "Adding a data set", to the letter: one file, one test, one name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.data.sets.registry import open_set

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "evaluation-sets.md"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the files that the guide has one write."""
    section = GUIDE.read_text(encoding="utf-8").partition("## Adding a data set")[2]
    blocks = re.findall(r'```python title="([\w.]+)"\n(.*?)```', section, re.DOTALL)
    assert [name for name, _ in blocks] == ["cats.py", "test_cats.py"]
    for name, content in blocks:
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def test_the_guides_own_test_passes(files: Path) -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_cats.py"],
        cwd=files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "2 passed" in completed.stdout


def test_the_set_is_known_by_the_name_in_the_guides_command(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = re.search(r"evaluate points (cats\S+)=DATA/cats", GUIDE.read_text(encoding="utf-8"))
    assert command is not None
    for kind in ("photos", "labels"):
        (files / kind).mkdir()
    labels = np.array([[0, 3], [3, 3]], dtype=np.uint8)
    Image.new("RGB", (2, 2)).save(files / "photos" / "tom.jpg")
    Image.fromarray(labels).save(files / "labels" / "tom.png")
    monkeypatch.syspath_prepend(files)
    listed = open_set(command[1], files)
    assert listed.name == "cats"
    (cat,) = listed.read(0).annotations
    assert np.array_equal(cat.mask(), labels == 3)
