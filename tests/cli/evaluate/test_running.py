from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from segloop.cli.evaluate import running
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
    content = bytearray((data / "1.jpg").read_bytes())
    content[-1] ^= 1
    (data / "1.jpg").write_bytes(content)
    changed = stamp_of([data])
    assert changed != before
    (data / "below").mkdir()
    (data / "below" / "2.jpg").write_bytes(b"")
    assert stamp_of([data]) not in {before, changed}
    assert stamp_of([data / "0.jpg"]) != stamp_of([data / "0.json"])
    assert stamp_of([data], ["a"]) != stamp_of([data], ["b"])


def test_a_copy_has_the_stamp_of_the_original(data: Path, tmp_path: Path) -> None:
    before = stamp_of([data])
    os.utime(data / "1.jpg", ns=(1, 1))
    assert stamp_of([data]) == before
    assert stamp_of([Path(shutil.copytree(data, tmp_path / "copy"))]) == before


def test_the_stamp_of_much_tells_dates(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_READ_BYTES", 100)
    before = stamp_of([data])
    assert stamp_of([data]) == before
    os.utime(data / "1.jpg", ns=(1, 1))
    assert stamp_of([data]) != before


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
    # What the file holds decides, not what it is called.
    searched = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    for name, lists in (("lvis_like", {}), ("own_val", searched)):
        content = {
            "images": [{"id": 1, "file_name": "a.png", "height": 3, "width": 4, **lists}],
            "annotations": [],
            "categories": [{"id": 1, "name": "cat", "frequency": "c"}],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    coco, lvis = open_sets(
        [f"{tmp_path / name}.json={images}" for name in ("lvis_like", "own_val")]
    )
    assert (coco.name, lvis.name) == ("lvis_like", "own_val")
    assert len(coco.samples) == 1
    assert [one.samples.categories[0].frequency for one in (coco, lvis)] == [None, "common"]  # type: ignore[attr-defined]
    (images / "a.png").write_bytes(b"")
    (again,) = open_sets([f"{tmp_path / 'own_val.json'}={images}"])
    assert again.stamp != lvis.stamp
    with pytest.raises(InputError, match="no such folder of images"):
        open_sets([f"{tmp_path / 'own_val.json'}={tmp_path / 'none'}"])
