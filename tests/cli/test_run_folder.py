from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from segloop.cli.console import CommandError
from segloop.cli.run_folder import Job, Manifest, RunFolder, open_run
from segloop.data.folder import ImageFile, find_images
from segloop.errors import InputError

MANIFEST = Manifest("0.1.0", "toy", "abcd", {"points_per_side": 32, "region_xyxy": (1, 2, 3, 4)})


def files_of(job: Job) -> tuple[str, ...]:
    return (f"{job.name}_labels.png", f"{job.name}.json")


def write_images(folder: Path, *names: str) -> tuple[ImageFile, ...]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{folder.name}/{name}".encode())
    return find_images([folder]).images


def work(
    out: Path,
    images: Sequence[ImageFile],
    *,
    manifest: Manifest = MANIFEST,
    redo: bool = False,
    most: int = 99,
    made: str = "",
) -> list[str]:
    """Plan a run and do at most so many of its images; the names that were done."""
    with open_run(out, manifest) as folder:
        waiting, _ = folder.plan(images, files_of, redo=redo)
        for job in waiting[:most]:
            sizes = {}
            for name in files_of(job):
                content = f"{made}{job.image.name}".encode()
                sizes[name] = folder.write(name, content)
            folder.finish(job, job.image.read(), sizes, num_masks=3)
        return [job.name for job in waiting[:most]]


