from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from segloop.cli.main import build_app
from segloop.cli.serve import DEMO_IMAGE, address_of, has_display, listen
from segloop.errors import InputError
from segloop.server.settings import ServerSettings

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport


@contextmanager
def started(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and the address that it printed."""
    command = [sys.executable, "-m", "segloop", *(str(one) for one in arguments)]
    environment = {name: text for name, text in os.environ.items() if name != "DISPLAY"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"https?://\S+", line)
        assert found, process.communicate()[1]
        yield process, found[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def read(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        content = answer.read()
    assert isinstance(content, bytes)
    return content


def test_a_folder_is_served_until_interrupted(toy_export: ExportReport, photos: Path) -> None:
    with started("serve", photos, "--port", 0, "--model", toy_export.folder) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert b'"trip/a.png"' in read(f"{address}api/images")
        process.terminate()
        process.communicate(timeout=60)
    with pytest.raises(OSError, match="refused"):
        read(f"{address}api/health")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here")
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-out", str(made), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


def test_others_are_served_over_tls_to_whoever_has_the_token(
    toy_export: ExportReport, photos: Path, certificate: tuple[Path, Path]
) -> None:
    made, key = certificate
    told = ("--host", "0.0.0.0", "--port", 0, "--certfile", made, "--keyfile", key)
    with started("serve", photos, *told, "--model", toy_export.folder) as (_, address):
        parts = urlsplit(address)
        assert parts.scheme == "https"
        assert re.fullmatch(r"token=[\w-]{20,}", parts.query)
        trusting = ssl.create_default_context(cafile=made)
        trusting.minimum_version = ssl.TLSVersion.TLSv1_2

        def ask(path: str, **headers: str) -> HTTPResponse:
            connection = HTTPSConnection("127.0.0.1", parts.port, timeout=60, context=trusting)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer

        for refused in ("/", "/?token=wrong", "/api/images", f"/api/images?{parts.query}"):
            assert ask(refused).status == 401, refused
        assert ask("/api/images", Authorization="Bearer wrong").status == 401
        welcome = ask(f"/?{parts.query}")
        assert (welcome.status, welcome.headers["location"]) == (303, "/")
        cookie, *attributes = welcome.headers["set-cookie"].split("; ")
        assert {"Secure", "HttpOnly"} <= set(attributes)
        assert "samesite=strict" in welcome.headers["set-cookie"].lower()
        assert ask("/api/images", Cookie=cookie).status == 200
        assert ask("/api/images", Cookie=f"{cookie}x").status == 401
        token = parts.query.removeprefix("token=")
        assert ask("/api/model", Authorization=f"Bearer {token}").status == 200
        with pytest.raises(OSError, match=r"reset|refused|Remote end closed|invalid"):
            read(f"http://127.0.0.1:{parts.port}/api/health")


def test_the_demo_serves_a_photograph(toy_export: ExportReport) -> None:
    with started("demo", "--port", 0, "--model", toy_export.folder) as (_, address):
        assert b'"cat.jpg"' in read(f"{address}api/images")
    assert DEMO_IMAGE.read_bytes()[:3] == b"\xff\xd8\xff"


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stdout == ""
    return result.stderr


def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert "choose another --port" in invoke("serve", "--port", port)
    assert "no such folder" in invoke("serve", str(tmp_path / "none"), "--port", "0")
    assert "no such address" in invoke(
        "serve", "--host", "no.such.host.invalid", "--token", "12345678"
    )
    (tmp_path / "cut.tar").write_bytes(b"no tar")
    said = invoke("serve", str(tmp_path), "--port", "0")
    assert "cut.tar is not an uncompressed tar, or is damaged" in " ".join(said.split())
    assert "belong together" in invoke("serve", "--certfile", "cert.pem")
    assert "segloop serve" in invoke("demo", str(tmp_path))


def test_another_address_demands_a_token_and_warns(tmp_path: Path) -> None:
    # The address belongs to no machine, so nothing is served.
    said = invoke("serve", "--host", "192.0.2.1")
    assert "can be read on the way" in said
    assert "cannot listen" in said


def test_the_address_to_open_has_the_token() -> None:
    assert address_of(ServerSettings()) == "http://127.0.0.1:8000/"
    assert address_of(ServerSettings(host="::1", port=9)) == "http://[::1]:9/"
    told = ServerSettings(host="example.org", token="12345678", is_secure=True)
    assert address_of(told) == "https://example.org:8000/?token=12345678"
    everywhere = address_of(ServerSettings(host="0.0.0.0", token="12345678"))
    assert everywhere == f"http://{socket.gethostname()}:8000/?token=12345678"


def test_a_port_is_listened_to_once() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InputError, match="choose another --port"):
            listen("127.0.0.1", port)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="always has a display")
def test_a_display_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_display()


def test_the_limit_of_pixels_is_the_callers(toy_export: ExportReport, photos: Path) -> None:
    told = ("--port", 0, "--model", toy_export.folder, "--max-pixels", 4000)
    with started("serve", photos, *told) as (_, address):
        listed = json.loads(read(f"{address}api/images"))
    assert [one["name"] for one in listed] == ["b.png", "trip/a.png"]
