from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from segloop.data.archive import Member
from segloop.data.coco import write_coco
from segloop.data.sa1b import encode_sa1b
from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray

Encoder = Callable[[BoolArray], EncodedMasks]


def squares(height: int, width: int, count: int) -> BoolArray:
    masks = np.zeros((count, height, width), dtype=np.bool_)
    for row, mask in enumerate(masks):
        mask[row : row + 4, 2 * row : 2 * row + 5] = True
    return masks


@pytest.fixture
def records(tmp_path: Path, encode_masks: Encoder) -> list[tuple[str, Member]]:
    """Three images with 2, 0 and 3 masks, the last in a folder of its own."""
    found = []
    for name, count in (("a.json", 2), ("b.json", 0), ("trip/c.json", 3)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        masks = encode_masks(squares(20, 30 + count, count))
        path.write_bytes(encode_sa1b(masks, f"{path.stem}.jpg", 7))
        found.append((name, Member(path)))
    return found


def test_the_coco_tools_read_it_and_agree(
    records: list[tuple[str, Member]], tmp_path: Path
) -> None:
    with (tmp_path / "coco.json").open("wb") as stream:
        assert write_coco(stream, records) == 5
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "coco.json")
    assert [image["file_name"] for image in coco.loadImgs([1, 2, 3])] == [
        "a.jpg",
        "b.jpg",
        "trip/c.jpg",
    ]
    assert (coco.imgs[3]["height"], coco.imgs[3]["width"]) == (20, 33)
    assert coco.getCatIds(catNms=["object"]) == [1]
    assert sorted(coco.anns) == [1, 2, 3, 4, 5]
    assert [len(coco.getAnnIds(imgIds=[number])) for number in (1, 2, 3)] == [2, 0, 3]
    for row, annotation in enumerate(coco.loadAnns(coco.getAnnIds(imgIds=[3]))):
        mask = squares(20, 33, 3)[row]
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == [2 * row, row, 5, 4]
        assert annotation["iscrowd"] == 0


def test_no_images_are_a_whole_file_too() -> None:
    stream = io.BytesIO()
    assert write_coco(stream, []) == 0
    content = json.loads(stream.getvalue())
    assert content["images"] == content["annotations"] == []
    assert [one["name"] for one in content["categories"]] == ["object"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"image": {}}'])
def test_a_record_of_another_kind_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json is not in SA-1B layout"):
        write_coco(io.BytesIO(), [("x.json", Member(tmp_path / "x.json"))])
    with pytest.raises(InputError, match="No such file"):
        write_coco(io.BytesIO(), [("y.json", Member(tmp_path / "y.json"))])
