from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from segloop.predict.predictor import Predictor
from segloop.server.app import create_app
from segloop.server.security import HEADERS, allowed_names, cookie_name
from segloop.server.settings import ServerSettings

TOKEN = "a-token-of-some-length"


@pytest.fixture
def guarded(settings: ServerSettings) -> ServerSettings:
    return replace(settings, host="192.0.2.7", port=8443, token=TOKEN, is_secure=True)


def visit(predictor: Predictor, settings: ServerSettings) -> TestClient:
    return TestClient(
        create_app(predictor, settings), base_url="https://192.0.2.7:8443", follow_redirects=False
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST:8000", "[::1]:8000", "127.0.0.1:99"]
)
def test_the_server_answers_to_its_own_names(client: TestClient, host: str) -> None:
    assert client.get("/api/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example:80", "", "[::1", "10.0.0.1"],
)
def test_a_name_made_to_point_here_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/health", headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["detail"]


def test_other_names_can_be_allowed(predictor: Predictor, settings: ServerSettings) -> None:
    named = replace(settings, allowed_hosts=("Segment.example",))
    assert "segment.example" in allowed_names(named)
    with TestClient(create_app(predictor, named), base_url="http://segment.example") as client:
        assert client.get("/api/health").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:8000"},
        {"origin": "http://[bad"},
    ],
)
def test_a_page_of_another_origin_changes_nothing(
    client: TestClient, headers: dict[str, str]
) -> None:
    before = client.get("/api/images").json()
    answer = client.post("/api/images", content=b"x", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["detail"]
    assert client.get("/api/images").json() == before


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}]
)
def test_our_own_page_and_programs_may_send(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/api/images", content=b"x", headers=headers).status_code == 422


def test_a_stranger_gets_nothing(predictor: Predictor, guarded: ServerSettings) -> None:
    with visit(predictor, guarded) as client:
        for path in (
            "/",
            "/api/health",
            "/api/images",
            "/api/openapi.json",
            "/?token=wrong",
            "/x?token=" + TOKEN,
        ):
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert TOKEN not in answer.text
        for value in ("Bearer wrong", "Basic " + TOKEN, "Bearer ü", TOKEN):
            headers = {"authorization": value.encode("latin-1")}
            assert client.get("/api/health", headers=headers).status_code == 401


def test_the_printed_address_lets_a_browser_in(
    predictor: Predictor, guarded: ServerSettings
) -> None:
    with visit(predictor, guarded) as client:
        welcome = client.get(f"/?token={TOKEN}")
        assert welcome.status_code == 303
        assert welcome.headers["location"] == "/"
        cookie = welcome.headers["set-cookie"]
        assert cookie.startswith(f"{cookie_name(guarded)}={TOKEN}")
        assert {"httponly", "samesite=strict", "secure"} <= {
            part.strip().lower() for part in cookie.split(";")
        }
        assert client.get("/api/health").status_code == 200


def test_a_program_shows_the_token_as_a_header(
    predictor: Predictor, guarded: ServerSettings
) -> None:
    with visit(predictor, guarded) as client:
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/health", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api/health", "/api/model", "/nothing", "/api/images/x", "/api/decoder"]
)
def test_every_answer_carries_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS


def test_our_own_mistakes_are_answered_without_detail(
    predictor: Predictor, settings: ServerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(predictor, settings)

    def fail(_: str) -> None:
        raise RuntimeError(f"{Path('secret').absolute()}")

    app.state.services.images.find = fail
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.get(f"/api/images/{'0' * 32}")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "content-security-policy" in answer.headers
    assert "secret" in caplog.text


def test_a_body_beyond_the_limit_is_refused(predictor: Predictor, settings: ServerSettings) -> None:
    small = replace(settings, max_body_bytes=1000)
    with TestClient(create_app(predictor, small), base_url="http://localhost") as client:
        image_id = client.get("/api/images").json()[0]["id"]
        path = f"/api/images/{image_id}/segment"
        long = b'{"prompts": [' + b" " * 2000 + b"]}"
        assert client.post(path, content=long).status_code == 413
        # Without a length the body is counted as it comes.
        answer = client.post(path, content=iter([long[:600], long[600:]]))
        assert answer.status_code == 413
        assert "1,000 bytes" in answer.json()["detail"]
