"""Fingers on the picture of a phone: a tap, a dragged box, a pinch; and everything within the narrow page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Client, Server

CAT_POINT, CAT_BOX = (200.0, 150.0), (60.0, 20.0, 320.0, 290.0)


@pytest.fixture
def context(browser: Any, server: Server) -> Iterator[Any]:
    made = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, device_scale_factor=2
    )
    made.set_default_timeout(60_000)
    yield made
    made.close()


@pytest.fixture
def touch(context: Any, client: Client) -> Any:
    """Puts fingers down, moves or lifts them: the kind of the event and where each finger is."""
    session = context.new_cdp_session(client.page)

    def send(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return send


def in_image(client: Client, xy: tuple[float, float]) -> tuple[float, float]:
    view, canvas = client.state["view"], client.page.locator("#canvas").bounding_box()
    return (
        (xy[0] - canvas["x"] - view["x"]) / view["scale"],
        (xy[1] - canvas["y"] - view["y"]) / view["scale"],
    )


def test_a_tap_marks_and_exclude_turns_its_meaning(client: Client) -> None:
    client.page.touchscreen.tap(*client.on_screen(CAT_POINT))
    client.page.get_by_role("button", name="Exclude").tap()
    client.page.touchscreen.tap(*client.on_screen((30.0, 280.0)))
    client.settle()
    assert [point["label"] for point in client.state["points"]] == [1, 0]
    assert client.mask() is not None


def test_a_finger_draws_a_box(client: Client, touch: Any) -> None:
    (x0, y0), (x1, y1) = client.on_screen(CAT_BOX[:2]), client.on_screen(CAT_BOX[2:])
    touch("touchStart", (x0, y0))
    for share in (0.3, 0.7, 1.0):
        touch("touchMove", (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share))
    touch("touchEnd")
    client.settle()
    box = client.state["box"]
    assert [box[name] for name in ("x0", "y0", "x1", "y1")] == pytest.approx(CAT_BOX, abs=2)
    assert client.mask() is not None


def test_two_fingers_zoom_and_move_and_mark_nothing(client: Client, touch: Any) -> None:
    x, y = client.on_screen(CAT_POINT)
    before, held = client.state["view"]["scale"], in_image(client, (x, y))
    touch("touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 9):
        touch("touchMove", (x - 30 - 5 * step, y + 3 * step), (x + 30 + 5 * step, y + 3 * step))
    touch("touchEnd")
    assert client.state["view"]["scale"] / before == pytest.approx(140 / 60, rel=0.02)
    assert in_image(client, (x, y + 24)) == pytest.approx(held, abs=1)
    assert client.state["points"] == []
    assert client.state["box"] is None


def test_nothing_is_cut_off_on_a_narrow_page(client: Client) -> None:
    client.page.touchscreen.tap(*client.on_screen(CAT_POINT))
    client.settle()
    beyond = client.page.evaluate(
        """[...document.querySelectorAll("button, input, p, h2, #canvas")]
            .filter((one) => one.checkVisibility() && !one.closest("#images"))
            .map((one) => [one.textContent, one.getBoundingClientRect()])
            .filter(([, place]) => place.width && (place.left < 0 || place.right > innerWidth))
            .map(([text]) => text)"""
    )
    assert beyond == []
    assert client.page.locator("#canvas").bounding_box()["height"] > 200
