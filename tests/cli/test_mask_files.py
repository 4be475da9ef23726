from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.cli.mask_files import WantedFiles, write_masks
from segloop.cli.run_folder import Job, Manifest, open_run
from segloop.data.folder import ImageFile, find_images
from segloop.data.image import load_image
from segloop.data.sa1b import open_sa1b
from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray

Encoder = Callable[[BoolArray], EncodedMasks]
ALL = WantedFiles(coco=True, labels=True, overlay=True, image=True)


def photo(folder: Path, name: str) -> ImageFile:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    (found,) = find_images([folder / name]).images
    return found


@pytest.fixture
def masks(encode_masks: Encoder) -> EncodedMasks:
    """A large mask, and a small one inside it."""
    stack = np.zeros((2, 30, 40), dtype=np.bool_)
    stack[0, 2:28, 3:30] = True
    stack[1, 5:10, 6:12] = True
    return encode_masks(stack)


def write(out: Path, job: Job, masks: EncodedMasks, wanted: WantedFiles) -> list[str]:
    content = job.image.read()
    with open_run(out, Manifest("", "", "", {})) as folder:
        folder.plan([job.image], wanted.files_of)
        sizes = write_masks(folder, job, content, load_image(content), masks, wanted)
        folder.finish(job, content, sizes, len(masks))
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert tuple(sizes) == wanted.files_of(job)
    assert written == {*sizes, "run.json", "done.jsonl"}
    assert all((out / name).stat().st_size == size for name, size in sizes.items())
    return list(sizes)


def test_formats_are_read() -> None:
    assert WantedFiles.parse("sa1b", False) == WantedFiles()
    assert WantedFiles.parse("coco, labels,overlay", True) == ALL
    for wrong in ("png", "sa1b,cocos", "", ","):
        with pytest.raises(InputError, match="choose from sa1b, coco, labels, overlay"):
            WantedFiles.parse(wrong, False)


def test_every_file_of_an_image(tmp_path: Path, masks: EncodedMasks) -> None:
    job = Job(photo(tmp_path / "in", "a.jpg"), "trip/a-2")
    out = tmp_path / "out"
    names = write(out, job, masks, ALL)
    assert names == ["trip/a-2_labels.png", "trip/a-2_overlay.jpg", "trip/a-2.jpg", "trip/a-2.json"]
    with Image.open(out / "trip" / "a-2_labels.png") as picture:
        labels = np.asarray(picture)
        assert picture.mode.startswith("I;16")
    expected = np.zeros((30, 40), dtype=np.int64)
    expected[2:28, 3:30], expected[5:10, 6:12] = 1, 2
    np.testing.assert_array_equal(labels, expected)
    with Image.open(out / "trip" / "a-2_overlay.jpg") as picture:
        assert picture.size == (40, 30)
    assert (out / "trip" / "a-2.jpg").read_bytes() == job.image.read()
    sample = open_sa1b(out).read(0)
    assert sample.name == "trip/a-2"
    np.testing.assert_array_equal(sample.annotations[1].mask(), masks.mask(1))
    record = json.loads((out / "trip" / "a-2.json").read_bytes())
    assert record["image"]["file_name"] == "a-2.jpg"


def test_the_json_alone_names_the_image_as_it_was(tmp_path: Path, masks: EncodedMasks) -> None:
    job = Job(photo(tmp_path / "in", "sa_7.webp"), "sa_7")
    assert write(tmp_path / "out", job, masks, WantedFiles()) == ["sa_7.json"]
    record = json.loads((tmp_path / "out" / "sa_7.json").read_bytes())
    assert record["image"] == {
        "image_id": 7,
        "width": 40,
        "height": 30,
        "file_name": "sa_7.webp",
    }


def test_an_image_that_sa1b_has_no_format_for_is_copied_as_png(
    tmp_path: Path, masks: EncodedMasks
) -> None:
    job = Job(photo(tmp_path / "in", "a.bmp"), "a")
    write(tmp_path / "out", job, masks, WantedFiles(image=True))
    copied = (tmp_path / "out" / "a.png").read_bytes()
    assert Image.open(io.BytesIO(copied)).format == "PNG"
    np.testing.assert_array_equal(load_image(copied), load_image(job.image.read()))
    assert len(open_sa1b(tmp_path / "out").read(0).annotations) == 2


def test_no_masks_make_empty_files_not_none(tmp_path: Path) -> None:
    job = Job(photo(tmp_path / "in", "a.png"), "a")
    write(tmp_path / "out", job, EncodedMasks.none((30, 40)), ALL)
    with Image.open(tmp_path / "out" / "a_labels.png") as picture:
        assert not np.asarray(picture).any()
