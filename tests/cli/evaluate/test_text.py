from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from segloop.cli.main import build_app
from segloop.geometry.rle import encode_rle

WIDTH = 4


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy of random weights that takes text vectors."""
    import torch

    from segloop.model.config import MODELS, with_text
    from segloop.model.sam import Sam
    from segloop.weights.load import save_sam

    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_sam(Sam(with_text(MODELS["toy"], WIDTH)), path)
    return path


@pytest.fixture
def animals(data: Path) -> Path:
    """The two pictures, with a cat in one and a dog beside the rectangle in the other."""
    for name, category in (("0", "cat"), ("1", "sea_dog")):
        path = data / f"{name}.json"
        record = json.loads(path.read_text())
        record["annotations"][0]["category"] = category
        mask = np.zeros((48, 64), dtype=bool)
        mask[40:46, 2:9] = True
        beside = {
            **record["annotations"][0],
            "id": 2,
            "segmentation": encode_rle(mask).to_json(),
            "area": 42,
        }
        del beside["category"]
        record["annotations"].append(beside)
        path.write_text(json.dumps(record))
    return data


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.json"
    rows = {"a photo of a cat": [1, 0, 0, 0], "a photo of a sea dog": [0, 2, 0, 0]}
    path.write_text(json.dumps(rows))
    return path


def run(data: object, model: Path | str, vectors: Path, out: Path, *more: str) -> Result:
    arguments = ["evaluate", "text", str(data), "--model", str(model), "--vectors", str(vectors)]
    arguments += ["-o", str(out), *more]
    return CliRunner().invoke(build_app(), arguments, catch_exceptions=False)


def test_text_prints_a_table_and_writes_the_numbers(
    text_model: Path, animals: Path, vectors: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run(animals, text_model, vectors, out)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[1].split()[:3] == ["rectangles", "words", "2"]
    assert "right words bring" in result.stdout
    assert lines[-1] == str(out / "text.json")
    report = json.loads((out / "text.json").read_text())
    assert report["settings"] == {"vectors": str(vectors)}
    (dataset,) = report["datasets"]
    assert dataset["counts"]["num_images"] == 2
    assert [one["category"] for one in dataset["summary"]["categories"]] == ["cat", "sea_dog"]
    rows = [json.loads(line) for line in (out / "text.jsonl").read_text().splitlines()]
    assert [(row["image"], row["category"], row["other"]) for row in rows] == [
        ("0", "cat", "sea_dog"),
        ("1", "sea_dog", "cat"),
    ]


def test_a_second_run_goes_on_with_the_same_words_only(
    text_model: Path, animals: Path, vectors: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(animals, text_model, vectors, out, "--limit", "1").exit_code == 0
    journal = out / "journal" / "text-rectangles.jsonl"
    first = journal.read_text()
    assert run(animals, text_model, vectors, out, "--jobs", "2").exit_code == 0
    both = journal.read_text()
    assert both.startswith(first)
    assert (len(first.splitlines()), len(both.splitlines())) == (2, 3)

    rows = json.loads(vectors.read_text())
    vectors.write_text(json.dumps({**rows, "a photo of a cat": [1, 1, 0, 0]}))
    changed = run(animals, text_model, vectors, out)
    assert changed.exit_code == 2
    assert "made with vocabulary" in changed.stderr
    assert run(animals, text_model, vectors, out, "--redo").exit_code == 0


@pytest.mark.parametrize(
    ("more", "rows", "message"),
    [
        ([], {"a photo of a cat": [1, 0, 0, 0]}, "no vector for 1 of 2 texts"),
        ([], {"a photo of a cat": [1], "a photo of a sea dog": [2]}, "of 4 numbers, these have 1"),
        (["--template", "a cat"], {"a cat": [1, 2, 3, 4]}, "no {} where the category goes"),
        (["--outputs", "all"], {"a": [1]}, "single or best, not 'all'"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(
    text_model: Path,
    animals: Path,
    vectors: Path,
    tmp_path: Path,
    more: list[str],
    rows: dict[str, list[int]],
    message: str,
) -> None:
    vectors.write_text(json.dumps(rows))
    result = run(animals, text_model, vectors, tmp_path / "out", *more)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_without_text_is_refused(animals: Path, vectors: Path, tmp_path: Path) -> None:
    result = run(animals, "default", vectors, tmp_path / "out")
    assert result.exit_code == 2
    assert "model default takes no text" in result.stderr


def test_data_without_categories_is_refused(
    text_model: Path, data: Path, vectors: Path, tmp_path: Path
) -> None:
    result = run(data, text_model, vectors, tmp_path / "out")
    assert result.exit_code == 2
    assert "rectangles: no annotation has a category" in result.stderr


def test_cocos_layout(text_model: Path, vectors: Path, tmp_path: Path) -> None:
    images = tmp_path / "val2017"
    images.mkdir()
    for number in (1, 2):
        Image.new("RGB", (40, 30), (20, 60, 90)).save(images / f"{number}.png")
    square = [[4, 4, 20, 4, 20, 20, 4, 20]]
    content = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": 30, "width": 40}
            for number in (1, 2)
        ],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 3, "segmentation": square, "iscrowd": 0}
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "sea dog"}],
    }
    annotations = tmp_path / "instances_val2017.json"
    annotations.write_text(json.dumps(content))
    result = run(f"{annotations}={images}", text_model, vectors, tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[1].split()[:3] == ["instances_val2017", "words", "1"]
    assert "instances_val2017: 1 images have no category to ask for" in result.stdout
