"""segloop train finetune: from a user's masks to a model and a report, and what it refuses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import segloop
from segloop.cli.finetune import compare_classes, open_parts
from segloop.cli.main import build_app

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport
    from segloop.model.sam import Sam


@pytest.fixture(scope="module")
def start(toy_model: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from segloop.weights.load import save_sam

    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_sam(toy_model, path)
    return path


def draw(folder: Path, count: int) -> Path:
    """Images of a bright box each, with labels; the last one has none."""
    folder.mkdir(parents=True)
    for number in range(count):
        labels = np.zeros((48, 64), dtype=np.uint8)
        labels[10:40, 12 : 30 + number] = number < count - 1
        pixels = np.where(labels[..., None], 230, 20).astype(np.uint8).repeat(3, axis=2)
        Image.fromarray(pixels).save(folder / f"shape_{number}.jpg")
        Image.fromarray(labels).save(folder / f"shape_{number}.png")
    return folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data") / "shapes", 5)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["train", "finetune", *map(str, arguments)])


def test_a_model_is_tuned_and_tested(shapes: Path, start: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    arguments = ("--data", shapes, "-o", out, "--model", start, "--steps", 2, "--hold-out", 0.5)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "shapes: 5 images, 4 masks; 1 images without a mask are left out" in result.stderr
    *table, path = result.stdout.splitlines()
    assert path == str(out / "model.safetensors")
    assert table[0].split() == ["1", "click", "3", "clicks", "box"]
    assert [line.split()[0] for line in table[1:4]] == ["before", "after", "gain"]

    report = json.loads((out / "report.json").read_text())
    assert (report["num_train_images"], report["num_test_images"]) == (2, 2)
    assert (report["steps"], report["recipe"]) == (2, "finetune_lora")
    change = report["changes"][0]
    gain = change["after"]["mean"] - change["before"]["mean"]
    assert change["gain"]["mean"] == pytest.approx(gain)
    assert report["conditions"]["versions"]["segloop"]

    predictor = segloop.load(path)
    embedding = predictor.encode(shapes / "shape_0.jpg")
    assert len(predictor.segment(embedding, segloop.Prompt(points_xy=[(20, 20)]))) == 3

    before = (out / "model.safetensors").read_bytes()
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert (out / "model.safetensors").read_bytes() == before
    assert again.stdout == result.stdout


def test_what_was_tuned_is_exported_on_request(
    shapes: Path,
    start: Path,
    tmp_path: Path,
    toy_export: ExportReport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from segloop.export import onnx
    from segloop.weights.load import load_sam

    calls: list[tuple[Sam, Path, dict[str, Any]]] = []

    def note(model: Sam, folder: Path, **options: Any) -> ExportReport:
        calls.append((model, folder, options))
        return replace(toy_export, folder=folder)

    monkeypatch.setattr(onnx, "export_onnx", note)  # an export takes longer than all else here
    out = tmp_path / "mine"
    common = ("--data", shapes, "--model", start, "--steps", 1, "--hold-out", 0)
    result = run(*common, "-o", out, "--export")
    assert result.exit_code == 0, result.output
    assert f"exported to {out / 'onnx'}" in result.stderr
    ((model, folder, options),) = calls
    assert folder == out / "onnx"
    assert options["name"] == "mine"
    tuned = load_sam(out / "model.safetensors").state_dict()
    assert all(torch.equal(value, tuned[name]) for name, value in model.state_dict().items())


def test_the_exported_graphs_give_the_masks_of_the_tuned_model(
    shapes: Path, start: Path, tmp_path: Path
) -> None:
    """The one export here that is real: from labels to graphs, and from both forms the same mask."""
    out = tmp_path / "mine"
    common = ("--data", shapes, "--model", start, "--steps", 2, "--hold-out", 0)
    result = run(*common, "--method", "full", "-o", out, "--export")
    assert result.exit_code == 0, result.output
    prompt = segloop.Prompt(box_xyxy=(12, 10, 31, 40))
    untaught, tuned, exported = (
        predictor.segment(predictor.encode(shapes / "shape_1.jpg"), prompt)
        for predictor in map(segloop.load, (start, out / "model.safetensors", out / "onnx"))
    )
    np.testing.assert_array_equal(exported.masks, tuned.masks)
    np.testing.assert_allclose(exported.logits, tuned.logits, atol=1e-4)
    assert (untaught.masks != tuned.masks).any(), "two steps leave a trace"


def test_all_images_are_trained_on_where_others_or_none_are_for_the_test(
    shapes: Path, start: Path, tmp_path: Path
) -> None:
    common = ("--data", shapes, "--model", start, "--steps", 1, "--method", "decoder")
    others = draw(tmp_path / "others", 3)
    result = run(*common, "-o", tmp_path / "a", "--test-data", others)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert (report["num_train_images"], report["num_test_images"]) == (4, 2)

    result = run(*common, "-o", tmp_path / "b", "--hold-out", 0)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(tmp_path / "b" / "model.safetensors")]
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    assert (report["num_train_images"], report["changes"]) == (4, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "prompt"), "no method 'prompt'; there are lora, decoder, full"),
        (("--minutes", "3"), "give --minutes or --steps, not both"),
        (("--strength", "2"), "the strength lies between 0 and 1, got 2"),
        (("--split", "half"), "--split is hash or name, got 'half'"),
        (("--labels", "colour"), "labels are read as auto, ids or binary, got 'colour'"),
        (("--hold-out", "1.5"), "the share to hold out lies between 0 and 1, got 1.5"),
        (("--test-data", "nowhere"), "nowhere: no such file or folder"),
        (("--model", "nothing.safetensors"), "nothing.safetensors: no such file"),
    ],
)
def test_what_cannot_be_done_gets_one_line(
    shapes: Path, start: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    common = ("--data", shapes, "-o", tmp_path / "out", "--model", start, "--steps", 1)
    result = run(*common, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def write_classes(folder: Path, classes: Sequence[int]) -> Path:
    """A YOLO folder of one object an image, of these classes among three."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number, one in enumerate(classes):
        Image.new("RGB", (64, 48), (90, 40, 10)).save(folder / "images" / f"{number}.png")
        (folder / "labels" / f"{number}.txt").write_text(f"{one} 0.2 0.2 0.6 0.2 0.6 0.7 0.2 0.7\n")
    (folder / "data.yaml").write_text("names: [cell, vessel, debris]\n")
    return folder


