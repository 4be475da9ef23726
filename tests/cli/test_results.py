from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from segloop.cli.console import CommandError
from segloop.cli.prompting import ObjectRequest, request_from_options
from segloop.cli.results import (
    ImageResult,
    mask_records,
    prepare_folder,
    unique_stems,
    write_pictures,
    write_whole,
)
from segloop.errors import InputError
from segloop.geometry.frames import Frame
from segloop.geometry.masks import MaskBatch
from segloop.geometry.rle import Rle, decode_rle


@pytest.fixture
def result() -> ImageResult:
    """Three masks of two objects on a picture of 40 x 60; the last mask is empty."""
    frame = Frame((40, 60), 64, 32)
    logits = np.full((3, 32, 32), -4.0, dtype=np.float32)
    logits[0, 4:14, 5:20] = 4.0
    logits[1, 2:18, 2:28] = 4.0
    masks = MaskBatch(
        masks=frame.logits_to_image(logits) > 0,
        predicted_iou=np.array([0.9, 0.8, 0.123456], dtype=np.float32),
        stability_score=np.array([1.0, 0.5, 0.0], dtype=np.float32),
        prompt_index=np.array([0, 0, 1]),
        output_index=np.array([2, 1, 0]),
        logits=logits,
    )
    requests = (
        request_from_options("photos/a.jpg", ["20,12"], [], []),
        ObjectRequest("photos/a.jpg", Path("photos/a.jpg"), box=(1.0, 2.0, 30.5, 40.0), id="b"),
    )
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return ImageResult(image, frame, requests, masks, "toy")


def test_records_hold_the_masks_in_coco_terms(result: ImageResult) -> None:
    records = mask_records(result)
    for record, mask in zip(records, result.masks.masks, strict=True):
        rle = record["segmentation"]
        assert np.array_equal(decode_rle(Rle.from_json(rle)), mask)
        assert record["area"] == mask.sum()
        coded = {"size": rle["size"], "counts": rle["counts"].encode()}
        assert record["bbox"] == coco_mask.toBbox(coded).tolist()
    assert [record["output"] for record in records] == [2, 1, 0]
    assert records[2]["predicted_iou"] == 0.1235
    assert records[0]["prompt"] == {"points": [[20, 12, 1]]}
    assert records[2]["prompt"] == {"box": [1, 2, 30.5, 40]}
    assert [record.get("id") for record in records] == [None, None, "b"]
    assert records[0]["image"] == "photos/a.jpg"
    assert "files" not in records[0]


def test_pictures_of_several_masks(result: ImageResult, tmp_path: Path) -> None:
    files = write_pictures(result, tmp_path, "a", one_overlay=True, inputs=())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a_overlay.png"} | {
        f"a_{row}_{kind}.png" for row in range(3) for kind in ("mask", "cutout")
    }
    for row, mask in enumerate(result.masks.masks):
        with Image.open(files[row].mask) as picture:
            assert np.array_equal(np.asarray(picture), mask * np.uint8(255))
        with Image.open(files[row].cutout) as picture:
            cutout = np.asarray(picture)
        assert np.array_equal(cutout[..., 3] >= 128, mask)
        visible = cutout[..., 3] > 0
        assert np.array_equal(cutout[visible, :3], result.image[visible])
    with Image.open(files[0].overlay) as picture:
        assert (picture.size, picture.mode) == ((60, 40), "RGB")
    assert mask_records(result, files)[1]["files"]["overlay"] == str(tmp_path / "a_overlay.png")


def test_an_overlay_for_each_mask(result: ImageResult, tmp_path: Path) -> None:
    files = write_pictures(result, tmp_path, "a", one_overlay=False, inputs=())
    assert [path.overlay.name for path in files] == [f"a_{row}_overlay.png" for row in range(3)]
    assert all(path.overlay.is_file() for path in files)


def test_a_single_mask_has_no_number(result: ImageResult, tmp_path: Path) -> None:
    one = ImageResult(result.image, result.frame, result.requests, result.masks.select([1]), "toy")
    write_pictures(one, tmp_path, "a", one_overlay=False, inputs=())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a_mask.png", "a_overlay.png", "a_cutout.png"}


def test_inputs_are_not_overwritten(result: ImageResult, tmp_path: Path) -> None:
    rough = tmp_path / "a_0_mask.png"
    rough.write_bytes(b"precious")
    with pytest.raises(InputError, match="would be overwritten"):
        write_pictures(result, tmp_path, "a", one_overlay=True, inputs=[rough])
    assert [path.name for path in tmp_path.iterdir()] == [rough.name]
    assert rough.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("images", "stems"),
    [
        (["a/x.jpg", "b/x.jpg", "c/x.png"], ["x", "x-2", "x-3"]),
        (["a/x.jpg", "b/X.jpg"], ["x", "X-2"]),
        (["x.jpg", "x_0.jpg"], ["x", "x_0-2"]),
        (["x_12.jpg", "x.jpg"], ["x_12", "x-2"]),
        (["x.jpg", "x-2.jpg", "b/x.jpg"], ["x", "x-2", "x-3"]),
        (["x.jpg", "x_y.jpg", "x_1_2.jpg"], ["x", "x_y", "x_1_2"]),
    ],
)
def test_no_two_images_share_files(images: list[str], stems: list[str]) -> None:
    assert unique_stems([Path(image) for image in images]) == stems


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "x.bin", b"old")
    write_whole(tmp_path / "x.bin", b"new")
    assert (tmp_path / "x.bin").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommandError, match=r"cannot write .*folder"):
        write_whole(tmp_path / "folder", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {"x.bin", "folder"}


def test_folders_for_results(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "deep" / "er")
    prepare_folder(tmp_path / "deep" / "er")
    assert (tmp_path / "deep" / "er").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        prepare_folder(tmp_path / "file")
    with pytest.raises(InputError, match="cannot make the folder"):
        prepare_folder(tmp_path / "file" / "inner")
