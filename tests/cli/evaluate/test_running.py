from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from segloop.cli.evaluate.running import loader, open_sets, stamp_of
from segloop.errors import InputError


def test_sets_have_names_and_samples(data: Path) -> None:
    (one,) = open_sets([str(data)])
    assert (one.name, len(one.samples)) == ("rectangles", 2)
    assert one.samples.read(1).annotations[0].mask().sum() == 21 * 38
    with pytest.raises(InputError, match="no such tar or folder"):
        open_sets([str(data / "none")])


def test_a_stamp_changes_with_any_file_below(data: Path) -> None:
    before = stamp_of([data])
    assert stamp_of([data]) == before
    os.utime(data / "1.jpg", ns=(1, 1))
    touched = stamp_of([data])
    assert touched != before
    (data / "below").mkdir()
    (data / "below" / "2.jpg").write_bytes(b"")
    assert stamp_of([data]) not in {before, touched}
    assert stamp_of([data / "0.jpg"]) != stamp_of([data / "0.json"])
    assert stamp_of([data], ["a"]) != stamp_of([data], ["b"])


def test_processes_share_the_processors() -> None:
    def threads(given: int | None, jobs: int) -> int | None:
        loaded: int | None = loader("default", "cpu", given, jobs).keywords["threads"]  # type: ignore[attr-defined]
        return loaded

    assert threads(None, 1) is None
    assert threads(None, 1000) == 1
    assert threads(3, 2) == 3


def test_two_sets_of_one_name_are_refused(data: Path) -> None:
    with pytest.raises(InputError, match="two sets are called rectangles"):
        open_sets([str(data), str(data)])


def test_annotations_of_coco_and_lvis_stand_before_their_images(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    lists = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    record = {"id": 1, "file_name": "a.png", "height": 3, "width": 4, **lists}
    content = {
        "images": [record],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat", "frequency": "c"}],
    }
    for name in ("instances_val2017.json", "lvis_v1_val.json"):
        (tmp_path / name).write_text(json.dumps(content))
    coco, lvis = open_sets(
        [f"{tmp_path / name}.json={images}" for name in ("instances_val2017", "lvis_v1_val")]
    )
    assert (coco.name, lvis.name) == ("instances_val2017", "lvis_v1_val")
    assert len(coco.samples) == 1
    assert [one.samples.categories[0].frequency for one in (coco, lvis)] == [None, "common"]  # type: ignore[attr-defined]
    (images / "a.png").write_bytes(b"")
    (again,) = open_sets([f"{tmp_path / 'lvis_v1_val.json'}={images}"])
    assert again.stamp != lvis.stamp
    with pytest.raises(InputError, match="no such folder of images"):
        open_sets([f"{tmp_path / 'lvis_v1_val.json'}={tmp_path / 'none'}"])
