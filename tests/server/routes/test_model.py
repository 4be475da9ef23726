from __future__ import annotations

import hashlib

import onnxruntime
from fastapi import FastAPI
from starlette.testclient import TestClient

import segloop
from segloop.predict.predictor import Predictor
from segloop.server.routes.model import describe


def test_the_server_says_that_it_is_there(client: TestClient) -> None:
    answer = client.get("/api/health").json()
    assert answer == {"status": "ok", "version": segloop.__version__}


def test_the_model_is_what_the_predictor_says(client: TestClient, predictor: Predictor) -> None:
    model, spec = client.get("/api/model").json(), predictor.spec
    for name in (
        "name",
        "identity",
        "input_size",
        "logit_size",
        "num_channels",
        "grid_size",
        "fills_boxes",
        "tidies",
    ):
        assert model[name] == getattr(spec, name)
    assert model["takes_text"] is False
    assert (model["mask_magnitude"], model["box_magnitude"]) == (8.0, 4.0)


def test_the_decoder_can_be_run_and_kept(client: TestClient) -> None:
    decoder = client.get("/api/model").json()["decoder"]
    answer = client.get(decoder["url"])
    assert hashlib.sha256(answer.content).hexdigest() == decoder["sha256"]
    assert len(answer.content) == decoder["num_bytes"]
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    inputs = onnxruntime.InferenceSession(answer.content).get_inputs()
    assert {"features", "coords", "labels", "floors"} <= {one.name for one in inputs}
    again = client.get(decoder["url"], headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_only_an_address_with_the_hash_is_for_ever(client: TestClient) -> None:
    assert client.get("/api/decoder").headers["cache-control"] == "no-cache"
    assert client.get("/api/decoder?v=other").status_code == 404


def test_a_model_without_a_graph_has_no_decoder(app: FastAPI, client: TestClient) -> None:
    from dataclasses import replace

    app.state.services = replace(app.state.services, decoder=None)
    assert describe(app.state.services).decoder is None
    assert client.get("/api/model").json()["decoder"] is None
    answer = client.get("/api/decoder")
    assert answer.status_code == 404
    assert "segment_image" in answer.json()["detail"]
