"""segloop embed, on the toy model: what it makes, skips, reports and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

import segloop
from segloop.cli.main import build_app
from segloop.predict.cache import cache_key, default_folder, image_id
from segloop.predict.wire import pack_embedding, unpack_embedding

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

DrawPng = Callable[[tuple[int, int], int], bytes]
FilesBelow = Callable[[Path], dict[str, bytes]]


def run(report: ExportReport, *arguments: object) -> Result:
    texts = ["embed", *(str(one) for one in arguments), "--threads", "1"]
    model = () if "--model" in texts else ("--model", str(report.folder))
    return CliRunner().invoke(build_app(), [*texts, *model], catch_exceptions=False)


@pytest.mark.usefixtures("photos")
def test_every_image_gets_its_embedding(toy_export: ExportReport, files_below: FilesBelow) -> None:
    result = run(toy_export, "photos", "-o", "kept")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.startswith("kept: 3 made, 0 there already, 0 failed, ")
    predictor = segloop.load(toy_export.folder, threads=1)
    expected = {}
    for content in files_below(Path("photos")).values():
        key = cache_key(predictor.spec.identity, image_id(content))
        expected[key] = pack_embedding(predictor.encode(content))
    assert files_below(Path("kept")) == expected
    sizes = {unpack_embedding(packed).frame.image_hw for packed in expected.values()}
    assert sizes == {(60, 90), (80, 50), (40, 40)}


@pytest.mark.usefixtures("photos")
def test_what_is_there_is_not_made_again(
    toy_export: ExportReport, files_below: FilesBelow, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(toy_export, "photos/a.png", "-o", "kept").exit_code == 0
    result = run(toy_export, "photos", "-o", "kept")
    assert result.stdout.startswith("kept: 2 made, 1 there already, 0 failed, ")
    before = files_below(Path("kept"))

    def refuse(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(segloop.Predictor, "encode", refuse)
    result = run(toy_export, "photos", "-o", "kept")
    assert result.stdout.startswith("kept: 0 made, 3 there already, 0 failed, ")
    assert files_below(Path("kept")) == before


@pytest.mark.usefixtures("photos")
def test_a_damaged_one_is_made_anew(toy_export: ExportReport, files_below: FilesBelow) -> None:
    run(toy_export, "photos/a.png", "-o", "kept")
    before = files_below(Path("kept"))
    for path in Path("kept").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    result = run(toy_export, "photos/a.png", "-o", "kept")
    assert result.stdout.startswith("kept: 1 made, ")
    assert files_below(Path("kept")) == before


@pytest.mark.usefixtures("photos")
def test_they_lie_by_default_where_the_server_looks(
    toy_export: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGLOOP_CACHE", str(tmp_path / "cache"))
    assert run(toy_export, "photos").exit_code == 0
    assert default_folder() == tmp_path / "cache" / "embeddings"
    assert len(list(default_folder().iterdir())) == 3


def test_a_bad_image_stops_nothing(
    toy_export: ExportReport, photos: Path, draw_png: DrawPng
) -> None:
    (photos / "0-empty.png").write_bytes(b"")
    (photos / "cut.png").write_bytes(draw_png((60, 90), 0)[:200])
    result = run(toy_export, "photos", "-o", "kept")
    assert result.exit_code == 1
    assert result.stdout.startswith("kept: 3 made, 0 there already, 2 failed, ")
    first, second, last = result.stderr.splitlines()
    assert first == "segloop: failed: photos/0-empty.png: the file is empty"
    assert second.startswith("segloop: failed: photos/cut.png: ")
    assert last == "segloop: 2 images failed"
    assert len(list(Path("kept").iterdir())) == 3


@pytest.mark.usefixtures("photos")
def test_the_limit_of_pixels_is_the_callers(toy_export: ExportReport) -> None:
    result = run(toy_export, "photos", "-o", "kept", "--max-pixels", 4000)
    assert result.exit_code == 1
    assert result.stdout.startswith("kept: 2 made, 0 there already, 1 failed, ")
    assert "more than the limit of 4,000" in result.stderr


@pytest.mark.usefixtures("photos")
def test_a_folder_too_small_for_all_is_said(toy_export: ExportReport) -> None:
    run(toy_export, "photos/a.png", "-o", "one")
    (kept,) = Path("one").iterdir()
    room = f"{2.5 * kept.stat().st_size / 1000:.1f}K"
    result = run(toy_export, "photos", "-o", "kept", "--max-disk", room)
    assert result.exit_code == 0
    assert "the first ones went again: see --max-disk" in result.stderr
    assert len(list(Path("kept").iterdir())) == 2
    result = run(toy_export, "photos", "-o", "none", "--max-disk", "0.1K")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("segloop: error: none: cannot write there")


MISTAKES = {
    "nothing there": (("none.jpg", "-o", "out"), "none.jpg: no such file or folder"),
    "no images": (("empty", "-o", "out"), "empty: no image there"),
    "output is a file": (("photos", "-o", "photos/a.png"), "photos/a.png is a file"),
    "room": (("photos", "-o", "out", "--max-disk", "much"), "--max-disk 'much'"),
}


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(toy_export: ExportReport, mistake: str) -> None:
    Path("empty").mkdir()
    given, words = MISTAKES[mistake]
    result = run(toy_export, *given)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("segloop: error: ")
    assert words in line
    assert not Path("out").exists()
