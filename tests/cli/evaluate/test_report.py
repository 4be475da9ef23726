from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from segloop.cli.main import build_app

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["evaluate", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def two_runs(toy_export: ExportReport, data: Path, tmp_path: Path) -> tuple[str, str]:
    folders = []
    for first_click in ("center", "random"):
        folder = str(tmp_path / first_click)
        common = ["--model", str(toy_export.folder), "-o", folder, "--max-clicks", "9"]
        common += ["--no-baselines", "--first-click", first_click]
        assert run("points", str(data), *common)[0] == 0
        folders.append(folder)
    return folders[0], folders[1]


def test_two_runs_side_by_side(two_runs: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "report"
    code, printed, error = run("report", *two_runs, "-o", str(out), "--by", "size")
    assert (code, error) == (0, "")
    assert printed.strip() == str(out / "report.html")
    names = {path.name for path in out.iterdir()}
    plots = {"iou-against-clicks.png", "calibration-of-the-predicted-iou.png"}
    assert names == {"report.md", "report.html", *plots}
    text = (out / "report.md").read_text()
    assert "| set | measure | center | random |" in text
    # A box is the same in both.
    assert "(+0.000)" in next(line for line in text.splitlines() if "| box |" in line)
    assert "center, rectangles: 1 click by group" in text
    first = json.loads((Path(two_runs[0]) / "points.json").read_text())
    assert first["commit"] is None or len(first["commit"]) in (40, 41)
    assert first["machine"]["processors"] >= 1


def test_the_best_and_the_worst_are_drawn_where_there_are_data(
    two_runs: tuple[str, str], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    code, _, error = run("report", *two_runs, "-o", str(out), "--data", str(data))
    assert (code, error) == (0, "")
    sheets = [f"best-median-and-worst-rectangles-{label}.png" for label in ("center", "random")]
    assert all((out / name).stat().st_size > 1000 for name in sheets)
    assert all(f"]({name})" in (out / "report.md").read_text() for name in sheets)
    assert (out / "report.html").read_text().count("data:image/png;base64,") == 4
    code, _, error = run(
        "report", two_runs[0], "-o", str(out), "--data", str(data), "--model", "default"
    )
    assert code == 2
    assert "name the one that was scored by --model" in error
    assert len(error.strip().splitlines()) == 1


def test_bad_input_is_one_line(two_runs: tuple[str, str], tmp_path: Path) -> None:
    first, _ = two_runs
    out = str(tmp_path / "report")
    groups = tmp_path / "groups.csv"
    groups.write_text("image,group\n0,a\n1,b\n")
    assert run("report", first, "-o", out, "--groups", str(groups))[0] == 0
    for arguments, message in (
        ([str(tmp_path)], "holds no result of segloop evaluate"),
        ([first, "--by", "colour"], "choose from category, size"),
        ([first, "--by", "size", "--groups", str(groups)], "two ways to split"),
        ([first, "--by", "category"], "belongs to any group"),
    ):
        code, _, error = run("report", *arguments, "-o", out)
        assert code == 2
        assert message in error
        assert len(error.strip().splitlines()) == 1
