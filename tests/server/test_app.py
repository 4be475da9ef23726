from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from segloop.predict.predictor import Predictor
from segloop.server.app import build_api, create_app, describe_invalid
from segloop.server.settings import ServerSettings

OPERATIONS = {
    "everything_in_image",
    "get_decoder",
    "get_embedding",
    "get_health",
    "get_image",
    "get_model",
    "get_pixels",
    "list_images",
    "segment_image",
    "upload_image",
}


def test_every_operation_is_named_and_documented() -> None:
    paths = build_api().openapi()["paths"]
    operations = [one for methods in paths.values() for one in methods.values()]
    assert {one["operationId"] for one in operations} == OPERATIONS
    for operation in operations:
        assert operation["description"]
        for response in operation["responses"].values():
            assert response["description"]


def test_no_page_loads_scripts_from_elsewhere(client: TestClient) -> None:
    for path in ("/docs", "/redoc"):
        assert client.get(path).status_code == 404
    assert client.get("/api/openapi.json").json() == build_api().openapi()


def test_a_mistake_is_one_sentence_that_names_its_place() -> None:
    mistakes = [{"loc": ("body", "prompts", 0), "msg": "Field required"}, {"loc": (), "msg": "x"}]
    assert describe_invalid(mistakes) == "body.prompts.0: Field required"
    assert describe_invalid(mistakes[1:]) == "x"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    answer = client.request(method, "/api/model")
    assert answer.status_code == 405
    assert answer.json()["detail"]


def test_a_server_that_ends_leaves_nothing(predictor: Predictor, settings: ServerSettings) -> None:
    app = create_app(predictor, settings)
    with TestClient(app, base_url="http://localhost"):
        place: Path = app.state.services.images.new_upload().parent
    assert not place.exists()
