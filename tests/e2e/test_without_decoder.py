"""The page of a model without a decoder graph: the server makes the masks, from the same marks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Client, Server

CAT_POINT = (200.0, 150.0)


@pytest.fixture
def plain_model(context: Any) -> None:
    """What the server says of its model, less the graph."""

    def answer(route: Any) -> None:
        model = route.fetch().json()
        route.fulfill(json={**model, "decoder": None})

    context.route("**/api/model", answer)


@pytest.mark.usefixtures("plain_model")
def test_the_server_is_sent_marks_mask_and_part(client: Client, server: Server) -> None:
    sent: list[dict[str, Any]] = []
    client.page.on(
        "request",
        lambda request: sent.append(json.loads(request.post_data)) if request.post_data else None,
    )
    assert client.embeddings_asked == 0
    client.click(CAT_POINT)
    first = client.mask()
    assert first is not None
    assert len(client.state["predictedIou"]) == 3
    client.click((240.0, 60.0))
    (prompt,) = sent[-1]["prompts"]
    assert len(prompt["points"]) == 2
    chosen = client.page.evaluate("window.segloop.state().chosen")
    assert chosen == 0
    assert prompt["mask"]["size"] == [300, 451]
    assert sent[0]["prompts"][0]["mask"] is None
    assert [one["region"] for one in sent] == [None, None]
    client.press("Escape")
    client.page.mouse.move(*client.on_screen(CAT_POINT))
    client.page.mouse.wheel(0, -600)
    client.page.get_by_role("button", name="Refine").click()
    client.until("window.segloop.state().region !== null")
    x0, y0, x1, y1 = client.state["region"]
    client.click(CAT_POINT)
    assert sent[-1]["region"] == [x0, y0, x1, y1]
    mask = client.mask()
    assert mask is not None
    assert mask.shape == (300, 451)
    assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0
