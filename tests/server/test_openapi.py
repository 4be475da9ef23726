from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from segloop.predict.predictor import load
from segloop.server.app import build_api, create_app
from segloop.server.openapi import openapi_text
from segloop.server.settings import ServerSettings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
KEPT = Path(__file__).resolve().parents[2] / "web" / "openapi.json"


def test_the_client_is_made_from_this_server() -> None:
    again = "run python -m segloop.server.openapi > web/openapi.json"
    assert KEPT.read_text(encoding="utf-8") == openapi_text(), again
    assert json.loads(openapi_text())["info"]["title"] == "segloop"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    place = tmp_path_factory.mktemp("fuzzed")
    photo = Path(__file__).resolve().parents[2] / "examples" / "cat.jpg"
    told = ServerSettings(folder=photo, cache_folder=place, page_folder=place, prefetch=False)
    told = replace(told, max_jobs=8)
    return create_app(load(threads=1), told)


@pytest.fixture(scope="module")
def api(
    fuzzed: FastAPI, running: Callable[[FastAPI], AbstractContextManager[str]]
) -> Iterator[schemathesis.BaseSchema]:
    with running(fuzzed) as address:
        yield schemathesis.openapi.from_url(f"{address}/api/openapi.json")


OPERATIONS = [
    (path, method) for path, methods in build_api().openapi()["paths"].items() for method in methods
]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_request_is_answered_by_a_mistake(
    api: schemathesis.BaseSchema, fuzzed: FastAPI, path: str, method: str
) -> None:
    operation = api[path][method]

    @settings(
        max_examples=20,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        make_likely(case, fuzzed)
        case.call_and_validate(checks=CHECKS)

    check()


def make_likely(case: schemathesis.Case, fuzzed: FastAPI) -> None:
    """Let a made-up request get past the door, and ask for no more work than a test has time for."""
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
