"""Finished objects, by the buttons of their list: what is pressed changes the list, the picture and the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop.geometry.rle import Rle, decode_rle

if TYPE_CHECKING:
    from tests.e2e.conftest import Client

CAT_POINT, CAT_BOX = (200.0, 150.0), (60.0, 20.0, 320.0, 290.0)
CORNER_BOX = (330.0, 10.0, 440.0, 110.0)


def finish_two(client: Client) -> None:
    client.drag(CAT_BOX)
    client.press("Enter")
    client.drag(CORNER_BOX)
    client.press("Enter")
    client.page.mouse.move(5, 5)


def press(client: Client, name: str) -> None:
    client.page.get_by_role("button", name=name, exact=True).click()
    client.settle()


def rename(client: Client, index: int, name: str) -> None:
    field = client.page.get_by_role("textbox", name="Name").nth(index)
    field.fill(name)
    field.press("Enter")


def names(client: Client) -> list[str]:
    return [one["name"] for one in client.state["objects"]]


def pixel(client: Client, xy: tuple[float, float]) -> np.ndarray[Any, Any]:
    """What the canvas shows of a pixel of the image, once drawn."""
    view = client.state["view"]
    x, y = (
        view[axis] + (place + 0.5) * view["scale"] for axis, place in zip("xy", xy, strict=True)
    )
    shown = client.page.evaluate(
        """([x, y]) => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
            const at = (place) => Math.round(place * devicePixelRatio);
            resolve([...canvas.getContext("2d").getImageData(at(x), at(y), 1, 1).data]);
        })))""",
        [x, y],
    )
    return np.array(shown[:3], dtype=float)


def differs(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return bool(np.abs(one - other).max() > 8)


def exported(client: Client, path: Path) -> Any:
    with client.page.expect_download() as download:
        client.page.get_by_role("button", name="COCO").click()
    download.value.save_as(path)
    return json.loads(path.read_text())


def test_finished_objects_leave_together_as_coco(client: Client, tmp_path: Path) -> None:
    client.click(CAT_POINT)
    mask = client.mask()
    client.press("Enter")
    client.drag(CAT_BOX)
    client.press("Enter")
    assert names(client) == ["Object 1", "Object 2"]
    assert np.array_equal(client.mask(100), mask)
    coco = exported(client, tmp_path / "coco.json")
    assert [image["file_name"] for image in coco["images"]] == ["cat.jpg"]
    assert len(coco["annotations"]) == 2
    found = decode_rle(Rle.from_json(coco["annotations"][0]["segmentation"]))
    assert np.array_equal(found, mask)
    assert coco["annotations"][0]["area"] == np.count_nonzero(found)


def test_renaming_changes_list_file_and_labels(client: Client, tmp_path: Path) -> None:
    finish_two(client)
    rename(client, 1, "  lamp & <b>shade</b>  ")
    assert names(client) == ["Object 1", "lamp & <b>shade</b>"]
    rename(client, 0, "   ")  # nothing is no name
    assert names(client)[0] == "Object 1"
    assert client.page.get_by_role("button", name="hide lamp & <b>shade</b>").is_visible()
    coco = exported(client, tmp_path / "coco.json")
    assert [one["name"] for one in coco["categories"]] == ["Object 1", "lamp & <b>shade</b>"]
    client.page.locator("#canvas").focus()
    client.press("z")
    assert names(client) == ["Object 1", "Object 2"]
    assert client.page.get_by_role("textbox", name="Name").nth(1).input_value() == "Object 2"


def test_hiding_takes_an_object_off_the_picture_alone(client: Client, tmp_path: Path) -> None:
    bare = pixel(client, CAT_POINT)
    finish_two(client)
    tinted = pixel(client, CAT_POINT)
    assert differs(tinted, bare)
    press(client, "hide Object 1")
    assert [one["hidden"] for one in client.state["objects"]] == [True, False]
    assert not differs(pixel(client, CAT_POINT), bare)
    assert len(exported(client, tmp_path / "coco.json")["annotations"]) == 2
    press(client, "show Object 1")
    assert [one["hidden"] for one in client.state["objects"]] == [False, False]
    assert not differs(pixel(client, CAT_POINT), tinted)
    client.page.locator("#canvas").focus()
    client.press("h")
    assert not differs(pixel(client, CAT_POINT), bare)
    assert [one["hidden"] for one in client.state["objects"]] == [False, False]


def test_deleting_takes_an_object_away_and_undo_brings_it_back(
    client: Client, tmp_path: Path
) -> None:
    bare = pixel(client, CAT_POINT)
    finish_two(client)
    tinted, second = pixel(client, CAT_POINT), client.mask(101)
    press(client, "delete Object 1")
    assert names(client) == ["Object 2"]
    assert np.array_equal(client.mask(100), second)
    assert not differs(pixel(client, CAT_POINT), bare)
    assert len(exported(client, tmp_path / "coco.json")["annotations"]) == 1
    press(client, "Undo (Z)")
    assert names(client) == ["Object 1", "Object 2"]
    assert not differs(pixel(client, CAT_POINT), tinted)


def test_a_reopened_object_is_at_hand_again_and_keeps_its_name(client: Client) -> None:
    finish_two(client)
    rename(client, 0, "cat")
    box, mask = client.mask(101), client.mask(100)
    press(client, "reopen cat")
    assert names(client) == ["Object 2"]
    assert client.state["name"] == "cat"
    assert client.state["box"] is not None
    assert np.array_equal(client.mask(), mask)
    client.click((30.0, 280.0), button="right")
    changed = client.mask()
    press(client, "reopen Object 2")  # what was at hand is finished first
    assert names(client) == ["cat"]
    assert np.array_equal(client.mask(), box)
    assert np.array_equal(client.mask(100), changed)
    press(client, "Undo (Z)")
    assert names(client) == ["Object 2"]
    assert np.array_equal(client.mask(), changed)
    press(client, "Finish: Enter")
    assert names(client) == ["Object 2", "cat"]
