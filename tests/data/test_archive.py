from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from segloop.data.archive import Member, tar_members
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
