from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.data.sets.registry import open_set
from segloop.data.sets.via_json import open_via
from segloop.errors import InputError

Save = Callable[..., Path]
SQUARE = {"name": "polygon", "all_points_x": [4, 14, 14, 4], "all_points_y": [3, 3, 9, 9]}


def project(file_name: str, regions: Any) -> dict[str, Any]:
    return {f"{file_name}1234": {"filename": file_name, "size": 1234, "regions": regions}}


def expected() -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[3:9, 4:14] = True
    return mask


def test_dolphins_are_read_above_and_below_the_water(
    tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    region = {"shape_attributes": {**SQUARE, "name": "polyline"}, "region_attributes": {}}
    for place in ("ABOVE", "BELOW"):
        save_json(f"{place}_LABELS.json", project("1.jpg", [region, region]))
        save_picture(f"{place}/1.jpg", (20, 30))
    listed = open_set("NDD20", tmp_path)
    assert [entry.name for entry in listed.entries] == ["ABOVE/1", "BELOW/1"]
    first, second = listed.read(1).annotations
    assert np.array_equal(first.mask(), expected())
    assert (first.id, second.id) == (1, 2)


def test_cars_are_read(tmp_path: Path, save_json: Save, save_picture: Save) -> None:
    regions = {"0": {"shape_attributes": SQUARE}}
    files = {**project("a.jpg", regions), **project("empty.jpg", {})}
    save_json("vehicleannotations/annotations/vehicle-annotations.json", files)
    save_picture("vehicleannotations/images/a.jpg", (20, 30))
    listed = open_set("STREETS", tmp_path)
    assert len(listed) == 1
    (car,) = listed.read(0).annotations
    assert np.array_equal(car.mask(), expected())


def open_here(folder: Path) -> object:
    return open_via(folder, name="Cars", files=(("a.json", "images"),))


def test_an_annotation_without_image_is_refused(tmp_path: Path, save_json: Save) -> None:
    (tmp_path / "images").mkdir()
    save_json("a.json", project("a.jpg", [{"shape_attributes": SQUARE}]))
    with pytest.raises(InputError, match=r"^Cars/images/a: annotated, but there is no image"):
        open_here(tmp_path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"name": "rect", "x": 1}, "a region is a rect, not a polygon"),
        ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1]}, "shorter"),
        ({"name": "polygon", "all_points_x": [float("nan")], "all_points_y": [1]}, "finite"),
    ],
)
def test_other_shapes_are_refused(
    shape: dict[str, Any], message: str, tmp_path: Path, save_json: Save
) -> None:
    (tmp_path / "images").mkdir()
    save_json("a.json", project("a.jpg", [{"shape_attributes": shape}]))
    with pytest.raises(InputError, match=rf"a\.json is not a project .*{message}"):
        open_here(tmp_path)
