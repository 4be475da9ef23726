"""The page in a real Chromium against a real server: what is clicked, drawn and kept, with the server and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import segloop
from segloop.backends.base import Embedding
from segloop.data.image import load_image
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import mask_iou
from segloop.predict.wire import pack_embedding, unpack_embedding

if TYPE_CHECKING:
    from tests.e2e.conftest import Client, Server

ROOT = Path(__file__).resolve().parent.parent.parent
CAT = ROOT / "examples" / "cat.jpg"
COFFEE = ROOT / "examples" / "coffee.jpg"
CAT_POINT, CAT_BOX = (200.0, 150.0), (60.0, 20.0, 320.0, 290.0)
SAME_IOU = 0.98


@pytest.fixture(scope="module")
def predictor() -> segloop.Predictor:
    """The default model as the page has it: without a second look."""
    return segloop.load(threads=1, closer=False)


@pytest.fixture(scope="module")
def embedding(predictor: segloop.Predictor) -> Embedding:
    """The cat as it comes over the wire, and its pixels, whose edges the page's masks follow too."""
    return replace(unpack_embedding(pack_embedding(predictor.encode(CAT))), pixels=load_image(CAT))


def same_as(found: BoolArray | None, expected: BoolArray) -> bool:
    assert found is not None
    return bool(mask_iou(found, expected) >= SAME_IOU)


def test_a_click_gives_the_three_masks_of_the_predictor(
    client: Client, predictor: segloop.Predictor, embedding: Embedding
) -> None:
    client.click(CAT_POINT)
    (point,) = client.state["points"]
    prompt = segloop.Prompt(points_xy=[(point["x"], point["y"])])
    assert np.hypot(point["x"] - CAT_POINT[0], point["y"] - CAT_POINT[1]) < 2
    masks = predictor.segment(embedding, prompt, outputs="three")
    for index in range(3):
        assert same_as(client.mask(index), masks.masks[index])
    np.testing.assert_allclose(client.state["predictedIou"], masks.predicted_iou, atol=1e-3)
    assert client.state["chosen"] == int(np.argmax(masks.predicted_iou))
    assert not client.mistakes


def test_the_chooser_takes_another_mask(client: Client) -> None:
    client.click(CAT_POINT)
    for index in (2, 0, 1):
        client.press(str(index + 1))
        assert client.state["chosen"] == index
        assert np.array_equal(client.mask(), client.mask(index))


def test_a_box_gives_the_mask_of_the_predictor(
    client: Client, predictor: segloop.Predictor, embedding: Embedding
) -> None:
    client.drag(CAT_BOX)
    box = client.state["box"]
    prompt = segloop.Prompt(box_xyxy=[box[name] for name in ("x0", "y0", "x1", "y1")])
    (expected,) = predictor.segment(embedding, prompt).masks
    assert same_as(client.mask(), expected)


def test_a_right_click_takes_away_and_undo_brings_back(client: Client) -> None:
    client.click(CAT_POINT)
    before = client.mask()
    client.click((30.0, 280.0), button="right")
    assert [point["label"] for point in client.state["points"]] == [1, 0]
    after = client.mask()
    assert after is not None
    assert not after[280, 30]
    client.press("z")
    assert np.array_equal(client.mask(), before)
    client.press("Shift+Z")
    assert np.array_equal(client.mask(), after)
    client.press("Escape")
    assert client.state["points"] == []
    assert client.mask() is None


def test_a_second_click_goes_on_from_the_first_mask(
    client: Client, predictor: segloop.Predictor, embedding: Embedding
) -> None:
    client.click(CAT_POINT)
    client.click((240.0, 60.0))
    points = [(point["x"], point["y"]) for point in client.state["points"]]
    first = predictor.segment(embedding, segloop.Prompt(points_xy=points[:1]), outputs="best")
    prompt = segloop.Prompt(points_xy=points, labels=[1, 1], logits=first.logits[0])
    (expected,) = predictor.segment(embedding, prompt).masks
    assert same_as(client.mask(), expected)


