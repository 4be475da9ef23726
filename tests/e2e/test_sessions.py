"""Work on an image outlasts the page: finished objects and the marks at hand are there again after a reload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.e2e.conftest import Client

CAT_POINT, CAT_BOX = (200.0, 150.0), (60.0, 20.0, 320.0, 290.0)
CUP_POINT = (280.0, 190.0)


def exported(client: Client, path: Path) -> Any:
    with client.page.expect_download() as download:
        client.page.get_by_role("button", name="COCO").click()
    download.value.save_as(path)
    return json.loads(path.read_text())


def finish_two(client: Client) -> None:
    client.click(CAT_POINT)
    client.press("Enter")
    client.drag(CAT_BOX)
    client.press("Enter")


def test_a_reload_keeps_objects_and_marks(client: Client, tmp_path: Path) -> None:
    finish_two(client)
    client.click((240.0, 60.0))
    client.press("3")
    client.click((30.0, 280.0), button="right")
    before, mask, coco = client.state, client.mask(), exported(client, tmp_path / "before.json")
    assert mask is not None
    client.reload()
    after = client.state
    assert [one["name"] for one in after["objects"]] == ["Object 1", "Object 2"]
    for name in ("imageId", "objects", "points", "chosen", "predictedIou"):
        assert after[name] == before[name]
    assert np.array_equal(client.mask(), mask)
    assert exported(client, tmp_path / "after.json") == coco
    assert client.page.get_by_role("heading", name="Finished (2)").is_visible()


def test_what_was_kept_is_worked_on_as_before(client: Client) -> None:
    """Feeding the mask back gives the same with a reload between the marks as without."""
    client.click(CAT_POINT)
    client.click((240.0, 60.0))
    expected = client.mask()
    client.press("z")
    client.reload()
    client.click((240.0, 60.0))
    assert np.array_equal(client.mask(), expected)
    client.press("Enter")
    assert [one["name"] for one in client.state["objects"]] == ["Object 1"]


def test_each_image_keeps_its_own(client: Client) -> None:
    finish_two(client)
    client.page.get_by_role("button", name="coffee.jpg").click()
    client.until("window.segloop.state().embedded")
    assert client.state["objects"] == []
    client.click(CUP_POINT)
    cup = client.mask()
    client.reload()  # on the image that was open
    assert client.state["objects"] == []
    assert np.array_equal(client.mask(), cup)
    client.page.get_by_role("button", name="cat.jpg").click()
    client.until("window.segloop.state().embedded")
    assert len(client.state["objects"]) == 2


def test_cleared_work_does_not_come_back(client: Client) -> None:
    client.click(CAT_POINT)
    client.reload()
    assert len(client.state["points"]) == 1
    client.press("Escape")
    client.reload()
    assert client.state["points"] == []
    assert client.mask() is None