def test_classes_without_a_mask_in_a_part_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(write_classes(tmp_path / "data", [0, 1, 1, 0]))
    open_parts(data, None, "auto", 0.25, "name")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "segloop: data: 4 images, 4 masks; no mask of class debris"
    assert second == "segloop: no mask to test on of class vessel (2 to train on)"

    others = str(write_classes(tmp_path / "others", [2, 1]))
    open_parts(data, others, "auto", 0.2, "hash")
    assert capsys.readouterr().err.splitlines()[-1] == (
        "segloop: no mask to train on of class debris (1 to test on); "
        "no mask to test on of class cell (2 to train on)"
    )
    open_parts(data, None, "auto", 0.5, "name")
    assert "test on" not in capsys.readouterr().err


def test_many_classes_without_a_mask_are_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    compare_classes(Counter({f"c{number:02}": 1 for number in range(12)}), Counter())
    line = capsys.readouterr().err.strip()
    assert line.endswith("c09 (1 to train on), 2 more")


def test_masks_without_a_pixel_are_no_masks(start: Path, tmp_path: Path) -> None:
    data = draw(tmp_path / "empty", 1)
    result = run("--data", data, "-o", tmp_path / "out", "--model", start, "--steps", 1)
    assert result.exit_code == 2
    assert "empty: no mask at all in 1 images" in result.stderr
