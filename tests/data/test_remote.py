"""Tars behind a real server that knows ranges, by http:// and by s3://."""

from __future__ import annotations

import functools
import json
import multiprocessing
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import fsspec.registry  # noqa: F401  the module, which fsspec hides behind a table
import pytest

import segloop.data.remote as remote
from segloop.data.archive import INDEX_SUFFIX, tar_members
from segloop.data.remote import (
    RemoteMember,
    is_remote,
    remote_matches,
    remote_tar_members,
    write_index,
)
from segloop.data.sa1b import open_all_sa1b, open_sa1b
from segloop.errors import InputError

Writer = Callable[..., Path]


@dataclass
class Store:
    """What the server has, what it was asked, and how it is to fail."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    failures: int = 0
    cut: int = 0

    def url(self, name: str) -> str:
        return f"{self.address}/bucket/{name}"


class Handler(BaseHTTPRequestHandler):
    """GET with ranges and HEAD, and as much of S3 as reading and listing takes."""

    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path, _, query = self.path.partition("?")
        wanted = self.headers.get("Range") or ""
        self.store.requests.append((path, wanted))
        if with_body and self.store.failures > 0 and wanted:
            self.store.failures -= 1
            return self._send(500, b"not now", with_body)
        if "list-type" in query:
            prefix = parse_qs(query).get("prefix", [""])[0]
            return self._send(200, self._listing(prefix), with_body)
        content = self.store.files.get(path.removeprefix("/bucket/"))
        if content is None:
            return self._send(404, b"", with_body)
        ranges = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        if ranges is None:
            return self._send(200, content, with_body)
        first, last = int(ranges[1]), int(ranges[2] or len(content) - 1)
        part = content[first : last + 1]
        if self.store.cut > 0 and len(part) > 1:
            self.store.cut -= 1
            part = part[:-1]
        self._send(206, part, with_body, f"bytes {first}-{last}/{len(content)}")
        return None

    def _send(self, status: int, content: bytes, with_body: bool, span: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
        self.send_header("Accept-Ranges", "bytes")
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _listing(self, prefix: str) -> bytes:
        rows = "".join(
            f"<Contents><Key>{name}</Key><Size>{len(content)}</Size><ETag>1</ETag>"
            "<LastModified>2026-11-23T00:00:00.000Z</LastModified></Contents>"
            for name, content in sorted(self.store.files.items())
            if name.startswith(prefix)
        )
        return f"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    store = Store()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"store": store}))
    store.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SEGLOOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.001)
    remote._file_system.cache_clear()
    yield store
    server.shutdown()
    server.server_close()
    remote._file_system.cache_clear()


@pytest.fixture
def published(store: Store, write_tar: Writer) -> Path:
    """A tar of three files on the server, as bucket/photos.tar."""
    path = write_tar({"a.jpg": b"one", "b.jpg": b"x" * 3000, "c.json": b""}, folder="photos/")
    store.files["photos.tar"] = path.read_bytes()
    return path


def contents(members: dict[str, RemoteMember]) -> dict[str, bytes]:
    return {name: member.read() for name, member in members.items()}


@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_members_are_those_of_the_tar(store: Store, published: Path, protocol: str) -> None:
    address = store.url("photos.tar") if protocol == "http" else "s3://bucket/photos.tar"
    expected = {name: member.read() for name, member in tar_members(published).items()}
    assert contents(remote_tar_members(address)) == expected


def test_a_member_takes_one_request_for_its_own_bytes(store: Store, published: Path) -> None:
    member = remote_tar_members(store.url("photos.tar"))["photos/b.jpg"]
    store.requests.clear()
    assert member.read() == b"x" * 3000
    spans = [span for _, span in store.requests if span]
    assert spans == [f"bytes={member.offset}-{member.offset + 2999}"]


def test_a_tar_is_walked_through_once(store: Store, published: Path) -> None:
    first = remote_tar_members(store.url("photos.tar"))
    store.requests.clear()
    assert remote_tar_members(store.url("photos.tar")) == first
    assert not [span for _, span in store.requests if span]
    # Another tar of the same name is another tar.
    store.files["photos.tar"] += bytes(10_240)
    store.requests.clear()
    assert remote_tar_members(store.url("photos.tar")) == first
    assert [span for _, span in store.requests if span]


def test_an_index_published_beside_it_spares_the_walk(store: Store, published: Path) -> None:
    index = write_index(published)
    assert index.name == published.name + INDEX_SUFFIX
    store.files["photos.tar" + INDEX_SUFFIX] = index.read_bytes()
    members = remote_tar_members(store.url("photos.tar"))
    assert not [span for path, span in store.requests if span and path.endswith(".tar")]
    assert contents(members)["photos/a.jpg"] == b"one"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps({"size": 7, "members": []}), "is of a tar of 7 bytes"),
        ("no index", "is no index of a tar; make it anew or take it away"),
    ],
)
def test_an_index_of_something_else_is_one_line(
    store: Store, published: Path, content: str, message: str
) -> None:
    store.files["photos.tar" + INDEX_SUFFIX] = content.encode()
    with pytest.raises(InputError, match=message) as caught:
        remote_tar_members(store.url("photos.tar"))
    assert "\n" not in str(caught.value)


def test_a_stumbling_server_is_asked_again(store: Store, published: Path) -> None:
    member = remote_tar_members(store.url("photos.tar"))["photos/b.jpg"]
    store.failures = 2
    assert member.read() == b"x" * 3000
    store.failures = 100
    with pytest.raises(OSError, match="500"):
        member.read()


def test_what_came_short_is_not_taken(store: Store, published: Path) -> None:
    member = remote_tar_members(store.url("photos.tar"))["photos/b.jpg"]
    store.cut = 100
    with pytest.raises(OSError, match="2999 of 3000 bytes came"):
        member.read()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{}/bucket/nothing.tar", "nothing.tar: no such file"),
        ("s3://bucket/nothing.tar", "nothing.tar: no such file"),
        ("{}/bucket/text.tar", "is not an uncompressed tar, or is damaged"),
        ("teleport://somewhere/a.tar", "teleport:// is no protocol that fsspec knows"),
    ],
)
def test_what_is_no_tar_is_one_line(store: Store, address: str, message: str) -> None:
    store.files["text.tar"] = b"plain text, and a good deal of it" * 100
    with pytest.raises(InputError, match=message) as caught:
        remote_tar_members(address.format(store.address))
    assert "\n" not in str(caught.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    remote._file_system.cache_clear()
    with pytest.raises(InputError, match=r'pip install "segloop\[remote\]"'):
        remote_tar_members("s3://bucket/photos.tar")


def test_a_pattern_stands_for_its_tars(store: Store) -> None:
    store.files |= {"sa_2.tar": b"", "sa_1.tar": b"", "other.txt": b""}
    assert remote_matches("s3://bucket/sa_*.tar") == [
        "s3://bucket/sa_1.tar",
        "s3://bucket/sa_2.tar",
    ]
    assert remote_matches("s3://bucket/any.tar") == ["s3://bucket/any.tar"]
    with pytest.raises(InputError, match="nothing matches"):
        remote_matches("s3://bucket/none_*.tar")


def test_addresses_are_told_from_paths() -> None:
    assert is_remote("https://host/a.tar")
    assert not is_remote("C:\\photos\\a.tar")
    assert not is_remote(Path("photos/a.tar"))


def test_samples_come_from_a_remote_tar_as_from_a_local_one(
    store: Store, write_tar: Writer, paint_files: Callable[..., dict[str, bytes]]
) -> None:
    local = write_tar(paint_files("sa_1", 20, 30, [(2, 3, 9, 12), (12, 4, 25, 15)]))
    store.files["sa_000.tar"] = local.read_bytes()
    expected = open_sa1b(local)
    (dataset,) = open_all_sa1b([store.url("sa_000.tar")])
    assert dataset.name == "sa_000"
    assert dataset.sample_names == expected.sample_names
    one, other = dataset.read(0), expected.read(0)
    assert (one.image == other.image).all()
    assert one.annotations == other.annotations
    store.failures = 100
    with pytest.raises(InputError, match=r"sa_000/.*: cannot read http") as caught:
        dataset.read(0)
    assert "\n" not in str(caught.value)


def test_a_worker_reads_what_its_parent_has_read_before(store: Store, published: Path) -> None:
    """A connection that a fork would share must not be."""
    member = remote_tar_members(store.url("photos.tar"))["photos/b.jpg"]
    assert member.read() == b"x" * 3000
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(functools.partial(_read, member), range(4))
    assert found == [3000] * 4


def _read(member: RemoteMember, _: int) -> int:
    return len(member.read())
