from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from segloop.errors import ImageError, InputError
from segloop.predict.cache import image_id
from segloop.server.images import ImageStore, StoredImage, shown_name
from segloop.server.settings import ServerSettings


@pytest.fixture
def store(settings: ServerSettings) -> ImageStore:
    return ImageStore(settings)


def add(store: ImageStore, content: bytes, name: str = "x.png") -> tuple[StoredImage, bool]:
    partial = store.new_upload()
    partial.write_bytes(content)
    try:
        return store.add(partial, name)
    finally:
        assert not partial.exists()


def test_the_folder_is_listed_by_name(store: ImageStore, folder: Path) -> None:
    images = store.list()
    assert [one.name for one in images] == ["a.png", "b.jpg", "trip/c.png"]
    assert [one.image_hw for one in images] == [(60, 90), (80, 50), (40, 40)]
    assert [one.media_type for one in images] == ["image/png", "image/jpeg", "image/png"]
    content = (folder / "a.png").read_bytes()
    assert images[0].id == image_id(content)
    assert images[0].num_bytes == len(content)
    assert images[0].read() == content
    assert store.find(images[0].id) == images[0]
    assert store.find("0" * 32) is None


def test_what_comes_after_follows_the_folder(store: ImageStore) -> None:
    first, second, third = store.list()
    assert store.after(first.id) == second
    assert store.after(third.id) is None
    assert store.after("0" * 32) is None


def test_listing_sees_what_has_come_and_gone(
    store: ImageStore, folder: Path, picture: Callable[..., bytes]
) -> None:
    gone = store.list()[0]
    (folder / "a.png").unlink()
    (folder / "d.png").write_bytes(picture((10, 20), 9))
    with pytest.raises(ImageError, match="not there any more"):
        gone.read()
    assert [one.name for one in store.list()] == ["b.jpg", "d.png", "trip/c.png"]
    assert store.find(gone.id) is None


def test_a_changed_file_is_not_read_as_the_old_one(
    store: ImageStore, folder: Path, picture: Callable[..., bytes]
) -> None:
    old = store.list()[0]
    (folder / "a.png").write_bytes(picture((61, 90), 77))
    with pytest.raises(ImageError, match="changed"):
        old.read()
    assert store.list()[0].id != old.id


def test_only_images_within_the_limits_are_listed(
    settings: ServerSettings, folder: Path, picture: Callable[..., bytes]
) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    (folder / "large.png").write_bytes(picture((150, 150), 4))
    small = replace(settings, max_file_bytes=30_000)
    assert [one.name for one in ImageStore(small).list()] == ["a.png", "b.jpg", "trip/c.png"]
    few = replace(settings, max_pixels=90 * 60)
    assert [one.name for one in ImageStore(few).list()] == ["a.png", "b.jpg", "trip/c.png"]


@pytest.fixture
def tar(folder: Path) -> Path:
    """A tar with a photograph, beside those of the folder."""
    path = folder / "more.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder / "a.png", "first.png")
        archive.add(folder / "b.jpg", "second.jpg")
    return path


def damage(tar: Path) -> None:
    tar.write_bytes(tar.read_bytes()[:1500])


def test_a_damaged_tar_is_said_at_the_beginning(settings: ServerSettings, tar: Path) -> None:
    damage(tar)
    with pytest.raises(InputError, match=r"more\.tar is not an uncompressed tar, or is damaged"):
        ImageStore(settings)


def test_a_tar_damaged_meanwhile_hides_nothing_and_is_said_once(
    settings: ServerSettings, folder: Path, tar: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ImageStore(settings)
    before = store.list()
    whole = tar.read_bytes()
    damage(tar)
    for _ in range(3):
        assert store.list() == before
    (record,) = caplog.records
    assert "more.tar is not an uncompressed tar, or is damaged" in record.getMessage()
    tar.write_bytes(whole)
    (folder / "a.png").unlink()
    assert [one.name for one in store.list()] == ["b.jpg", "more/first.png", "trip/c.png"]
    damage(tar)
    store.list()
    assert len(caplog.records) == 2


def test_an_empty_folder_is_no_mistake(settings: ServerSettings, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert ImageStore(replace(settings, folder=empty)).list() == []


def test_one_image_can_stand_for_a_folder(settings: ServerSettings, folder: Path) -> None:
    alone = ImageStore(replace(settings, folder=folder / "b.jpg"))
    assert [one.name for one in alone.list()] == ["b.jpg"]


def test_an_upload_is_kept_once(
    store: ImageStore, folder: Path, picture: Callable[..., bytes]
) -> None:
    content = picture((30, 20), 5)
    image, is_new = add(store, content, "../../etc/passwd")
    assert is_new
    assert image.name == "etc/passwd"
    assert image.image_hw == (30, 20)
    assert image.read() == content
    assert store.list()[-1] == image
    again, is_new = add(store, content, "other.png")
    assert not is_new
    assert again == image
    ours, is_new = add(store, (folder / "a.png").read_bytes())
    assert not is_new
    assert ours.name == "a.png"
    assert len(store.list()) == 4


def test_the_oldest_uploads_go(settings: ServerSettings, picture: Callable[..., bytes]) -> None:
    contents = [picture((40, 40), seed) for seed in range(4)]
    room = sum(map(len, contents[:2])) + 10
    store = ImageStore(replace(settings, folder=None, max_uploads_bytes=room))
    images = [add(store, content, f"{number}.png")[0] for number, content in enumerate(contents)]
    assert [one.name for one in store.list()] == ["2.png", "3.png"]
    with pytest.raises(ImageError, match="send it again"):
        images[0].read()
    assert images[3].read() == contents[3]


def test_nothing_of_a_refused_upload_stays(
    store: ImageStore, picture: Callable[..., bytes]
) -> None:
    place = store.new_upload().parent
    for one in place.iterdir():
        one.unlink()
    whole = picture((30, 20), 5)
    for content in (
        b"",
        b"no picture",
        whole[: len(whole) // 2],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ):
        with pytest.raises(ImageError):
            add(store, content)
    assert not list(place.iterdir())
    assert len(store.list()) == 3


def test_closing_removes_the_uploads(store: ImageStore) -> None:
    place = store.new_upload().parent
    store.close()
    assert not place.exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat.jpg", "cat.jpg"),
        ("C:\\photos\\cat.jpg", "C:/photos/cat.jpg"),
        ("../../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("a\0b\nc\x1b[31m.png", "a b c [31m.png"),
        ("", "image"),
        ("..", "image"),
        ("x" * 500, "x" * 200),
        ("<script>", "<script>"),
    ],
)
def test_a_name_is_only_shown(name: str, expected: str) -> None:
    assert shown_name(name) == expected
