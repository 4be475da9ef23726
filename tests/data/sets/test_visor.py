from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]
FRAME = "P01_107_frame_0000000140.jpg"
OUTER = [[2.0, 1.0], [12.0, 1.0], [12.0, 9.0], [2.0, 9.0]]
INNER = [[5.0, 4.0], [8.0, 4.0], [8.0, 6.0], [5.0, 6.0]]


def content(*segments: Any) -> dict[str, Any]:
    items = [{"id": "x", "name": "left hand", "segments": one} for one in segments]
    image = {"name": FRAME, "video": "P01_107", "image_path": f"P01_107/{FRAME}"}
    return {"video_annotations": [{"image": image, "annotations": items}]}


@pytest.mark.parametrize("place", ["P01/P01_107", "P01_107", "P01"])
def test_hands_are_read_with_their_holes(
    place: str, tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    top = "GroundTruth-SparseAnnotations"
    save_json(f"{top}/annotations/val/P01_107.json", content([OUTER, INNER], [], [[]]))
    save_picture(f"{top}/rgb_frames/val/{place}/{FRAME}", (12, 16))
    sample = open_set("VISOR", tmp_path).read(0)
    (hand,) = sample.annotations
    expected = np.zeros((12, 16), dtype=np.bool_)
    expected[1:10, 2:13] = True
    # An outline belongs to what it bounds, so of the hole only what is within its outline is open.
    expected[5, 6:8] = False
    assert sample.name == "P01_107/P01_107_frame_0000000140"
    assert hand.category == "left hand"
    assert np.array_equal(hand.mask(), expected)


def test_a_frame_that_is_missing_is_refused(tmp_path: Path, save_json: Save) -> None:
    save_json("annotations/val/P01_107.json", content([OUTER]))
    (tmp_path / "rgb_frames" / "val").mkdir(parents=True)
    with pytest.raises(InputError, match=r"annotated, but there is no image .*P01/P01_107/P01_107"):
        open_set("VISOR", tmp_path)


@pytest.mark.parametrize("wrong", [{}, [1], content([[["a", 1.0]]])])
def test_what_is_not_in_this_layout_is_refused(wrong: Any, tmp_path: Path, save_json: Save) -> None:
    save_json("annotations/val/P01_107.json", wrong)
    (tmp_path / "rgb_frames" / "val").mkdir(parents=True)
    with pytest.raises(InputError, match=r"P01_107\.json is not in VISOR's layout"):
        open_set("VISOR", tmp_path)
