from __future__ import annotations

import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from segloop.data.archive import INDEX_SUFFIX, Member, parse_index, scan_tar, tar_members
from segloop.data.remote import write_index
from segloop.errors import InputError

Writer = Callable[..., Path]


def test_members_are_read_by_their_full_names(write_tar: Writer) -> None:
    path = write_tar({"a.jpg": b"one", "b/a.jpg": b"three"}, folder="photos/")
    members = tar_members(path)
    assert {name: member.read() for name, member in members.items()} == {
        "photos/a.jpg": b"one",
        "photos/b/a.jpg": b"three",
    }
    assert pickle.loads(pickle.dumps(members["photos/a.jpg"])).read() == b"one"


def test_a_file_is_read_whole_or_in_part(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    assert Member(tmp_path / "x").read() == b"0123456789"
    assert Member(tmp_path / "x", 3, 4).read() == b"3456"
    assert Member(tmp_path / "x", 3, 0).read() == b""


def test_a_tar_that_is_cut_or_packed_is_refused(write_tar: Writer) -> None:
    whole = write_tar({"a.jpg": bytes(2000)})
    content = whole.read_bytes()
    packed = write_tar({"a.jpg": bytes(2000)}, "packed.tar", "w:gz")
    for broken in (content[:700], content[:2560], b"", packed.read_bytes()):
        whole.write_bytes(broken)
        with pytest.raises(InputError, match=r"set\.tar is not an uncompressed tar, or is damaged"):
            tar_members(whole)


def test_a_tar_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tar: No such file"):
        tar_members(tmp_path / "none.tar")


def test_an_index_beside_a_tar_spares_the_walk(
    write_tar: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar({"a.jpg": b"one", "b.jpg": b"three"})
    walked = tar_members(path)
    write_index(path)
    monkeypatch.setattr(tarfile, "open", None)
    assert tar_members(path) == walked
    with pytest.raises(TypeError):
        scan_tar(path)


def test_an_index_of_another_state_of_the_tar_is_not_believed(write_tar: Writer) -> None:
    path = write_tar({"a.jpg": b"one"})
    index = write_index(path)
    write_tar({"b.jpg": b"two"})  # as large as the one before
    seconds = index.stat().st_mtime
    os.utime(path, (seconds + 5, seconds + 5))
    assert list(tar_members(path)) == ["b.jpg"]
    write_index(path)
    os.utime(index, (seconds + 5, seconds + 5))
    index.write_text(index.read_text().replace("b.jpg", "c.jpg"))
    os.utime(index, (seconds + 5, seconds + 5))
    assert list(tar_members(path)) == ["c.jpg"], "as old as the tar: believed"
    with path.open("ab") as stream:
        stream.write(bytes(tarfile.RECORDSIZE))
    os.utime(path, (seconds, seconds))
    assert list(tar_members(path)) == ["b.jpg"], "newer, of another size"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        json.dumps({"size": 10}),
        json.dumps({"size": 10, "members": [["a.jpg", 1]]}),
        json.dumps({"size": 10, "members": [["a.jpg", 8, 3]]}),
        json.dumps({"size": 10, "members": [["a.jpg", -1, 3]]}),
    ],
)
def test_what_is_no_index_is_none(write_tar: Writer, content: str) -> None:
    path = write_tar({"a.jpg": b"one"})
    (path.parent / f"{path.name}{INDEX_SUFFIX}").write_text(content)
    assert list(tar_members(path)) == ["a.jpg"]
    with pytest.raises(ValueError, match=r"."):
        parse_index(content)
