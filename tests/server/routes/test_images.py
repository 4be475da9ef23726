from __future__ import annotations

import io
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from segloop.data.image import load_image
from segloop.predict.cache import image_id
from segloop.predict.predictor import Predictor
from segloop.server.app import create_app
from segloop.server.settings import ServerSettings

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 10^10 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_an_image_can_be_sent_once(client: TestClient, picture: Callable[..., bytes]) -> None:
    content = picture((30, 40), 8)
    sent = client.post("/api/images", params={"name": "mine.png"}, content=content)
    assert sent.status_code == 201
    expected = {
        "id": image_id(content),
        "name": "mine.png",
        "height": 30,
        "width": 40,
        "num_bytes": len(content),
        "media_type": "image/png",
    }
    assert sent.json() == expected
    assert client.get(f"/api/images/{expected['id']}").json() == expected
    assert client.get("/api/images").json()[-1] == expected
    headers = {"content-type": "image/png"}
    again = client.post("/api/images", params={"name": "x"}, content=content, headers=headers)
    assert (again.status_code, again.json()) == (200, expected)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        SVG,
        b"\xff\xd8\xff",
        b"GIF89a",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"{}",
        bomb(),
    ],
    ids=["empty", "svg", "jpeg cut", "gif cut", "postscript", "json", "bomb"],
)
def test_what_is_no_image_is_refused_in_one_sentence(
    client: TestClient, hostile: bytes, folder: Path
) -> None:
    answer = client.post("/api/images", params={"name": "../../evil.png"}, content=hostile)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail
    assert "\n" not in detail
    assert str(folder.parent) not in detail
    assert "/tmp" not in detail
    assert len(client.get("/api/images").json()) == 3
    assert client.get("/api/health").status_code == 200


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_picture_cut_short_is_refused(
    client: TestClient, picture: Callable[..., bytes], form: str
) -> None:
    content = picture((50, 50), 3, form)
    answer = client.post("/api/images", content=content[: len(content) // 2])
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_name_is_never_a_path(
    client: TestClient, picture: Callable[..., bytes], folder: Path
) -> None:
    before = sorted(folder.parent.rglob("*"))
    name = "../../a.png\0/etc"
    sent = client.post("/api/images", params={"name": name}, content=picture((9, 9), 4)).json()
    assert sent["name"] == "a.png /etc"
    assert sorted(folder.parent.rglob("*")) == before
    for wrong in ("..%2F..%2Fetc%2Fpasswd", "a.png", "0" * 31, "G" * 32, "A" * 32):
        for rest in ("", "/pixels"):
            assert client.get(f"/api/images/{wrong}{rest}").status_code in (404, 422)


@pytest.fixture
def small(predictor: Predictor, settings: ServerSettings) -> FastAPI:
    return create_app(predictor, replace(settings, max_upload_bytes=100_000))


def test_a_stream_without_end_is_cut_at_the_limit(small: FastAPI) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 10_000
            yield bytes(10_000)

    with TestClient(small, base_url="http://localhost") as client:
        answer = client.post("/api/images", content=endless())
        assert answer.status_code == 413
        assert "100,000 bytes" in answer.json()["detail"]
        # The length alone tells, before anything is written.
        assert client.post("/api/images", content=bytes(200_000)).status_code == 413
        assert client.get("/api/health").status_code == 200


def test_a_real_connection_is_told_of_the_limit(
    small: FastAPI, running: Callable[[FastAPI], object]
) -> None:
    with running(small) as address:  # type: ignore[attr-defined]
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            head = f"POST /api/images HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100000000\r\n\r\n"
            connection.sendall(head.encode())
            try:
                for _ in range(100):
                    connection.sendall(bytes(10_000))
            except OSError:
                pass
            assert connection.recv(100).startswith(b"HTTP/1.1 413")
        # One that breaks off leaves the server as it was.
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(head.replace("100000000", "5000").encode() + b"x")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(
                f"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_plain_picture_goes_out_as_it_is(
    client: TestClient, image_ids: list[str], folder: Path
) -> None:
    for key, name, media_type in zip(
        image_ids, ("a.png", "b.jpg"), ("image/png", "image/jpeg"), strict=False
    ):
        answer = client.get(f"/api/images/{key}/pixels")
        assert answer.content == (folder / name).read_bytes()
        assert answer.headers["content-type"] == media_type
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        tag = {"if-none-match": answer.headers["etag"]}
        assert client.get(f"/api/images/{key}/pixels", headers=tag).status_code == 304


def save(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def test_what_browsers_show_otherwise_goes_out_as_png(client: TestClient) -> None:
    rng = np.random.default_rng(0)
    deep = Image.fromarray(rng.integers(0, 65535, (20, 30), dtype=np.uint16))
    plain = Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    turned = plain.getexif()
    turned[0x0112] = 6
    for content, image_hw in (
        (save(deep, "PNG"), (20, 30)),
        (save(plain, "TIFF"), (20, 30)),
        (save(plain, "JPEG", exif=turned), (30, 20)),
    ):
        sent = client.post("/api/images", content=content).json()
        assert (sent["height"], sent["width"]) == image_hw
        answer = client.get(f"/api/images/{sent['id']}/pixels")
        assert answer.headers["content-type"] == "image/png"
        assert np.array_equal(load_image(answer.content), load_image(content))


def test_an_unknown_image_is_not_found(client: TestClient) -> None:
    for rest in ("", "/pixels", "/embedding?model=x"):
        answer = client.get(f"/api/images/{'0' * 32}{rest}")
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("no such image")


def test_a_picture_that_has_gone_is_an_error_without_its_path(
    client: TestClient, image_ids: list[str], folder: Path
) -> None:
    (folder / "a.png").unlink()
    answer = client.get(f"/api/images/{image_ids[0]}/pixels")
    assert answer.status_code == 422
    assert str(folder) not in answer.text