def test_hovering_shows_a_preview_without_a_request(client: Client) -> None:
    client.requests.clear()
    for x in range(150, 250, 10):
        client.page.mouse.move(*client.on_screen((float(x), 150.0)))
    client.until("window.segloop.state().hovers")
    assert client.page.evaluate("window.segloop.decodeTimes.length") >= 1
    assert client.requests == []


def test_a_second_visit_asks_for_no_embedding(client: Client) -> None:
    assert client.embeddings_asked == 1
    client.click(CAT_POINT)
    before = client.mask()
    client.press("Escape")
    client.reload()
    client.click(CAT_POINT)
    assert client.embeddings_asked == 0
    assert np.array_equal(client.mask(), before)


def test_once_loaded_it_works_offline_reload_included(client: Client, context: Any) -> None:
    client.click(CAT_POINT)
    before = client.mask()
    client.press("Escape")
    client.page.evaluate("navigator.serviceWorker.ready.then(() => undefined)")
    client.reload()  # now under the service worker
    context.set_offline(True)
    client.reload()
    client.click(CAT_POINT)
    assert np.array_equal(client.mask(), before)


def test_a_server_that_was_killed_and_came_back_is_not_missed(
    client: Client, server: Server
) -> None:
    client.page.evaluate("navigator.serviceWorker.ready.then(() => undefined)")
    client.reload()
    server.kill()
    try:
        client.click(CAT_POINT)
        before = client.mask()
        assert before is not None
        client.press("Escape")
        client.reload()
        client.click(CAT_POINT)
        assert np.array_equal(client.mask(), before)
    finally:
        server.start()
    client.page.get_by_role("button", name="coffee.jpg").click()
    client.until("window.segloop.state().embedded")
    client.click((280.0, 190.0))
    assert client.mask() is not None
    assert client.embeddings_asked == 1


def test_two_tabs_work_side_by_side(client: Client, other: Client) -> None:
    assert other.embeddings_asked == 0  # the first tab has stored it
    client.click(CAT_POINT)
    other.click((240.0, 60.0))
    client.click((180.0, 170.0))
    assert len(client.state["points"]) == 2
    assert len(other.state["points"]) == 1
    assert client.mask() is not None
    assert other.mask() is not None


def test_an_uploaded_picture_can_be_clicked(client: Client, tmp_path: Path) -> None:
    from PIL import Image

    with Image.open(COFFEE) as photo:
        photo.resize((300, 200)).save(tmp_path / "small cup.png")
    client.page.locator("input[type=file]").set_input_files(tmp_path / "small cup.png")
    client.page.get_by_role("button", name="small cup.png").wait_for()
    client.until("window.segloop.state().embedded")
    client.click((140.0, 95.0))
    mask = client.mask()
    assert mask is not None
    assert mask.shape == (200, 300)
    assert mask[95, 140]


def test_everything_finds_masks_that_a_click_takes(client: Client) -> None:
    client.page.get_by_role("button", name="Everything").click()
    client.until("window.segloop.state().everything > 0")
    client.click(CAT_POINT)
    assert len(client.state["objects"]) == 1
    mask = client.mask(100)
    assert mask is not None
    assert mask[int(CAT_POINT[1]), int(CAT_POINT[0])]


def test_refine_here_encodes_what_is_in_view(client: Client) -> None:
    client.page.mouse.move(*client.on_screen(CAT_POINT))
    client.page.mouse.wheel(0, -600)
    client.requests.clear()
    client.page.get_by_role("button", name="Refine").click()
    client.until("window.segloop.state().region !== null")
    assert client.embeddings_asked == 1
    client.click(CAT_POINT)
    mask = client.mask()
    assert mask is not None
    assert mask.shape == (300, 451)
    x0, y0, x1, y1 = client.state["region"]
    outside = mask.copy()
    outside[y0:y1, x0:x1] = False
    assert not outside.any()


def test_the_keyboard_alone_is_enough(client: Client) -> None:
    client.page.locator("#canvas").focus()
    client.press("ArrowLeft")
    client.press("Space")
    assert [point["label"] for point in client.state["points"]] == [1]
    assert client.mask() is not None
    client.press("Enter")
    assert len(client.state["objects"]) == 1
    client.press("?")
    client.page.get_by_role("dialog").wait_for()
