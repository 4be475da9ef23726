from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.train.metrics import METRICS_NAME, SKIPPED_NAME, MetricWriter, SkippedItems
from segloop.train.pictures import write_picture


def lines_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]


def test_every_step_is_a_line_of_json(tmp_path: Path) -> None:
    with MetricWriter(tmp_path / "run", 0) as writer:
        writer.write(20, {"loss": 1.5, "iou/0": 0.25})
        assert lines_of(tmp_path / "run") == [{"step": 20, "loss": 1.5, "iou/0": 0.25}]
        writer.write(40, {"loss": 1.0})
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [20, 40]


def test_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(20, {"loss": 1.5, "iou/0": float("nan"), "mfu": float("inf")})
    assert lines_of(tmp_path) == [{"step": 20, "loss": 1.5}]


def test_resuming_drops_what_the_checkpoint_has_not_seen(tmp_path: Path) -> None:
    with MetricWriter(tmp_path, 0) as writer:
        for step in (20, 40, 60):
            writer.write(step, {"loss": float(step)})
    with MetricWriter(tmp_path, 40) as writer:
        writer.write(60, {"loss": -1.0})
    assert [(line["step"], line["loss"]) for line in lines_of(tmp_path)] == [
        (20, 20.0),
        (40, 40.0),
        (60, -1.0),
    ]


def test_a_line_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(20, {"loss": 1.0})
    with (tmp_path / METRICS_NAME).open("a") as stream:
        stream.write('{"step": 40, "lo')
    with MetricWriter(tmp_path, 40) as writer:
        writer.write(60, {"loss": 3.0})
    assert [line["step"] for line in lines_of(tmp_path)] == [20, 60]
    assert not list(tmp_path.glob("*.partial"))


def test_events_for_tensorboard_lie_beside(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    picture = write_picture(tmp_path, 20, np.full((6, 9, 3), 80, dtype=np.uint8))
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(20, {"loss": 1.5})
        writer.show(20, picture)
        writer.show(40, picture.with_name("none.png"))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(20, 1.5)]
    (image,) = events.Images("validation")
    assert (image.step, image.width, image.height) == (20, 9, 6)


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*metrics\.jsonl") as caught:
        MetricWriter(tmp_path / "file" / "run", 0)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here to stand for a full disk")
    with MetricWriter(tmp_path, 0) as writer:
        stream, writer._stream = writer._stream, full.open("ab", buffering=0)
        stream.close()
        with pytest.raises(InputError, match="No space left") as caught:
            writer.write(20, {"loss": 1.0})
    assert "\n" not in str(caught.value)


def test_what_was_skipped_is_counted_even_where_it_cannot_be_written(tmp_path: Path) -> None:
    skipped = SkippedItems(tmp_path)
    skipped.add("a.png: no picture")
    skipped.add("b.png: no picture")
    assert (tmp_path / SKIPPED_NAME).read_text() == "a.png: no picture\nb.png: no picture\n"
    nowhere = SkippedItems(tmp_path / "nowhere")
    nowhere.add("c.png")
    assert (skipped.count, nowhere.count) == (2, 1)


def test_what_cannot_be_read_is_left_out_and_counted_once(tmp_path: Path) -> None:
    def read(number: int) -> str:
        if number % 2:
            raise InputError(f"{number}.png: no picture")
        return f"item {number}"

    skipped = SkippedItems(tmp_path)
    assert list(skipped.usable(read, range(3))) == [(0, "item 0"), (2, "item 2")]
    assert list(skipped.usable(read, range(4))) == [(0, "item 0"), (2, "item 2")]
    assert skipped.as_validation() == {"validation/skipped": 2}
    assert (tmp_path / SKIPPED_NAME).read_text() == "1.png: no picture\n3.png: no picture\n"
    assert SkippedItems(tmp_path).as_validation() == {}
