from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import segloop
from segloop.backends.base import BackendSpec
from segloop.cli.everything import Outcome, build_config
from segloop.cli.main import build_app
from segloop.data.sa1b import open_sa1b
from segloop.errors import InputError
from segloop.geometry.rle import Rle, decode_rle

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

# Weights that were never trained leave nothing at the released thresholds.
ANY_MASK = ("--min-iou", "0", "--min-stability", "0", "--threads", "1")
FEW_POINTS = ("--points-per-side", "3")
ALL_FORMATS = ("--format", "coco,labels,overlay")

DrawPng = Callable[[tuple[int, int], int], bytes]
FilesBelow = Callable[[Path], dict[str, bytes]]


def run(report: ExportReport, *arguments: object) -> Result:
    texts = ["everything", *(str(one) for one in arguments), "--model", str(report.folder)]
    given = [*texts, *ANY_MASK, *(() if "--points-per-side" in texts else FEW_POINTS)]
    return CliRunner().invoke(build_app(), given, catch_exceptions=False)


def num_done(folder: Path) -> int:
    journal = folder / "done.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.usefixtures("photos")
def test_a_folder_becomes_its_masks_in_every_format(
    toy_export: ExportReport, files_below: FilesBelow
) -> None:
    result = run(toy_export, "photos", "-o", "out", *ALL_FORMATS, "--copy-images")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    names = ["a", "b", "trip/a"]
    endings = (".json", ".png", "_labels.png", "_overlay.jpg")
    assert set(files_below(Path("out"))) == {
        *(name + ending for name in names for ending in endings),
        *("coco.json", "done.jsonl", "run.json"),
    }
    dataset = open_sa1b("out")
    assert dataset.sample_names == ("a", "b", "trip/a")
    counts = [len(dataset.read(index).annotations) for index in range(3)]
    assert min(counts) > 0
    assert result.stdout == f"out: 3 images, {sum(counts)} masks\n"
    coco = json.loads(Path("out/coco.json").read_bytes())
    assert [image["file_name"] for image in coco["images"]] == ["a.png", "b.png", "trip/a.png"]
    assert len(coco["annotations"]) == sum(counts)


@pytest.mark.usefixtures("photos")
def test_the_json_holds_what_the_generator_says(toy_export: ExportReport) -> None:
    from segloop.predict.automatic import generate

    assert run(toy_export, "photos/a.png", "-o", "out").exit_code == 0
    record = json.loads(Path("out/a.json").read_bytes())
    config = build_config(
        None, points_per_side=3, predicted_iou_threshold=0.0, stability_threshold=0.0
    )
    masks = generate(segloop.load(toy_export.folder, threads=1), "photos/a.png", config).masks
    assert len(record["annotations"]) == len(masks) > 0
    for row, annotation in enumerate(record["annotations"]):
        mask = decode_rle(Rle.from_json(annotation["segmentation"]))
        np.testing.assert_array_equal(mask, masks.mask(row))
        assert annotation["predicted_iou"] == masks.predicted_iou[row]
        assert annotation["point_coords"] == [masks.points_xy[row].tolist()]


@pytest.mark.usefixtures("photos")
def test_a_second_run_has_nothing_to_do_and_changes_nothing(
    toy_export: ExportReport, files_below: FilesBelow
) -> None:
    first = run(toy_export, "photos", "-o", "out", *ALL_FORMATS)
    before = files_below(Path("out"))
    stamps = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.json[l]")}
    second = run(toy_export, "photos", "-o", "out", *ALL_FORMATS)
    assert second.exit_code == 0
    assert second.stdout == first.stdout.rstrip("\n") + ", 3 of them done before\n"
    assert files_below(Path("out")) == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


@pytest.mark.usefixtures("photos")
def test_another_format_is_drawn_without_the_model(
    toy_export: ExportReport, monkeypatch: pytest.MonkeyPatch, files_below: FilesBelow
) -> None:
    run(toy_export, "photos", "-o", "whole", *ALL_FORMATS, "--copy-images")
    run(toy_export, "photos", "-o", "out")
    Path("out/a.json").unlink()
    encoded = []
    encode = segloop.Predictor.encode

    def count(self: segloop.Predictor, *given: object, **options: object) -> segloop.Embedding:
        encoded.append(1)
        return encode(self, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(segloop.Predictor, "encode", count)
    result = run(toy_export, "photos", "-o", "out", *ALL_FORMATS, "--copy-images")
    assert result.exit_code == 0, result.stderr
    assert len(encoded) == 1  # the one whose JSON is gone
    found, expected = files_below(Path("out")), files_below(Path("whole"))
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} == {"done.jsonl"}


@pytest.mark.usefixtures("photos")
def test_two_runs_are_byte_identical(toy_export: ExportReport, files_below: FilesBelow) -> None:
    for out in ("one", "two"):
        assert run(toy_export, "photos", "-o", out, *ALL_FORMATS).exit_code == 0
    assert files_below(Path("one")) == files_below(Path("two"))


