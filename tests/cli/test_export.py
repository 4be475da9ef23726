from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import segloop
from segloop.cli.export import weights_file
from segloop.cli.main import build_app
from segloop.weights.catalog import default_weights

if TYPE_CHECKING:
    from segloop.model.sam import Sam


@pytest.fixture
def checkpoint(toy_model: Sam, tmp_path: Path) -> Path:
    from segloop.weights.load import save_sam

    save_sam(toy_model, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def test_weights_become_a_folder_that_loads(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    arguments = ["export", str(checkpoint), "-o", str(out), "--precision", "float16"]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert "float16" in result.stdout
    assert segloop.load(out).spec.name == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.pth"], "no such file"),
        (["damaged.pth"], "expected a PyTorch or safetensors weights file"),
        (["mine.safetensors", "--precision", "float8"], "precision is one of"),
    ],
)
@pytest.mark.usefixtures("checkpoint")
def test_what_cannot_be_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("damaged.pth").write_bytes(b"nothing of the kind")
    result = CliRunner().invoke(
        build_app(), ["export", *arguments, "-o", "out"], catch_exceptions=False
    )
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not Path("out").exists()


def test_names_and_paths_of_weights() -> None:
    assert weights_file("default") == default_weights().model
    assert weights_file("runs/mine.pth") == Path("runs/mine.pth")
