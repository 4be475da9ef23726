"""segloop train: a run from the shell, its continuation, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
import zlib
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import segloop
from segloop.cli.main import build_app
from segloop.cli.train import (
    RECIPES,
    change,
    check_weights,
    find_recipe,
    parse_weights,
    validation_on,
)
from segloop.errors import InputError
from segloop.geometry.rle import encode_rle
from segloop.model.config import model_config


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
    of_set = [
        scores[-1][f"validation/{shapes.name}/{kind}"] for kind in ("1 click", "3 clicks", "box")
    ]
    assert scores[-1]["validation/score"] == pytest.approx(sum(of_set) / 3)
    assert (out / "best.safetensors").is_file()
    assert sorted(path.name for path in (out / "pictures").iterdir()) == [
        "00000002.png",
        "00000003.png",
    ]

    predictor = segloop.load(again.stdout.strip())
    embedding = predictor.encode(shapes / "shape_1.png")
    assert len(predictor.segment(embedding, segloop.Prompt(points_xy=[(20, 20)]))) == 3


def test_options_change_the_recipe(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = (
        *("--input-size", 96, "--batch-size", 1, "--learning-rate", 1e-5, "--validate", 0),
        *("--global-batch", 3, "--seed", 7, "--workers", 0, "--precision", "bfloat16"),
    )
    result = run("toy", "--data", shapes, "-o", out, "--steps", 1, *options)
    assert result.exit_code == 0, result.output
    config = json.loads((out / "config.json").read_text())
    chosen = (config["input_size"], config["data"]["batch_size"], config["optim"]["learning_rate"])
    assert chosen == (96, 1, 1e-5)
    more = (
        config["accumulate"],
        config["seed"],
        config["data"]["num_workers"],
        config["precision"],
    )
    assert more == (3, 7, 0, "bfloat16")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_configuration_of_its_name(name: str) -> None:
    config = find_recipe(name, RECIPES)
    assert config.recipe == name
    assert model_config(config.model).encoder is not None


def test_a_batch_size_alone_lets_go_of_the_recipes_global_batch() -> None:
    config = find_recipe("vit_b", RECIPES)
    assert config.global_batch == 128
    assert change(config, batch_size=2).global_batch is None
    assert change(config, batch_size=2, global_batch=64).global_batch == 64
    assert change(config, steps=5).global_batch == 128


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("colossal",),
            "no recipe 'colossal'; there are toy, compact_warmup, compact, vit_b, vit_l, vit_h, generator",
        ),
        (("toy", "--input-size", "65"), "the input size must be a multiple of 32, got 65"),
        (("toy", "--precision", "float16"), "--precision is float32 or bfloat16, got 'float16'"),
        (("toy", "--device", "cuda"), "no CUDA device here"),
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


def test_weights_of_sets_come_before_the_recipes_own() -> None:
    weights = parse_weights(["co*=2", "people=0"])
    config = change(find_recipe("compact", RECIPES), weights=weights)
    assert list(config.data.weights)[:2] == ["co*", "people"]
    assert (config.data.weights["people"], config.data.weights["coco"]) == (0.0, 0.42)
    for text in ("coco", "=2", "coco=-1", "coco=nan", "coco=inf", "coco=much"):
        with pytest.raises(InputError, match=f"--weight {text}: give a set and a number"):
            parse_weights([text])


def test_crops_of_large_images_leave_other_changes_as_they_are() -> None:
    recipe = find_recipe("compact", RECIPES)
    augmentation = change(recipe, large_crops=0.3).data.augmentation
    assert augmentation == replace(recipe.data.augmentation, large=0.3)
    assert change(recipe).data.augmentation == recipe.data.augmentation


def test_what_cannot_be_read_is_skipped_counted_and_named(shapes: Path, tmp_path: Path) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    (data / "shape_1.png").write_bytes(b"no picture")
    out = tmp_path / "run"
    arguments = ("toy", "--data", data, "-o", out, "--steps", 2, "--batch-size", 4)
    done = run(*arguments, "--validate", 0, "--weight", "data=2")
    assert done.exit_code == 0, done.output
    (line,) = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    problems = (out / "skipped.txt").read_text().splitlines()
    assert line["skipped"] == len(problems) > 0
    assert {problem.partition(":")[0] for problem in problems} == {"data/shape_1"}


def test_a_held_out_image_that_cannot_be_read_is_left_out(shapes: Path, tmp_path: Path) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    (data / f"shape_{held_out_number()}.png").write_bytes(b"no picture")
    out = tmp_path / "run"
    done = run("toy", "--data", data, "-o", out, "--steps", 1, "--batch-size", 2, "--workers", 0)
    assert done.exit_code == 0, done.output
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last == {"step": 1, "validation/skipped": 1}
    (problem,) = (out / "skipped.txt").read_text().splitlines()
    assert problem.startswith(f"data/shape_{held_out_number()}: ")


def test_held_out_objects_too_small_to_see_make_no_picture(shapes: Path, tmp_path: Path) -> None:
    data, out = shutil.copytree(shapes, tmp_path / "data"), tmp_path / "run"
    mask = np.zeros((48, 64), dtype=np.bool_)
    mask[10:12, 10:12] = True
    path = data / f"shape_{held_out_number()}.json"
    record = json.loads(path.read_text())
    record["annotations"][0] |= {"segmentation": encode_rle(mask).to_json(), "area": 4}
    path.write_text(json.dumps(record))
    done = run("toy", "--data", data, "-o", out, "--steps", 1, "--batch-size", 2, "--workers", 0)
    assert done.exit_code == 0, done.output
    assert "validation/score" in (out / "metrics.jsonl").read_text()
    assert not (out / "pictures").exists()


@pytest.mark.parametrize("validate", [0, 8])
def test_a_run_says_where_nothing_is_held_out(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validate: int
) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    for path in data.glob(f"shape_{held_out_number()}.*"):
        path.unlink()
    for rank, is_told in (("0", validate > 0), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        capture = io.StringIO()
        with redirect_stderr(capture):
            validator = validation_on([str(data)], validate, "cpu", tmp_path)
        assert validator is None
        told = "segloop: no image is held out, so nothing is validated\n" if is_told else ""
        assert capture.getvalue() == told


def test_a_weight_of_no_set_is_refused(shapes: Path, tmp_path: Path) -> None:
    arguments = ("toy", "--data", shapes, "-o", tmp_path / "run", "--weight", "manual*=10")
    result = run(*arguments)
    assert result.exit_code == 2
    message = f"--weight manual*: no set of --data fits; there are {shapes.name}"
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


def test_a_weight_goes_by_a_sets_name_or_its_folders() -> None:
    weights = {"manual*": 10.0, "sa_1": 2.0, "bucket": 0.0}
    places = ["data/manual_2/sa_0.tar", "data/sa_1.tar", "s3://bucket/sa_2.tar"]
    assert check_weights(weights, places) == weights
    many = [f"data/sa_{number}.tar" for number in range(30)]
    with pytest.raises(InputError, match=r"there are sa_0, .*, sa_9, \.\.\.$"):
        check_weights({"sa": 1.0}, many)
