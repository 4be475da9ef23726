from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from segloop.errors import WeightsError
from segloop.weights.catalog import (
    CHECKPOINTS,
    Checkpoint,
    default_weights,
    fetch,
    file_identity,
    find_checkpoint,
)

CONTENT = bytes(range(256)) * 12_000  # three chunks


@dataclass
class Server:
    """Serves CONTENT on one machine and remembers what it was asked for."""

    address: str = ""
    status: int = 200
    cut_after: int | None = None
    knows_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = 0
            if asked and state.knows_ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(CONTENT):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
                )
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : state.cut_after])

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{http.server_port}/weights/model.pth"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def checkpoint(server: Server, content: bytes = CONTENT) -> Checkpoint:
    return Checkpoint("model", server.address, hashlib.sha256(content).hexdigest(), "Apache-2.0")


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    folder = tmp_path / "not" / "yet"
    path = fetch(checkpoint(server), folder, lambda done, total: calls.append((done, total)))
    assert path == folder / "model.pth"
    assert path.read_bytes() == CONTENT
    assert calls[0] == (0, len(CONTENT))
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert calls == sorted(calls)
    assert fetch(checkpoint(server), folder) == path
    assert server.ranges == [None]
    assert [file.name for file in folder.iterdir()] == ["model.pth"]


def test_the_cache_folder_is_the_default(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGLOOP_CACHE", str(tmp_path / "chosen"))
    assert fetch(checkpoint(server)) == tmp_path / "chosen" / "model.pth"


def test_an_interrupted_download_is_continued(server: Server, tmp_path: Path) -> None:
    server.cut_after = 1_500_000
    with pytest.raises(
        WeightsError, match=r"stopped at 1500000 of 3072000 bytes; run again to continue"
    ):
        fetch(checkpoint(server), tmp_path)
    assert not (tmp_path / "model.pth").exists()
    server.cut_after = None
    calls: list[tuple[int, int | None]] = []
    path = fetch(checkpoint(server), tmp_path, lambda done, total: calls.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1500000-"]
    assert calls[0] == (1_500_000, len(CONTENT))


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.pth.partial").write_bytes(b"x" * 1000)
    server.knows_ranges = False
    assert fetch(checkpoint(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_download_that_only_missed_its_renaming_is_finished(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "model.pth.partial").write_bytes(CONTENT)
    assert fetch(checkpoint(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("left_over", [b"", b"x" * 1000, b"x" * (len(CONTENT) + 5)])
def test_a_wrong_checksum_removes_the_download(
    server: Server, tmp_path: Path, left_over: bytes
) -> None:
    expected = checkpoint(server, b"other" if not left_over else CONTENT)
    if left_over:
        (tmp_path / "model.pth.partial").write_bytes(left_over)
    with pytest.raises(
        WeightsError, match=r"expected SHA-256 \w{16}\.\.\., found \w{16}\.\.\."
    ) as caught:
        fetch(expected, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_told(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(WeightsError, match=rf"model\.pth: the server said {status} \w+") as caught:
        fetch(checkpoint(server), tmp_path)
    assert "\n" not in str(caught.value)


def test_an_address_that_cannot_be_reached_is_told(server: Server, tmp_path: Path) -> None:
    nowhere = Checkpoint("model", "http://127.0.0.1:9/model.pth", "", "Apache-2.0")
    with pytest.raises(WeightsError, match=r"model\.pth: cannot be reached: "):
        fetch(nowhere, tmp_path)
    local = Checkpoint("model", "file:///etc/hosts", "", "Apache-2.0")
    with pytest.raises(WeightsError, match="expected an http or https address"):
        fetch(local, tmp_path)


def test_a_folder_that_cannot_be_written_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"cannot write .*model\.pth"):
        fetch(checkpoint(server), tmp_path / "file")


def test_official_checkpoints_are_described_in_full() -> None:
    assert set(CHECKPOINTS) == {"vit_h", "vit_l", "vit_b"}
    for name, one in CHECKPOINTS.items():
        assert find_checkpoint(name) is one
        assert one.address.startswith("https://")
        assert one.file_name.startswith(f"sam_{name}_")
        assert len(one.sha256) == 64
        assert int(one.sha256, 16)
        assert one.licence == "Apache-2.0"
    assert len({one.sha256 for one in CHECKPOINTS.values()}) == 3


def test_an_unknown_checkpoint_is_told_the_known_ones() -> None:
    with pytest.raises(
        WeightsError, match="no published checkpoint 'vit_x'; there are vit_h, vit_l, vit_b"
    ):
        find_checkpoint("vit_x")


def test_default_weights_lie_in_the_package() -> None:
    files = default_weights()
    assert [
        path.name for path in (files.encoder, files.decoder, files.model, files.description)
    ] == [
        "encoder.onnx",
        "decoder.onnx",
        "model.safetensors",
        "model.json",
    ]
    assert files.encoder.parent.parts[-2:] == ("weights", "default")


def test_identity_is_of_the_bytes_not_the_name(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_bytes(b"weights")
    same.write_bytes(b"weights")
    other.write_bytes(b"weight5")
    assert file_identity(one) == file_identity(same) == hashlib.sha256(b"weights").hexdigest()[:16]
    assert file_identity(one) != file_identity(other)
    assert file_identity(one, other) != file_identity(other, one)
    with pytest.raises(WeightsError, match="absent: no such file"):
        file_identity(tmp_path / "absent")


def test_the_catalog_needs_no_runtime() -> None:
    code = (
        "import sys, segloop.weights.catalog as c; c.default_weights();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'onnxruntime', 'safetensors')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