@pytest.mark.usefixtures("photos")
def test_results_among_the_images_are_not_taken_for_images(toy_export: ExportReport) -> None:
    for _ in range(2):
        result = run(toy_export, "photos", "-o", "photos/out", *ALL_FORMATS)
        assert result.exit_code == 0, result.stderr
    assert num_done(Path("photos/out")) == 3
    assert "left alone: they lie in photos/out" in result.stderr


def test_a_bad_image_stops_nothing_and_is_tried_again(
    toy_export: ExportReport, photos: Path, draw_png: DrawPng
) -> None:
    bad = {"0-empty.png": b"", "cut.png": draw_png((60, 90), 0)[:200], "text.jpg": b"no photograph"}
    for name, content in bad.items():
        (photos / name).write_bytes(content)
    (photos / "one.png").write_bytes(draw_png((1, 1), 0))
    result = run(toy_export, "photos", "-o", "out", "--format", "coco")
    assert result.exit_code == 1
    assert result.stdout.startswith("out: 4 images, ")
    *failed, last = result.stderr.splitlines()
    assert len(failed) == 3
    for line, name, why in zip(
        failed, sorted(bad), ("the file is empty", "damaged", "not an image"), strict=True
    ):
        assert line.startswith(f"segloop: failed: photos/{name}: ")
        assert why in line
    assert last == "segloop: 3 images failed; the same command tries them again"
    assert len(json.loads(Path("out/coco.json").read_bytes())["images"]) == 4
    (photos / "cut.png").write_bytes(draw_png((60, 90), 0))
    (photos / "text.jpg").unlink()
    (photos / "0-empty.png").unlink()
    result = run(toy_export, "photos", "-o", "out", "--format", "coco")
    assert result.exit_code == 0
    assert result.stdout.endswith("4 of them done before\n")
    assert len(json.loads(Path("out/coco.json").read_bytes())["images"]) == 5


@pytest.mark.parametrize("image_hw", [(1, 1), (200, 30_000), (30_000, 200)])
def test_images_of_every_shape(
    toy_export: ExportReport, tmp_path: Path, image_hw: tuple[int, int], draw_png: DrawPng
) -> None:
    (tmp_path / "odd.png").write_bytes(draw_png(image_hw, 0))
    out = tmp_path / "out"
    given = ("--points-per-side", 2, *ALL_FORMATS, "--copy-images")
    result = run(toy_export, tmp_path / "odd.png", "-o", out, *given)
    assert result.exit_code == 0, result.stderr
    sample = open_sa1b(out).read(0)
    assert sample.image.shape[:2] == image_hw
    for annotation in sample.annotations:
        assert annotation.mask().sum() == annotation.area
    with Image.open(out / "odd_labels.png") as labels:
        assert labels.size == (image_hw[1], image_hw[0])


