from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from segloop.cli.main import build_app
from segloop.data.loader import is_held_out
from segloop.data.sa1b import encode_annotations, open_sa1b
from segloop.data.sample import Annotation
from segloop.geometry.rle import encode_rle

CIRCLE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="10mm" height="10mm" viewBox="0 0 10 10">'
    '<circle cx="5" cy="5" r="4" fill="lime"/></svg>'
)


def run(*arguments: object) -> Result:
    texts = ["compose", *(str(one) for one in arguments)]
    return CliRunner().invoke(build_app(), texts, catch_exceptions=False)


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in SA-1B layout with one image of one thing, 60 x 50, beside which commands run."""
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((100, 200), dtype=np.bool_)
    mask[20:70, 10:70] = True
    image = np.full((100, 200, 3), 90, dtype=np.uint8)
    image[mask] = (250, 40, 40)
    folder = tmp_path / "shards"
    folder.mkdir()
    Image.fromarray(image).save(folder / "a.png")
    one = Annotation(encode_rle(mask), float(mask.sum()), (10, 20, 60, 50), 1, "brick")
    (folder / "a.json").write_bytes(encode_annotations([one], "a.png", 1, (100, 200)))
    return folder


def test_pictures_are_written_for_training(shards: Path) -> None:
    result = run("--data", shards, "--images", 3, "-o", "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "out: 3 images\n"
    found = open_sa1b("out")
    assert found.sample_names == ("000000", "000001", "000002")
    samples = [found.read(index) for index in range(3)]
    assert all(sample.image.shape == (100, 200, 3) for sample in samples)
    assert sum(len(sample.annotations) for sample in samples) > 3
    assert "brick" in {one.category for sample in samples for one in sample.annotations}


def test_a_stopped_run_goes_on_and_a_longer_one_adds(shards: Path) -> None:
    run("--data", shards, "--images", 4, "-o", "whole")
    run("--data", shards, "--images", 2, "-o", "out")
    Path("out/000001.json").unlink()
    kept = Path("out/000000.jpg").stat().st_mtime_ns
    assert run("--data", shards, "--images", 4, "-o", "out").exit_code == 0
    assert Path("out/000000.jpg").stat().st_mtime_ns == kept
    names = sorted(path.name for path in Path("whole").iterdir())
    assert sorted(path.name for path in Path("out").iterdir()) == names
    for name in names:
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


def test_drawings_are_pasted_too(shards: Path) -> None:
    Path("art").mkdir()
    Path("art/a.svg").write_text(CIRCLE)
    assert run("--data", shards, "--pictures", "art", "--images", 6, "-o", "out").exit_code == 0
    found = open_sa1b("out")
    greens = [
        ((image := found.read(index).image.astype(int))[..., 1] - image[..., 0] > 60).any()
        for index in range(6)
    ]
    assert any(greens)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--data", "none"), "none: no such tar or folder"),
        (("--data", "shards", "--pictures", "shards/b"), "shards/b holds no picture"),
        (("--data", "shards", "--seed", 5), "out was made with other images"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    shards: Path, arguments: tuple[str, ...], line: str
) -> None:
    assert run("--data", "shards", "--images", 1, "-o", "out").exit_code == 0
    result = run(*arguments, "--images", 1, "-o", "out")
    assert result.exit_code == 2
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("out", ["shards", "shards/in/it"])
def test_what_is_composed_is_not_composed_of(shards: Path, out: str) -> None:
    result = run("--data", shards, "-o", out)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "name a folder outside it" in result.stderr


def test_other_pictures_under_the_same_path_are_noticed(shards: Path) -> None:
    Path("art").mkdir()
    Path("art/a.svg").write_text(CIRCLE)
    arguments = ("--data", shards, "--pictures", "art", "-o", "out", "--images")
    assert run(*arguments, 1).exit_code == 0
    assert run("--data", shards / ".." / "shards", *arguments[2:], 2).exit_code == 0
    Path("art/b.svg").write_text(CIRCLE)
    result = run(*arguments, 2)
    assert result.exit_code == 2
    assert "out was made with other images" in result.stderr


def test_a_lost_file_is_made_again_and_what_is_there_is_counted(shards: Path) -> None:
    run("--data", shards, "--images", 4, "-o", "out")
    Path("out/000002.jpg").unlink()
    assert run("--data", shards, "--images", 3, "-o", "out").stdout == "out: 4 images\n"
    assert Path("out/000002.jpg").exists()


def test_pictures_of_which_none_can_be_used_are_an_error(shards: Path) -> None:
    for name in ("a.json", "a.png"):
        shutil.copy(shards / name, shards / f"b{name[1:]}")
    record = (shards / "a.json").read_text()
    for name in ("a.json", "b.json"):
        text = record.replace('"bbox":[10,20,60,50]', '"bbox":[0,20,60,50]')
        (shards / name).write_text(text)
    Path("art").mkdir()
    Image.new("RGB", (30, 30), "red").save("art/full.png")
    result = run("--data", shards, "--pictures", "art", "--images", 2, "-o", "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "cut-outs could be used: name other --pictures" in result.stderr


def test_a_damaged_image_does_not_stop_the_rest(shards: Path) -> None:
    shutil.copy(shards / "a.json", shards / "b.json")
    (shards / "b.png").write_bytes((shards / "a.png").read_bytes()[:60])
    result = run("--data", shards, "--images", 12, "-o", "out")
    failed = result.stderr.count("segloop: failed: picture")
    assert result.exit_code == 1
    assert 0 < failed < 12
    assert "b: " in result.stderr
    assert "cut-outs could not be used" in result.stderr
    assert result.stdout == f"out: {12 - failed} images\n"
    assert len(open_sa1b("out")) == 12 - failed


def test_images_held_out_for_validation_are_left_alone(shards: Path) -> None:
    held = next(name for name in (f"v{at}" for at in range(1000)) if is_held_out(name))
    shutil.copy(shards / "a.json", shards / f"{held}.json")
    white = np.full((30, 40, 3), 255, dtype=np.uint8)
    Image.fromarray(white).save(shards / f"{held}.png")
    assert run("--data", shards, "--images", 8, "-o", "out").exit_code == 0
    found = open_sa1b("out")
    assert {found.read(index).image.shape for index in range(8)} == {(100, 200, 3)}


def test_images_that_are_all_held_out_are_not_enough(shards: Path) -> None:
    held = next(name for name in (f"v{at}" for at in range(1000)) if is_held_out(name))
    for suffix in (".json", ".png"):
        shutil.move(shards / f"a{suffix}", shards / f"{held}{suffix}")
    result = run("--data", shards, "-o", "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "held out for validation" in result.stderr


def test_nothing_to_paste_is_an_error(shards: Path) -> None:
    record = (shards / "a.json").read_text()
    (shards / "a.json").write_text(record.replace('"bbox":[10,20,60,50]', '"bbox":[0,20,60,50]'))
    result = run("--data", shards, "-o", "out")
    assert result.exit_code == 2
    assert "name --pictures" in result.stderr
    assert not Path("out").exists()
