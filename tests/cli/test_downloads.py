from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segloop.cli import downloads
from segloop.cli.downloads import fetch_model
from segloop.weights import catalog


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of what was downloaded, ten million bytes each."""
    names: list[str] = []

    def fetch(
        checkpoint: catalog.Checkpoint, *, progress: Callable[[int, int | None], None]
    ) -> None:
        progress(0, None)
        progress(10_000_000, 20_000_000)
        names.append(checkpoint.name)

    monkeypatch.setattr(catalog, "fetch", fetch)
    monkeypatch.setenv("SEGLOOP_CACHE", str(tmp_path))
    return names


def test_a_download_is_shown(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(downloads, "LOG_SECONDS", 0.0)
    fetch_model("vit_b")
    assert fetched == ["vit_b"]
    assert "downloading vit_b: 10 of 20 in" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_there_or_no_checkpoint_is_not_downloaded(
    fetched: list[str], tmp_path: Path
) -> None:
    (tmp_path / catalog.CHECKPOINTS["vit_b"].file_name).touch()
    for name in ("vit_b", "default", "model.pth"):
        fetch_model(name)
    assert not fetched
