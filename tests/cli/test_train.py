"""segloop train: a run from the shell, its continuation, and what it refuses."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import segloop
from segloop.cli.main import build_app
from segloop.geometry.rle import encode_rle


def held_out_number() -> int:
    """A number whose name falls on the validation side of the split."""
    return next(number for number in range(1000) if zlib.crc32(str(number).encode()) % 25 == 0)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of one bright box in SA-1B layout, the last of them held out from training."""
    folder = tmp_path_factory.mktemp("shapes")
    for number in (1, 2, held_out_number()):
        mask = np.zeros((48, 64), dtype=np.bool_)
        mask[10:40, 12 : 30 + number % 20] = True
        pixels = np.where(mask[..., None], 230, 20).astype(np.uint8).repeat(3, axis=2)
        Image.fromarray(pixels).save(folder / f"shape_{number}.png")
        annotation = {
            "id": number,
            "segmentation": encode_rle(mask).to_json(),
            "bbox": [12, 10, 18 + number % 20, 30],
            "area": int(mask.sum()),
        }
        record = json.dumps({"annotations": [annotation]})
        (folder / f"shape_{number}.json").write_text(record)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["train", *map(str, arguments)])


def test_a_run_trains_goes_on_and_leaves_a_model_that_segments(
    shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = run("toy", "--data", shapes, "-o", out, "--steps", 2, "--batch-size", 2)
    assert first.exit_code == 0, first.output
    again = run("toy", "--data", shapes, "-o", out, "--steps", 3, "--batch-size", 2)
    assert again.exit_code == 0, again.output
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == [2, 3], "the second command goes on where the first ended"
    scores = [line for line in lines if any(name.startswith("validation/") for name in line)]
    assert len(scores) == 2
    assert 0.0 <= scores[-1][f"validation/{shapes.name}/1 click"] <= 1.0

    predictor = segloop.load(again.stdout.strip())
    embedding = predictor.encode(shapes / "shape_1.png")
    assert len(predictor.segment(embedding, segloop.Prompt(points_xy=[(20, 20)]))) == 3


def test_options_change_the_recipe(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--input-size", 96, "--batch-size", 1, "--learning-rate", 1e-5, "--validate", 0)
    result = run("toy", "--data", shapes, "-o", out, "--steps", 1, *options)
    assert result.exit_code == 0, result.output
    config = json.loads((out / "config.json").read_text())
    chosen = (config["input_size"], config["data"]["batch_size"], config["optim"]["learning_rate"])
    assert chosen == (96, 1, 1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("colossal",), "no recipe 'colossal'; there are compact_warmup, compact, toy"),
        (("toy", "--input-size", "65"), "the input size must be a multiple of 32, got 65"),
        (("toy", "--start", "nothing.safetensors"), "nothing.safetensors: no such file"),
    ],
)
def test_what_cannot_be_trained_gets_one_line(
    shapes: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run(arguments[0], "--data", shapes, "-o", tmp_path / "run", *arguments[1:])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    result = run("toy", "--data", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "SA-1B layout" in result.stderr
