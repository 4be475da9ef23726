from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from segloop.data.image import load_image
from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.rle import Rle, decode_rle
from segloop.geometry.tree import build_tree
from segloop.predict.automatic import generate, suited_config
from segloop.predict.predictor import Predictor
from segloop.server.routes.everything import Found, build_config, found_lines
from segloop.server.schemas import EverythingRequest

ALL = {"predicted_iou_threshold": 0, "stability_threshold": 0, "points_per_side": 4}


def ask(client: TestClient, image_id: str, **settings: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/api/images/{image_id}/everything", json=settings)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_progress_then_masks_then_the_end(
    client: TestClient, image_ids: list[str], predictor: Predictor
) -> None:
    lines = ask(client, image_ids[0], **ALL)
    progress = [one for one in lines if one["kind"] == "progress"]
    masks = [one for one in lines if one["kind"] == "mask"]
    assert lines == [*progress, *masks, {"kind": "end", "num_masks": len(masks)}]
    assert progress[-1] == {"kind": "progress", "done": 16, "total": 16}
    config = build_config(EverythingRequest(**ALL), predictor.spec)
    pixels = load_image(client.get(f"/api/images/{image_ids[0]}/pixels").content)
    expected = generate(predictor, pixels, config).masks
    assert len(masks) == len(expected) > 0
    for row, mask in enumerate(masks):
        assert Rle.from_json(mask["rle"]) == expected.rles[row]
        pixels = decode_rle(Rle.from_json(mask["rle"]))
        assert mask["area"] == np.count_nonzero(pixels)
        assert mask["box"] == expected.boxes_xyxy[row].astype(int).tolist()


def test_masks_say_what_they_lie_in(encode_masks: Callable[..., EncodedMasks]) -> None:
    nested = np.zeros((5, 40, 40), dtype=bool)
    for row, margin in enumerate((0, 5, 10, 14)):
        nested[row, margin : 40 - margin, margin : 40 - margin] = True
    nested[4, :3, :3] = True
    masks = encode_masks(nested)
    lines = list(found_lines(Found(masks, build_tree(masks))))
    assert [getattr(one, "level", None) for one in lines] == [
        "whole",
        "part",
        "subpart",
        3,
        "part",
        None,
    ]
    assert [getattr(one, "parent", None) for one in lines[:5]] == [None, 0, 1, 2, 0]


def test_settings_are_the_models_and_then_those_asked_for(predictor: Predictor) -> None:
    spec = predictor.spec
    assert build_config(EverythingRequest(), spec) == suited_config(spec)
    asked = EverythingRequest(preset="sa1b", points_per_side=8, region=(1, 2, 30, 40))
    config = build_config(asked, spec)
    assert (config.crop_layers, config.points_per_side) == (2, 8)
    assert config.region_xyxy == (1, 2, 30, 40)
    with pytest.raises(InputError, match="points per side"):
        build_config(EverythingRequest(preset="sa1b", points_per_side=1), spec)


@pytest.mark.parametrize(
    "wrong", [{"preset": "x"}, {"points_per_side": 0}, {"region": [0, 0, 900, 9]}, {"what": 1}]
)
def test_settings_that_make_no_sense_are_refused(
    client: TestClient, image_ids: list[str], wrong: dict[str, Any]
) -> None:
    answer = client.post(f"/api/images/{image_ids[0]}/everything", json=wrong)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_what_goes_wrong_on_the_way_is_the_last_line(
    app: FastAPI, client: TestClient, image_ids: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    app.state.services.predictor.backend.encode = fail
    lines = ask(client, image_ids[0], **ALL)
    assert [one["kind"] for one in lines] == ["error"]
    assert "secret" not in lines[0]["detail"]
    assert "secret" in caplog.text


def test_a_client_that_goes_away_stops_the_work(
    app: FastAPI, running: Callable[[FastAPI], AbstractContextManager[str]]
) -> None:
    image = app.state.services.images.list()[0]
    jobs = app.state.services.jobs
    body = json.dumps({**ALL, "points_per_side": 128}).encode()
    with running(app) as address:
        port = int(address.rpartition(":")[2])

        def post(connection: socket.socket) -> None:
            head = (
                f"POST /api/images/{image.id}/everything HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)

        with socket.create_connection(("127.0.0.1", port), timeout=60) as first:
            post(first)
            assert b"200 OK" in first.recv(1000)
            assert len(jobs) == 1
            with socket.create_connection(("127.0.0.1", port), timeout=60) as second:
                post(second)
                assert b"429" in second.recv(1000)
            done = first.recv(1000)
        while len(jobs):
            time.sleep(0.01)
    assert b'"end"' not in done