MISTAKES = {
    "nothing there": (("none.jpg", "-o", "out"), "none.jpg: no such file or folder"),
    "no match": (("photos/*.tiff", "-o", "out"), "nothing matches"),
    "no images": (("empty", "-o", "out"), "empty: no image there"),
    "damaged tar": (("bad.tar", "-o", "out"), "bad.tar is not an uncompressed tar"),
    "output is a file": (("photos", "-o", "bad.tar"), "bad.tar is a file"),
    "output is the input": (("photos", "-o", "photos"), "name another folder for the output"),
    "input in the output": (("photos/trip", "-o", "photos"), "name another folder"),
    "preset": (("photos", "-o", "out", "--preset", "best"), "choose from default, sa1b"),
    "format": (("photos", "-o", "out", "--format", "png"), "choose from sa1b, coco"),
    "memory": (("photos", "-o", "out", "--max-memory", "much"), "--max-memory 'much'"),
    "region": (("photos", "-o", "out", "--region", "1,2,3"), "--region '1,2,3' is not x0,y0,x1,y1"),
    "model": (("photos", "-o", "out", "--model", "sam"), "no model 'sam'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(
    toy_export: ExportReport, photos: Path, mistake: str, files_below: FilesBelow
) -> None:
    Path("empty").mkdir()
    Path("bad.tar").write_bytes(b"no tar")
    before = files_below(photos.parent)
    given, words = MISTAKES[mistake]
    arguments = given if "--model" in given else (*given, "--model", str(toy_export.folder))
    result = CliRunner().invoke(build_app(), ["everything", *arguments], catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("segloop: error: ")
    assert words in line
    assert files_below(photos.parent) == before
    assert not Path("out").exists()


@pytest.mark.usefixtures("photos")
def test_other_settings_in_the_same_folder_need_redo(
    toy_export: ExportReport, files_below: FilesBelow
) -> None:
    run(toy_export, "photos", "-o", "out")
    before = files_below(Path("out"))
    result = run(toy_export, "photos", "-o", "out", "--points-per-side", "2")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "points_per_side 3 (now 2)" in line
    assert files_below(Path("out")) == before
    assert run(toy_export, "photos", "-o", "out", "--points-per-side", "2", "--redo").exit_code == 0
    run(toy_export, "photos", "-o", "fresh", "--points-per-side", "2")
    assert files_below(Path("out")) == files_below(Path("fresh"))


def test_counts_of_every_filter_are_summed(toy_export: ExportReport, photos: Path) -> None:
    result = run(toy_export, photos / "a.png", photos / "b.png", "-o", "out", "--counts")
    first, header, *rows = result.stdout.splitlines()
    assert header.split() == ["masks", "before", "after"]
    table = [row.rsplit(maxsplit=2)[1:] for row in rows]
    assert int(table[0][0]) >= 2 * 9 * 3
    assert all(int(before) >= int(after) for before, after in table)
    assert first == f"out: 2 images, {table[-1][1]} masks"


@pytest.mark.usefixtures("photos")
def test_nothing_passing_the_filters_is_explained(toy_export: ExportReport) -> None:
    result = run(toy_export, "photos/a.png", "-o", "out", "--nms", "0.7")
    assert "no mask passed" not in result.stderr
    command = ["everything", "photos/a.png", "-o", "none", "--model", str(toy_export.folder)]
    command += ["--min-iou", "99", "--points-per-side", "2"]
    result = CliRunner().invoke(build_app(), command, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout == "none: 1 images, 0 masks\n"
    assert "no mask passed the filters" in result.stderr


def test_a_folder_that_takes_no_files_gets_one_line(toy_export: ExportReport, photos: Path) -> None:
    closed = photos.parent / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):
        # The superuser may write everywhere; /proc refuses even that one.
        closed = Path("/proc/segloop")
        if not closed.parent.is_dir():
            pytest.skip("nothing is closed to this user")
    result = run(toy_export, "photos", "-o", closed)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert str(closed) in line


def test_tars_are_read_and_images_of_one_name_numbered(
    toy_export: ExportReport, photos: Path, files_below: FilesBelow
) -> None:
    subprocess.run(["tar", "-cf", "set.tar", "-C", photos, "a.png", "trip/a.png"], check=True)
    result = run(toy_export, "photos/a.png", "set.tar", "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert {
        name for name in files_below(Path("out")) if name.endswith("a.json") or "-2" in name
    } == {
        "a.json",
        "a-2.json",
        "trip/a.json",
    }
    assert Path("out/a.json").read_bytes().count(b'"area"') == Path(
        "out/a-2.json"
    ).read_bytes().count(b'"area"')


def test_presets_are_changed_where_asked() -> None:
    from segloop.predict.automatic import PRESETS

    assert build_config(None, "default") == PRESETS["default"]
    changed = build_config(None, "sa1b", points_per_side=7, box_nms_threshold=None)
    assert changed.points_per_side == 7
    assert changed.crop_layers == PRESETS["sa1b"].crop_layers == 2
    with pytest.raises(InputError, match="'best': choose from"):
        build_config(None, "best")


def test_the_models_own_thresholds_hold_but_for_what_is_asked() -> None:
    spec = BackendSpec("m", "", 64, 32, 32, 8, automatic_thresholds=(0.4, 0.6))
    config = build_config(spec, stability_threshold=0.7)
    assert (config.predicted_iou_threshold, config.stability_threshold) == (0.4, 0.7)


@pytest.mark.usefixtures("photos")
def test_memory_is_kept_by_smaller_batches_or_refused(
    toy_export: ExportReport, files_below: FilesBelow
) -> None:
    from segloop.predict.memory import resident_bytes

    assert run(toy_export, "photos/a.png", "-o", "out").exit_code == 0
    ample = f"{resident_bytes() / 1e6 + 500:.0f}M"
    assert run(toy_export, "photos/a.png", "-o", "ample", "--max-memory", ample).exit_code == 0
    assert files_below(Path("ample"))["a.json"] == files_below(Path("out"))["a.json"]
    refused = run(toy_export, "photos/a.png", "-o", "refused", "--max-memory", "20M")
    assert refused.exit_code == 1
    assert "only 20 MB are allowed" in refused.stderr


def test_how_far_a_run_has_come() -> None:
    assert Outcome(num_images=3).standing(9, " without --redo") == (
        "3 of 9 images are done; the same command without --redo goes on from there"
    )


@pytest.mark.usefixtures("photos")
def test_the_limit_of_pixels_is_the_callers(toy_export: ExportReport) -> None:
    result = run(toy_export, "photos", "-o", "out", "--max-pixels", 4000)
    assert result.exit_code == 1
    assert "out: 2 images, " in result.stdout
    assert "more than the limit of 4,000" in result.stderr
