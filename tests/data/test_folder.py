from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segloop.data.folder import find_images
from segloop.errors import ImageError, InputError

Writer = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images at several depths among other files; the current folder is the one above."""
    for name in (
        "photos/b.JPG",
        "photos/a.png",
        "photos/trip/day1/a.png",
        "photos/trip/c.webp",
        "photos/notes.txt",
        "photos/._a.png",
        "photos/.cache/x.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def names(*paths: str | Path, exclude: Path | None = None) -> list[str]:
    return [image.name for image in find_images(paths, exclude=exclude).images]


ALL = ["a.png", "b.JPG", "trip/c.webp", "trip/day1/a.png"]


@pytest.mark.usefixtures("photos")
def test_a_folder_is_searched_to_any_depth_and_hidden_files_stay_hidden() -> None:
    assert names("photos") == ALL
    found = find_images(["photos"]).images
    assert [image.read() for image in found] == [f"photos/{name}".encode() for name in ALL]


@pytest.mark.usefixtures("photos")
def test_a_file_that_is_named_is_taken_whatever_it_is_called() -> None:
    assert names("photos/notes.txt", "photos/a.png") == ["notes.txt", "a.png"]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/*.png", ["a.png"]),
        ("photos/*", ["a.png", "b.JPG", "trip/c.webp", "trip/day1/a.png"]),
        ("photos/**/*.png", ["a.png", "trip/day1/a.png"]),
        ("*/*.png", ["photos/a.png"]),
        ("photos/**", ALL),
        ("photos/t*/day?/[ab].png", ["trip/day1/a.png"]),
    ],
)
def test_patterns_keep_the_folders_after_their_fixed_part(
    pattern: str, expected: list[str]
) -> None:
    assert names(pattern) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(photos: Path) -> None:
    (photos / "a[1].png").write_bytes(b"x")
    assert names("photos/a[1].png") == ["a[1].png"]


@pytest.mark.usefixtures("photos")
def test_each_image_is_found_once(photos: Path) -> None:
    assert names("photos/trip", "photos", photos / "a.png") == [
        "c.webp",
        "day1/a.png",
        "a.png",
        "b.JPG",
    ]


def test_links_are_followed_but_round_no_circle(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.png").write_bytes(b"d")
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    (photos / "trip" / "up").symlink_to(photos)
    assert names("photos") == ["a.png", "b.JPG", "link/d.png", "trip/c.webp", "trip/day1/a.png"]


def test_tars_are_read_by_offset(photos: Path, write_tar: Writer) -> None:
    files = {"x.jpg": b"ex", "x.json": b"{}", "deep/y.png": b"why", ".z.png": b""}
    tar = write_tar(files, "set.tar")
    assert names(tar) == ["deep/y.png", "x.jpg"]
    tar.rename(photos / "trip" / "set.tar")
    found = find_images(["photos/trip"]).images
    assert {image.name: image.read() for image in found if image.inner} == {
        "set/deep/y.png": b"why",
        "set/x.jpg": b"ex",
    }
    assert {image.label for image in found} == {
        "photos/trip/c.webp",
        "photos/trip/day1/a.png",
        "photos/trip/set.tar!deep/y.png",
        "photos/trip/set.tar!x.jpg",
    }
    assert names("photos/t*/*.tar") == ["trip/set/deep/y.png", "trip/set/x.jpg"]


def test_a_tar_cannot_lead_outside(write_tar: Writer) -> None:
    tar = write_tar({"../../up.jpg": b"1", "/abs.jpg": b"2", "./here.jpg": b"3"})
    assert sorted(names(tar)) == ["abs.jpg", "here.jpg", "up.jpg"]


def test_what_lies_in_the_output_folder_is_left_alone(photos: Path) -> None:
    out = photos / "out"
    (out / "trip").mkdir(parents=True)
    (out / "a_overlay.jpg").write_bytes(b"")
    (out / "trip" / "c_overlay.jpg").write_bytes(b"")
    for paths in (["photos"], ["photos/*"], ["photos/**/*.*"]):
        found = find_images(paths, exclude=out)
        assert not any("overlay" in image.name for image in found.images)
    named = find_images(["photos/a.png", "photos/out/a_overlay.jpg"], exclude=out)
    assert [image.name for image in named.images] == ["a.png"]
    assert named.num_excluded == 1
    with pytest.raises(InputError, match="all images there lie in the output folder"):
        find_images(["photos/out/a_overlay.jpg"], exclude=out)
    for inside in ("photos/out", "photos/out/trip"):
        with pytest.raises(InputError, match="name another folder for the output"):
            find_images([inside], exclude=out)


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none.jpg", r"none\.jpg: no such file or folder"),
        ("none/*.jpg", r"none/\*\.jpg: nothing matches"),
        ("photos/*.txt", "no image there"),
        ("empty", "empty: no image there"),
        ("photos.tgz", "unpack it"),
        ("damaged.tar", "damaged"),
    ],
)
def test_what_holds_no_image_is_named(path: str, words: str) -> None:
    Path("empty").mkdir()
    Path("photos.tgz").write_bytes(b"x")
    Path("damaged.tar").write_bytes(b"x")
    with pytest.raises(InputError, match=words) as caught:
        find_images([path])
    assert "\n" not in str(caught.value)


def test_an_image_that_cannot_be_read_says_why(photos: Path) -> None:
    (photos / "a.png").write_bytes(b"")
    first, second, *_ = find_images(["photos"]).images
    (photos / "b.JPG").unlink()
    with pytest.raises(ImageError, match="the file is empty"):
        first.read()
    with pytest.raises(ImageError, match="no such file any more"):
        second.read()


def test_a_tar_that_shrinks_under_the_run_says_so(write_tar: Writer) -> None:
    tar = write_tar({"a.png": bytes(3000)})
    (image,) = find_images([tar]).images
    tar.write_bytes(tar.read_bytes()[:1000])
    with pytest.raises(ImageError, match="cut short"):
        image.read()


def test_a_source_is_one_however_it_is_spelt(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (relative,) = find_images(["photos/a.png"]).images
    (absolute,) = find_images([photos / "trip" / ".." / "a.png"]).images
    assert relative.source == absolute.source
