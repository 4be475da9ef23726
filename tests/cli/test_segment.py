from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import segloop
from segloop.cli.main import build_app
from segloop.cli.prompting import request_from_options
from segloop.cli.segment import best_first, group_by_image
from segloop.geometry.masks import MaskBatch
from segloop.geometry.rle import Rle, decode_rle

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs of different sizes, and a rough mask of the first."""
    rng = np.random.default_rng(0)
    for name, image_hw in (("a.png", (60, 90)), ("b.png", (80, 50))):
        picture = rng.integers(0, 255, (*image_hw, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / name)
    rough = np.zeros((60, 90), dtype=np.uint8)
    rough[20:40, 30:60] = 255
    Image.fromarray(rough).save(tmp_path / "rough.png")
    return tmp_path


def run(report: ExportReport, *arguments: object, stdin: str | None = None) -> Result:
    texts = ["segment", "--model", str(report.folder), *(str(one) for one in arguments)]
    return CliRunner().invoke(build_app(), texts, input=stdin, catch_exceptions=False)


def records_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_object_is_what_the_predictor_says(toy_export: ExportReport, folder: Path) -> None:
    photo = folder / "a.png"
    result = run(toy_export, photo, "--point", "40,30", "--point", "5,5,0", "--box", "10,10,70,50")
    assert result.exit_code == 0, result.stderr
    (record,) = records_of(result)
    predictor = segloop.load(toy_export.folder)
    prompt = segloop.Prompt(points_xy=[(40, 30), (5, 5)], labels=[1, 0], box_xyxy=(10, 10, 70, 50))
    expected = predictor.segment(predictor.encode(photo), prompt, outputs="best")
    mask = decode_rle(Rle.from_json(record["segmentation"]))
    assert np.array_equal(mask, expected.masks[0])
    assert record["predicted_iou"] == pytest.approx(float(expected.predicted_iou[0]), abs=1e-4)
    assert record["output"] == 0
    assert record["prompt"] == {"points": [[40, 30, 1], [5, 5, 0]], "box": [10, 10, 70, 50]}
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png", "rough.png"]


def test_a_closer_look_when_asked_for(toy_export: ExportReport, folder: Path) -> None:
    def mask(*option: str) -> object:
        result = run(toy_export, folder / "a.png", "--box", "40,20,46,25", *option)
        assert result.exit_code == 0, result.stderr
        return decode_rle(Rle.from_json(records_of(result)[0]["segmentation"])).tolist()

    closer = segloop.load(toy_export.folder, closer=True)
    prompt = segloop.Prompt(box_xyxy=(40, 20, 46, 25))
    expected = closer.segment(closer.encode(folder / "a.png"), prompt, outputs="best")
    assert mask("--closer") == expected.masks[0].tolist()
    assert mask("--no-closer") == mask()
    assert mask("--closer") != mask()


def test_files_are_written_and_named(toy_export: ExportReport, folder: Path) -> None:
    out = folder / "deep" / "out"
    result = run(toy_export, folder / "a.png", "--point", "40,30", "-o", out)
    assert result.exit_code == 0, result.stderr
    (record,) = records_of(result)
    assert {Path(path) for path in record["files"].values()} == set(out.iterdir())
    assert {path.name for path in out.iterdir()} == {
        "a_mask.png",
        "a_overlay.png",
        "a_cutout.png",
    }
    with Image.open(out / "a_mask.png") as picture:
        written = np.asarray(picture) > 0
    assert np.array_equal(written, decode_rle(Rle.from_json(record["segmentation"])))


def test_all_masks_are_the_three_best_first(toy_export: ExportReport, folder: Path) -> None:
    result = run(
        toy_export, folder / "a.png", "--point", "40,30", "--all-masks", "-o", folder / "out"
    )
    records = records_of(result)
    assert sorted(record["output"] for record in records) == [1, 2, 3]
    scores = [record["predicted_iou"] for record in records]
    assert scores == sorted(scores, reverse=True)
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {
        f"a_{row}_{kind}.png" for row in range(3) for kind in ("mask", "overlay", "cutout")
    }
    (best,) = records_of(run(toy_export, folder / "a.png", "--point", "40,30"))
    assert best["segmentation"] == records[0]["segmentation"]


def test_a_rough_mask_is_a_prompt(toy_export: ExportReport, folder: Path) -> None:
    result = run(toy_export, folder / "a.png", "--mask", folder / "rough.png")
    (record,) = records_of(result)
    assert record["prompt"] == {"mask": str(folder / "rough.png")}
    predictor = segloop.load(toy_export.folder)
    rough = np.zeros((60, 90), dtype=bool)
    rough[20:40, 30:60] = True
    expected = predictor.segment(
        predictor.encode(folder / "a.png"), segloop.Prompt(mask=rough), outputs="best"
    )
    assert np.array_equal(decode_rle(Rle.from_json(record["segmentation"])), expected.masks[0])


def test_the_limit_of_pixels_is_the_callers(toy_export: ExportReport, folder: Path) -> None:
    small = run(toy_export, folder / "a.png", "--point", "9,9", "--max-pixels", 5399)
    assert small.exit_code == 2
    assert "more than the limit of 5,399" in small.stderr
    arguments = ("--point", "9,9", "--mask", folder / "rough.png", "--max-pixels", 5400)
    enough = run(toy_export, folder / "a.png", *arguments)
    assert enough.exit_code == 0, enough.stderr
    Image.new("1", (14_000, 8_000), 1).save(folder / "large.png")
    arguments = ("--mask", folder / "large.png", "--max-pixels", 112_000_000)
    large = run(toy_export, folder / "a.png", *arguments)
    assert "mask is (8000, 14000)" in large.stderr


def test_a_mask_without_a_pixel_is_told(
    toy_export: ExportReport, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = segloop.Predictor.segment

    def draw_nothing(self: segloop.Predictor, *given: Any, **options: Any) -> MaskBatch:
        found = segment(self, *given, **options)
        return replace(found, masks=np.zeros_like(found.masks))

    monkeypatch.setattr(segloop.Predictor, "segment", draw_nothing)
    result = run(toy_export, folder / "a.png", "--point", "9,9", "--all-masks")
    assert result.exit_code == 0
    assert [record["area"] for record in records_of(result)] == [0, 0, 0]
    assert result.stderr == f"segloop: {folder / 'a.png'}: 3 of 3 masks have no pixel\n"


def test_a_batch_encodes_each_image_once_and_keeps_ids(
    toy_export: ExportReport, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = segloop.Predictor.encode

    def count(self: segloop.Predictor, image: Any, **options: Any) -> segloop.Embedding:
        encoded.append(image.shape)
        return encode(self, image, **options)

    monkeypatch.setattr(segloop.Predictor, "encode", count)
    lines = [
        {"image": "a.png", "points": [[40, 30]], "id": "first"},
        {"image": "b.png", "box": [5, 5, 40, 60], "id": "second"},
        {"image": "./a.png", "mask": "rough.png", "id": "third"},
    ]
    prompts = folder / "objects.jsonl"
    prompts.write_text("\n".join(json.dumps(line) for line in lines))
    result = run(toy_export, "--prompts", prompts, "-o", folder / "out")
    assert result.exit_code == 0, result.stderr
    assert [record["id"] for record in records_of(result)] == ["first", "third", "second"]
    assert encoded == [(60, 90, 3), (80, 50, 3)]
    assert {path.name for path in (folder / "out").iterdir()} == {
        "a_0_mask.png",
        "a_0_cutout.png",
        "a_1_mask.png",
        "a_1_cutout.png",
        "a_overlay.png",
        "b_mask.png",
        "b_cutout.png",
        "b_overlay.png",
    }


def test_images_of_one_name_keep_their_own_files(toy_export: ExportReport, folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "b.png").rename(folder / "other" / "a.png")
    lines = '{"image": "a.png", "points": [[9, 9]]}\n{"image": "other/a.png", "points": [[9, 9]]}'
    (folder / "objects.jsonl").write_text(lines)
    result = run(toy_export, "--prompts", folder / "objects.jsonl", "-o", folder / "out")
    assert result.exit_code == 0, result.stderr
    for name, size in (("a_mask.png", (90, 60)), ("a-2_mask.png", (50, 80))):
        with Image.open(folder / "out" / name) as picture:
            assert picture.size == size


def test_a_batch_goes_on_and_says_at_the_end_what_failed(
    toy_export: ExportReport, folder: Path
) -> None:
    (folder / "text.jpg").write_text("no photograph")
    lines = [
        '{"image": "none.png", "points": [[1, 1]]}',
        "broken",
        '{"image": "text.jpg", "points": [[1, 1]]}',
        '{"image": "a.png", "points": [[900, 1]]}',
        '{"image": "a.png", "points": [[9, 9]], "id": "good"}',
        '{"image": "b.png", "mask": "rough.png"}',
        '{"image": "b.png", "points": [[9, 9]], "id": "also good"}',
    ]
    (folder / "objects.jsonl").write_text("\n".join(lines))
    result = run(toy_export, "--prompts", folder / "objects.jsonl")
    assert result.exit_code == 1
    assert [record["id"] for record in records_of(result)] == ["good", "also good"]
    reported = result.stderr.splitlines()
    assert len(reported) == 6
    assert all(line.startswith("segloop: failed: ") for line in reported[:5])
    for reason in (
        "none.png: no such file",
        "line 2: not JSON",
        "text.jpg is not an image",
        "line 4: point 900,1 lies outside",
        "line 6: mask is",
    ):
        assert sum(reason in line for line in reported) == 1, reason
    assert reported[-1] == "segloop: 5 failed, 2 masks made"


def test_a_batch_goes_on_after_what_the_machine_refuses(
    toy_export: ExportReport, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = segloop.Predictor.encode

    def fail_for_one(self: segloop.Predictor, image: Any, **options: Any) -> segloop.Embedding:
        if image.shape[0] == 80:
            raise MemoryError
        return encode(self, image, **options)

    monkeypatch.setattr(segloop.Predictor, "encode", fail_for_one)
    long = 250 * "x" + ".png"  # a name that leaves no room for _mask
    (folder / long).write_bytes((folder / "a.png").read_bytes())
    lines = [{"image": name, "points": [[9, 9]]} for name in (long, "b.png", "a.png")]
    (folder / "objects.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    result = run(toy_export, "--prompts", folder / "objects.jsonl", "-o", folder / "out")
    assert result.exit_code == 1
    assert [record["image"] for record in records_of(result)] == ["a.png"]
    first, second, last = result.stderr.splitlines()
    assert "File name too long" in first
    assert second.endswith("b.png: not enough memory for it")
    assert last == "segloop: 2 failed, 1 masks made"
    alone = run(toy_export, folder / "b.png", "--point", "9,9")
    assert alone.exit_code == 1
    assert alone.stderr == "segloop: error: not enough memory\n"


def test_a_circle_of_links_fails_alone(toy_export: ExportReport, folder: Path) -> None:
    (folder / "first.png").symlink_to("second.png")
    (folder / "second.png").symlink_to("first.png")
    lines = [{"image": name, "points": [[9, 9]]} for name in ("first.png", "a.png", 5000 * "x")]
    (folder / "objects.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    result = run(toy_export, "--prompts", folder / "objects.jsonl", "-o", folder / "out")
    assert result.exit_code == 1
    assert [record["image"] for record in records_of(result)] == ["a.png"]
    first, second, last = result.stderr.splitlines()
    assert "first.png cannot be read" in first
    assert len(second) < 300
    assert last == "segloop: 2 failed, 1 masks made"
    alone = run(toy_export, folder / "first.png", "--point", "9,9")
    assert alone.exit_code == 2
    assert "first.png cannot be read" in alone.stderr


def test_prompts_come_through_a_pipe(
    toy_export: ExportReport, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    line = '{"points": [[9, 9]]}\n'
    result = run(toy_export, "b.png", "--prompts", "-", stdin=line)
    assert result.exit_code == 0, result.stderr
    assert records_of(result)[0]["image"] == "b.png"


def test_prompts_exclude_the_other_ways(toy_export: ExportReport, folder: Path) -> None:
    result = run(toy_export, "--prompts", folder / "objects.jsonl", "--point", "1,2")
    assert result.exit_code == 2
    assert "leave out --point" in result.stderr


def test_jobs_are_grouped_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a.jpg", "b.jpg", "./a.jpg", str(tmp_path / "a.jpg")]
    jobs = group_by_image([request_from_options(name, ["1,2"], [], []) for name in names])
    assert [(str(job.path), job.stem, len(job.requests)) for job in jobs] == [
        ("a.jpg", "a", 3),
        ("b.jpg", "b", 1),
    ]


def test_best_first_keeps_prompts_in_order() -> None:
    masks = MaskBatch(
        masks=np.zeros((4, 2, 2), dtype=bool),
        predicted_iou=np.array([0.1, 0.9, 0.3, 0.5], dtype=np.float32),
        stability_score=np.zeros(4, dtype=np.float32),
        prompt_index=np.array([0, 0, 1, 1]),
        output_index=np.array([1, 2, 1, 2]),
        logits=np.zeros((4, 2, 2), dtype=np.float32),
    )
    ordered = best_first(masks)
    assert ordered.prompt_index.tolist() == [0, 0, 1, 1]
    assert ordered.output_index.tolist() == [2, 1, 2, 1]


def test_a_terminal_sees_words_instead_of_counts(toy_export: ExportReport, folder: Path) -> None:
    pty = pytest.importorskip("pty", reason="pseudo-terminals are a matter of Unix")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "segloop", "segment", "a.png", "--point", "9,9", "-o", "out"]
    command += ["--model", str(toy_export.folder)]
    completed = subprocess.run(command, cwd=folder, stdout=theirs, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert completed.returncode == 0
    assert "a_mask.png" in shown
    assert "of the image" in shown
    assert "counts" not in shown


def run_on_a_terminal(command: list[str], folder: Path, **streams: Any) -> str:
    """What a command shows on a terminal of 80 columns: standard error, and what `streams` does not take."""
    pty = pytest.importorskip("pty", reason="pseudo-terminals are a matter of Unix")
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # Linux says so at the end
            while part := os.read(ours, 65536):
                shown.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    given = {"stdout": theirs, "stderr": theirs, **streams}
    completed = subprocess.run(command, cwd=folder, env=environment, check=False, **given)
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert completed.returncode == 0, b"".join(shown)
    return b"".join(shown).decode()


def test_a_batch_keeps_its_lines_whole_beside_a_bar(toy_export: ExportReport, folder: Path) -> None:
    lines = [{"image": name, "points": [[9, 9]], "id": name} for name in ("a.png", "b.png")]
    (folder / "objects.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    command = [sys.executable, "-m", "segloop", "segment", "--prompts", "objects.jsonl"]
    command += ["--model", str(toy_export.folder)]
    with (folder / "out.jsonl").open("w") as stream:
        shown = run_on_a_terminal(command, folder, stdout=stream)
    written = (folder / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in written] == ["a.png", "b.png"]
    assert "segmenting" in shown
    assert "counts" not in shown
    both = run_on_a_terminal(command, folder)
    for line in written:
        assert line in re.split(r"[\r\n]+|\x1b\[[0-9;?]*[A-Za-z]", both)


def test_ctrl_c_ends_in_one_line_after_what_had_failed(
    toy_export: ExportReport, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segloop.Predictor, "encode", interrupt)
    (folder / "objects.jsonl").write_text('broken\n{"image": "a.png", "points": [[9, 9]]}')
    result = run(toy_export, "--prompts", folder / "objects.jsonl", "-o", folder / "out")
    assert result.exit_code == 130
    failed, last = result.stderr.splitlines()
    assert "line 1: not JSON" in failed
    assert last == "segloop: error: interrupted"
    assert not list((folder / "out").iterdir())