def listing(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_run_leaves_whole_files_a_manifest_and_a_journal(tmp_path: Path, out: Path) -> None:
    images = write_images(tmp_path / "in", "a.jpg", "trip/b.jpg")
    assert work(out, images) == ["a", "trip/b"]
    assert listing(out) == [
        "a.json",
        "a_labels.png",
        "done.jsonl",
        "run.json",
        "trip/b.json",
        "trip/b_labels.png",
    ]
    assert (out / "trip" / "b.json").read_text() == "trip/b.jpg"
    assert Manifest.read(out / "run.json") == replace(
        MANIFEST, settings={"points_per_side": 32, "region_xyxy": [1, 2, 3, 4]}
    )
    lines = [json.loads(line) for line in (out / "done.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["a", "trip/b"]
    assert {path.name for path in out.iterdir()} == {
        *("a.json", "a_labels.png", "trip", "run.json", "done.jsonl")
    }


def test_what_is_done_is_not_done_again(tmp_path: Path, out: Path) -> None:
    images = write_images(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg")
    assert work(out, images, most=2) == ["a", "b"]
    assert work(out, images) == ["c"]
    assert work(out, images) == []
    more = write_images(tmp_path / "in", "aa.jpg")
    assert work(out, more) == ["aa"]


@pytest.mark.parametrize(
    "harm",
    [
        lambda out, photo: (out / "a_labels.png").unlink(),
        lambda out, photo: (out / "a.json").write_bytes(b"cut"),
        lambda out, photo: photo.write_bytes(b"another picture"),
        lambda out, photo: photo.write_bytes(b"In/A.JPG"),  # of the same length
    ],
    ids=["file gone", "file cut", "image changed", "image changed, same size"],
)
def test_what_is_not_whole_any_more_is_made_again(
    tmp_path: Path, out: Path, harm: Callable[[Path, Path], object]
) -> None:
    images = write_images(tmp_path / "in", "a.jpg", "b.jpg")
    work(out, images)
    photo = tmp_path / "in" / "a.jpg"
    stamp = photo.stat().st_mtime_ns
    harm(out, photo)
    os.utime(photo, ns=(stamp + 1, stamp + 1))
    assert work(out, find_images([tmp_path / "in"]).images) == ["a"]
    assert work(out, find_images([tmp_path / "in"]).images) == []


def test_an_image_that_was_touched_or_moved_is_still_the_same(tmp_path: Path, out: Path) -> None:
    images = write_images(tmp_path / "in", "a.jpg")
    work(out, images)
    os.utime(tmp_path / "in" / "a.jpg", ns=(1, 1))
    assert work(out, images) == []
    (tmp_path / "in").rename(tmp_path / "moved")
    assert work(out, find_images([tmp_path / "moved"]).images) == []


def test_images_of_one_name_keep_apart_whatever_is_named_first(tmp_path: Path, out: Path) -> None:
    first = write_images(tmp_path / "x", "a.jpg", "a.png", "A.webp", "a-2.jpg")
    second = write_images(tmp_path / "y", "a.jpg", "a_labels.jpg")
    assert work(out, first) == ["A", "a-2", "a-3", "a-4"]
    assert work(out, second) == ["a-5", "a_labels"]
    assert work(out, [*second, *reversed(first)]) == []
    assert len({name.casefold() for name in listing(out)}) == len(listing(out)) == 14


def test_a_name_never_takes_anothers_file(tmp_path: Path, out: Path) -> None:
    def with_copy(job: Job) -> tuple[str, ...]:
        return (f"{job.name}_labels.png", f"{job.name}.png", f"{job.name}.json")

    images = write_images(tmp_path / "in", "a.png", "a_labels.png", "run.png", "coco.jpg")
    with open_run(out, MANIFEST) as folder:
        waiting, _ = folder.plan(images, with_copy)
    assert [job.name for job in waiting] == ["a", "a_labels-2", "coco-2", "run-2"]


def test_two_runs_with_other_folders_share_an_output_without_loss(
    tmp_path: Path, out: Path
) -> None:
    work(out, write_images(tmp_path / "x", "a.jpg"), made="x")
    work(out, write_images(tmp_path / "y", "a.jpg"), made="y")
    assert (out / "a.json").read_text() == "xa.jpg"
    assert (out / "a-2.json").read_text() == "ya.jpg"
    with open_run(out, MANIFEST) as folder:
        assert [one.name for one in folder.done] == ["a", "a-2"]
        assert sum(one.num_masks for one in folder.done) == 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": {**MANIFEST.settings, "points_per_side": 16}}, "points_per_side 32 (now 16)"),
        ({"model": "vit_b", "identity": "ef"}, "model toy (now vit_b)"),
        ({"identity": "ef"}, "model toy (now toy with other weights)"),
        ({"segloop": "9.0"}, "segloop 0.1.0 (now 9.0)"),
    ],
)
def test_other_settings_are_refused_in_one_line_and_redone_on_request(
    tmp_path: Path, out: Path, changes: dict[str, object], words: str
) -> None:
    images = write_images(tmp_path / "in", "a.jpg", "b.jpg")
    work(out, images, made="old ")
    other = replace(MANIFEST, **changes)  # type: ignore[arg-type]
    before = {name: (out / name).read_bytes() for name in listing(out)}
    with pytest.raises(InputError) as caught:
        work(out, images, manifest=other)
    assert words in str(caught.value)
    assert "--redo" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="holds 1 images that are not named now"):
        work(out, images[:1], manifest=other, redo=True)
    assert {name: (out / name).read_bytes() for name in listing(out)} == before
    assert work(out, images, manifest=other, redo=True, made="new ", most=1) == ["a"]
    assert not (out / "b.json").exists()  # no result of the old settings stays among the new
    assert work(out, images, manifest=other, made="new ") == ["b"]
    assert (out / "b.json").read_text() == "new b.jpg"
    with pytest.raises(InputError, match="was made with"):
        work(out, images)


def test_redo_without_a_change_leaves_the_others_alone(tmp_path: Path, out: Path) -> None:
    images = write_images(tmp_path / "in", "a.jpg", "b.jpg")
    work(out, images, made="old ")
    assert work(out, images[:1], redo=True, made="new ") == ["a"]
    assert work(out, images) == []
    assert (out / "a.json").read_text() == "new a.jpg"
    assert (out / "b.json").read_text() == "old b.jpg"


def test_what_no_run_has_made_is_not_overwritten(tmp_path: Path, out: Path) -> None:
    images = write_images(tmp_path / "in", "a.jpg")
    out.mkdir()
    for name in ("a.json", "done.jsonl", "coco.json"):
        (out / name).write_text("dear to somebody")
        with pytest.raises(InputError, match=f"{name} is there already"):
            work(out, images)
        assert listing(out) == [name]
        (out / name).unlink()
    (out / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json was not written by this command"):
        work(out, images)
    (out / "run.json").unlink()
    (out / "other.json").write_text("no matter")
    assert work(out, images) == ["a"]


def test_what_a_dead_run_left_is_cleared(tmp_path: Path, out: Path) -> None:
    images = write_images(tmp_path / "in", "a.jpg", "b.jpg")
    work(out, images, most=1)
    (out / ".partial").mkdir()
    (out / ".partial" / "file").write_bytes(b"half")
    journal = out / "done.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b"\n{not json}\n" + whole[:40])  # cut by a full disk
    assert work(out, images) == ["b"]
    assert not (out / ".partial").exists()
    assert work(out, images) == []


def test_a_file_that_cannot_be_finished_leaves_the_earlier_one(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "in", "a.jpg")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_run(out, MANIFEST) as folder:
        (job,), _ = folder.plan(images, files_of)
        folder.write("a.json", b"earlier")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(CommandError, match=r"cannot write .*a\.json: No space left"):
                folder.write("a.json", b"later")
            with pytest.raises(CommandError, match=r"cannot write .*done\.jsonl: No space left"):
                folder.finish(job, b"", {}, 0)
        assert not list((out / ".partial").iterdir())
    assert (out / "a.json").read_bytes() == b"earlier"
    assert (out / "done.jsonl").read_bytes() == b""


def test_a_name_that_cannot_be_had_is_a_matter_of_one_image(out: Path) -> None:
    with open_run(out, MANIFEST) as folder:
        with pytest.raises(InputError, match="too long"):
            folder.write("x" * 300, b"")
        folder.write("a", b"")
        with pytest.raises(InputError, match="cannot write"):
            folder.write("a/b.json", b"")
        (out / "c").mkdir()
        with pytest.raises(InputError, match="Is a directory"):
            folder.write("c", b"")


def test_a_stream_that_breaks_off_leaves_nothing(out: Path) -> None:
    with open_run(out, MANIFEST) as folder:
        stream = folder.write_stream("a.json")
        stream.__enter__().write(b"half")
        assert stream.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None) is False
        assert not (out / "a.json").exists()
    assert listing(out) == []


def test_one_run_at_a_time(out: Path) -> None:
    pytest.importorskip("fcntl", reason="locks of folders are a matter of Unix")
    script = (
        "import sys; from pathlib import Path\n"
        "from segloop.cli.run_folder import Manifest, open_run\n"
        "from segloop.errors import InputError\n"
        "try:\n"
        "    with open_run(Path(sys.argv[1]), Manifest('', '', '', {})): print('in')\n"
        "except InputError as error: print(error)\n"
    )

    def another() -> str:
        command = [sys.executable, "-c", script, str(out)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with open_run(out, MANIFEST) as folder:
        assert "another run is writing to" in another()
        assert isinstance(folder, RunFolder)
    assert another() == "in\n"


def test_a_file_for_a_folder_is_refused(out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(InputError, match="is a file"), open_run(out, MANIFEST):
        pass
