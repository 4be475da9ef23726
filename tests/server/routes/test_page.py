from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from segloop.server.settings import ServerSettings


@pytest.fixture
def page(settings: ServerSettings) -> Path:
    folder = settings.page_folder
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>segloop</title>", encoding="utf-8")
    (folder / "sw.js").write_text("1", encoding="utf-8")
    (folder / "assets" / "main-0123.js").write_text("1", encoding="utf-8")
    (folder / "assets" / "ort-0123.wasm").write_bytes(b"\0asm")
    (folder.parent / "secret.txt").write_text("secret", encoding="utf-8")
    return folder


def test_without_a_page_one_line_says_how_to_get_it(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/plain")
    assert "npm ci && npm run build" in answer.text
    assert answer.text.count("\n") == 1
    assert client.get("/assets/main.js").status_code == 404
    assert client.get("/api/health").status_code == 200


@pytest.mark.parametrize(
    ("path", "media_type", "kept"),
    [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/index.html", "text/html; charset=utf-8", "no-cache"),
        ("/sw.js", "text/javascript; charset=utf-8", "no-cache"),
        (
            "/assets/main-0123.js",
            "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
        ),
        ("/assets/ort-0123.wasm", "application/wasm", "public, max-age=31536000, immutable"),
    ],
)
def test_files_have_their_types_and_times(
    page: Path, client: TestClient, path: str, media_type: str, kept: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == kept
    assert "content-security-policy" in answer.headers
    again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/nothing",
        "/api/nothing",
    ],
)
def test_nothing_else_is_there(page: Path, client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text
    assert str(page) not in answer.text
