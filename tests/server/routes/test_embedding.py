from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from segloop.errors import InputError
from segloop.predict.predictor import Predictor
from segloop.predict.wire import unpack_embedding
from segloop.server.routes.embedding import parse_region


class Counting(Protocol):
    num_encoded: int
    gate: threading.Event


def test_an_embedding_is_sent_with_a_tag_for_ever(
    client: TestClient, image_ids: list[str], predictor: Predictor, backend: Counting
) -> None:
    identity = predictor.spec.identity
    path = f"/api/images/{image_ids[0]}/embedding"
    answer = client.get(path, params={"model": identity})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == f'"{identity}-{image_ids[0]}"'
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    found = unpack_embedding(answer.content)
    assert found.model == identity
    assert found.frame.image_hw == (60, 90)
    again = client.get(
        path, params={"model": identity}, headers={"if-none-match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert backend.num_encoded == 1


def test_a_region_has_its_own_embedding(
    client: TestClient, image_ids: list[str], predictor: Predictor
) -> None:
    path = f"/api/images/{image_ids[0]}/embedding"
    parameters = {"model": predictor.spec.identity, "region": "10,5,60,45"}
    answer = client.get(path, params=parameters)
    assert unpack_embedding(answer.content).frame.image_hw == (40, 50)
    tag = answer.headers["etag"]
    assert "," not in tag  # a client's list of tags is parted by commas
    assert client.get(path, params=parameters, headers={"if-none-match": tag}).status_code == 304
    whole = client.get(
        path, params={"model": predictor.spec.identity}, headers={"if-none-match": tag}
    )
    assert whole.status_code == 200
    for wrong in ("0,0,91,60", "5,5,5,9", "1,2,3", "a,b,c,d", "0,0,9999999999,1", "-1,0,5,5"):
        answer = client.get(path, params={**parameters, "region": wrong})
        assert answer.status_code == 422, wrong
        assert answer.json()["detail"]


def test_another_models_embedding_is_refused(
    client: TestClient, image_ids: list[str], backend: Counting
) -> None:
    answer = client.get(f"/api/images/{image_ids[0]}/embedding", params={"model": "other"})
    assert answer.status_code == 409
    assert client.get(f"/api/images/{image_ids[0]}/embedding").status_code == 422
    assert backend.num_encoded == 0


def test_fifty_clients_cost_one_encoding(
    app: FastAPI,
    running: Callable[[FastAPI], AbstractContextManager[str]],
    backend: Counting,
    predictor: Predictor,
) -> None:
    image = app.state.services.images.list()[0]
    found: list[bytes] = []
    backend.gate.clear()
    with running(app) as address:
        url = f"{address}/api/images/{image.id}/embedding?model={predictor.spec.identity}"

        def ask() -> None:
            with urllib.request.urlopen(url, timeout=60) as answer:
                found.append(answer.read())

        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        # Nobody who waits keeps the server from answering others.
        with urllib.request.urlopen(f"{address}/api/health", timeout=60) as answer:
            assert answer.status == 200
        backend.gate.set()
        for thread in threads:
            thread.join()
    assert len(found) == 50
    assert len(set(found)) == 1
    assert np.isfinite(unpack_embedding(found[0]).features).all()
    assert backend.num_encoded == 1


def test_a_region_is_four_whole_numbers() -> None:
    assert parse_region(None) is None
    assert parse_region("1,2,30,40") == (1, 2, 30, 40)
    for wrong in ("", "1,2,3", "1,2,3,4,5", "1.5,2,3,4"):
        with pytest.raises(InputError, match="x0,y0,x1,y1"):
            parse_region(wrong)
