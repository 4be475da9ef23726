from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from segloop.cli.main import build_app

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

HW = (120, 160)  # of which 1.5 pixels are within reach


@pytest.fixture
def bsds(tmp_path: Path) -> Path:
    """Two pictures of a bright rectangle, and its outline as two people drew it."""
    folder = tmp_path / "data"
    for part in ("images", "groundTruth"):
        (folder / part / "test").mkdir(parents=True)
    for name in ("100", "200"):
        pixels = np.full((*HW, 3), 40, dtype=np.uint8)
        pixels[32:90, 36:120] = 220
        Image.fromarray(pixels).save(folder / f"images/test/{name}.jpg", quality=95)
        outline = np.zeros(HW, dtype=np.uint8)
        outline[32, 36:120] = outline[89, 36:120] = outline[32:90, 36] = outline[32:90, 119] = 1
        people = np.empty((1, 2), dtype=object)
        for person in range(2):
            drawn = np.empty((1, 1), dtype=[("Segmentation", object), ("Boundaries", object)])
            drawn[0, 0] = (np.ones(HW, dtype=np.uint16), outline)
            people[0, person] = drawn
        stream = io.BytesIO()
        savemat(stream, {"groundTruth": people})
        (folder / f"groundTruth/test/{name}.mat").write_bytes(stream.getvalue())
    return folder


def test_edges_prints_a_table_writes_the_numbers_and_goes_on(
    toy_export: ExportReport, bsds: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", "edges", str(bsds), "--model", str(toy_export.folder)]
    arguments += ["-o", str(out), "--points-per-side", "2"]

    def run(*more: str) -> str:
        result = CliRunner().invoke(build_app(), [*arguments, *more], catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    table = run("--limit", "1")
    assert "published: SAM ViT-H" in table
    # The outline lies within a pixel of where either operator sees it.
    canny = next(line for line in table.splitlines() if line.startswith("Canny")).split()
    assert float(canny[2]) > 0.9
    journal = out / "journal" / "edges-bsds500-test.jsonl"
    first = journal.read_text()
    run("--jobs", "2")
    assert journal.read_text().startswith(first)
    report = json.loads((out / "edges.json").read_text())
    assert [one["model"] for one in report["datasets"]][1:] == ["Sobel", "Canny"]
    assert [one["counts"]["num_images"] for one in report["datasets"]] == [2, 2, 2]
    assert len((out / "edges.jsonl").read_text().splitlines()) == 6


def test_data_that_is_not_bsds(bsds: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ([str(bsds), "--split", "val"], "holds no images/val"),
        ([str(bsds), "--split", "all"], "splits test, val, train"),
        ([str(tmp_path / "none")], "no such tar or folder"),
    ):
        result = CliRunner().invoke(
            build_app(), ["evaluate", "edges", *arguments, "-o", str(tmp_path / "out")]
        )
        assert result.exit_code == 2
        assert message in result.stderr
    assert not (tmp_path / "out").exists()
