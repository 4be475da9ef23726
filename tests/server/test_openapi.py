from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from segloop.export.onnx import ExportReport
from segloop.predict.predictor import load
from segloop.server.app import create_app
from segloop.server.openapi import openapi_text
from segloop.server.settings import ServerSettings

KEPT = Path(__file__).resolve().parents[2] / "web" / "openapi.json"


def test_the_client_is_made_from_this_server() -> None:
    again = "run python -m segloop.server.openapi > web/openapi.json"
    assert KEPT.read_text(encoding="utf-8") == openapi_text(), again
    assert json.loads(openapi_text())["info"]["title"] == "segloop"


@pytest.fixture(scope="module")
def fuzzed(toy_export: ExportReport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    place = tmp_path_factory.mktemp("fuzzed")
    photo = Path(__file__).resolve().parents[2] / "examples" / "cat.jpg"
    told = ServerSettings(folder=photo, cache_folder=place, page_folder=place, prefetch=False)
    app = create_app(load(toy_export.folder, threads=1), replace(told, max_jobs=8))
    yield app
    app.state.services.close()


@pytest.fixture(scope="module")
def api(fuzzed: FastAPI) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/api/openapi.json", fuzzed)


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_answered_by_a_mistake(case: schemathesis.Case, fuzzed: FastAPI) -> None:
    services = fuzzed.state.services
    if case.path_parameters and "id" in case.path_parameters:
        # Made-up hashes reach nothing.
        case.path_parameters["id"] = services.images.list()[0].id
    if case.query and "model" in case.query and case.query.get("region") is None:
        case.query["model"] = services.predictor.spec.identity
    if isinstance(case.body, dict) and isinstance(case.body.get("points_per_side"), int):
        case.body["points_per_side"] = min(case.body["points_per_side"], 4)
    elif case.path.endswith("/everything") and isinstance(case.body, dict):
        case.body["points_per_side"] = 4
    case.call_and_validate(
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ]
    )
