from __future__ import annotations

import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.data.sa1b import (
    SA1BDataset,
    decode_sa1b,
    encode_sa1b,
    image_id_of,
    open_all_sa1b,
    open_sa1b,
)
from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray

Writer = Callable[..., Path]
Painter = Callable[..., dict[str, bytes]]
BOXES = [(3, 2, 20, 14), (25, 5, 38, 28)]


@pytest.fixture
def two_samples(paint_files: Painter) -> dict[str, bytes]:
    first = paint_files("a_1", 30, 40, BOXES, category="box")
    return {**first, **paint_files("b_2", 21, 33, BOXES[:1], iscrowd=1)}


def assert_is_the_two(dataset: SA1BDataset) -> None:
    assert len(dataset) == 2
    assert dataset.name == "set"
    assert dataset.sample_names == ("a_1", "b_2")
    second, first = dataset.read(1), dataset.read(0)  # any order
    assert first.name == "a_1"
    assert first.image.shape == (30, 40, 3)
    assert second.image.shape == (21, 33, 3)
    assert [one.id for one in first.annotations] == [1, 2]
    assert first.annotations[0].bbox_xywh == (3, 2, 17, 12)
    assert first.annotations[0].area == 17 * 12
    assert first.annotations[0].category == "box"
    assert not first.annotations[0].is_crowd
    assert second.annotations[0].is_crowd
    mask = first.annotations[1].mask()
    np.testing.assert_array_equal(mask, (first.image == (30, 240, 30)).all(axis=2))


def test_reads_a_tar_by_offset(two_samples: dict[str, bytes], write_tar: Writer) -> None:
    assert_is_the_two(open_sa1b(write_tar(two_samples)))


def test_the_order_and_the_folder_inside_a_tar_do_not_matter(
    two_samples: dict[str, bytes], write_tar: Writer
) -> None:
    turned = dict(reversed(two_samples.items()))
    assert_is_the_two(open_sa1b(write_tar(turned, folder="./deep/")))


def test_reads_a_folder(two_samples: dict[str, bytes], write_folder: Writer) -> None:
    assert_is_the_two(open_sa1b(write_folder(two_samples)))


def test_reads_the_folders_below_a_folder(
    two_samples: dict[str, bytes], write_folder: Writer
) -> None:
    folder = write_folder(two_samples)
    for inner in ("trip", ".hidden"):
        (folder / inner).mkdir()
        for name in ("b_2.png", "b_2.json"):
            (folder / inner / name).write_bytes(two_samples[name])
    dataset = open_sa1b(folder)
    assert dataset.sample_names == ("a_1", "b_2", "trip/b_2")
    assert dataset.read(2).image.shape == (21, 33, 3)


def test_other_files_and_images_without_json_are_left_out(
    two_samples: dict[str, bytes], write_tar: Writer
) -> None:
    extra = {"c_3.png": b"no json beside it", "d_4.json": b"{}", "notes.txt": b"", "bare": b""}
    assert open_sa1b(write_tar({**two_samples, **extra})).sample_names == ("a_1", "b_2")


@pytest.mark.parametrize("kind", ["tar", "folder"])
@pytest.mark.parametrize("left", [("a_1.json", "b_2.json", "b_2.png"), ("a_1.json",)])
def test_annotations_without_their_image_are_named(
    two_samples: dict[str, bytes],
    write_tar: Writer,
    write_folder: Writer,
    kind: str,
    left: tuple[str, ...],
) -> None:
    write = {"tar": write_tar, "folder": write_folder}[kind]
    with pytest.raises(InputError) as caught:
        open_sa1b(write({name: two_samples[name] for name in left}))
    assert_one_line(caught, "set", "a_1.json has no image beside it (a_1.jpg", "take the file away")


def test_json_of_another_kind_needs_no_image(
    two_samples: dict[str, bytes], write_tar: Writer, write_folder: Writer
) -> None:
    others = {
        "compose.json": b'{"images": "0f", "pictures": "1a", "objects": 6, "seed": 0}',
        "config.json": b'["image", "annotations"]',
        "photos.tar.index.json": b'{"size": 3, "members": []}',
        "coco.json": b'{"images": [], "annotations": [], "categories": []}',
        "text.json": b"no json",
        "deep.json": b"[" * 100_000,
        "bytes.json": b"\xff\xfe\x00",
    }
    for path in (write_tar({**two_samples, **others}), write_folder({**two_samples, **others})):
        assert open_sa1b(path).sample_names == ("a_1", "b_2")
    with pytest.raises(InputError, match="others holds no NAME"):
        open_sa1b(write_folder(others, "others"))


def test_samples_of_the_same_name_in_two_folders_of_a_tar_are_both_there(
    two_samples: dict[str, bytes], paint_files: Painter, write_tar: Writer
) -> None:
    day = {f"./day/{name}": content for name, content in two_samples.items()}
    other = paint_files("a_1", 21, 33, BOXES[:1])
    night = {f"night/{name}": content for name, content in other.items()}
    dataset = open_sa1b(write_tar({**day, **night}))
    assert dataset.sample_names == ("day/a_1", "day/b_2", "night/a_1")
    assert [dataset.read(index).image.shape[0] for index in range(3)] == [30, 21, 21]


def test_only_samples_of_the_same_name_make_paths_of_the_names_of_a_tar(
    two_samples: dict[str, bytes], write_tar: Writer
) -> None:
    others = {"x/README": b"", "y/README": b"", "x/thumb.png": b"", "y/thumb.png": b""}
    apart = {
        f"{'masks' if name.endswith('.json') else 'images'}/{name}": content
        for name, content in two_samples.items()
    }
    assert_is_the_two(open_sa1b(write_tar({**apart, **others})))
    # What a tar holds twice by one path was put in anew.
    again = {f"./{name}": content for name, content in two_samples.items()}
    assert_is_the_two(open_sa1b(write_tar({"a_1.png": b"older", "a_1.json": b"", **again})))


def test_a_dataset_travels_to_other_processes(
    two_samples: dict[str, bytes], write_tar: Writer
) -> None:
    assert_is_the_two(pickle.loads(pickle.dumps(open_sa1b(write_tar(two_samples)))))


def test_a_subset_keeps_the_order_asked_for(
    two_samples: dict[str, bytes], write_tar: Writer
) -> None:
    turned = open_sa1b(write_tar(two_samples)).subset([1, 0])
    assert turned.sample_names == ("b_2", "a_1")
    assert turned.read(0).image.shape == (21, 33, 3)


def test_a_folder_of_tars_stands_for_its_tars(
    two_samples: dict[str, bytes], write_tar: Writer, write_folder: Writer, tmp_path: Path
) -> None:
    write_tar(two_samples, "y.tar")
    write_tar(two_samples, "x.tar")
    plain = write_folder(two_samples, "z")
    assert [one.name for one in open_all_sa1b([plain, tmp_path])] == ["z", "x", "y"]


def assert_one_line(caught: pytest.ExceptionInfo[InputError], *parts: str) -> None:
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b"\xff\xfe\x00",
        b"[]",
        b'"annotations"',
        b"{}",
        b'{"annotations": null}',
        b'{"annotations": [3]}',
        b'{"annotations": [{"id": 1}]}',
        b'{"annotations": [{"id": 1, "bbox": [1, 2, 3], "area": 1, "segmentation": {}}]}',
        b'{"annotations": [{"id": 1e999, "bbox": [1,2,3,4], "area": 1, "segmentation": {"size": [2,2], "counts": "04"}}]}',
        b'{"annotations": [{"id": 1, "bbox": [1,2,3,4], "area": 1, "segmentation": {"size": [2,2], "counts": 7}}]}',
        b'{"annotations": [{"id": 1, "bbox": [1,2,3,4], "area": 1, "segmentation": {"size": 2, "counts": ""}}]}',
    ],
)
def test_bad_json_names_the_sample(
    two_samples: dict[str, bytes], write_tar: Writer, content: bytes
) -> None:
    dataset = open_sa1b(write_tar({**two_samples, "b_2.json": content}))
    assert dataset.read(0).name == "a_1"
    with pytest.raises(InputError) as caught:
        dataset.read(1)
    assert_one_line(caught, "set/b_2", "SA-1B layout")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"area": float("nan")}, "annotation 1: its box and area must be finite numbers"),
        ({"area": -1}, "annotation 1: its box and area"),
        ({"bbox": [0, 0, float("inf"), 3]}, "annotation 1: its box and area"),
        ({"bbox": [0, 0, 3, -3]}, "no side and no area below 0"),
        ({"predicted_iou": float("nan")}, "annotation 1: its predicted IoU and stability"),
        ({"stability_score": float("-inf")}, "annotation 1: its predicted IoU and stability"),
        ({"id": 7}, "more than one annotation has the number 7"),
    ],
)
def test_annotations_that_cannot_be_name_the_sample(
    paint_files: Painter, write_tar: Writer, changes: dict[str, Any], message: str
) -> None:
    dataset = open_sa1b(write_tar(paint_files("a_1", 30, 40, BOXES, **changes)))
    with pytest.raises(InputError) as caught:
        dataset.read_annotations(0)
    assert_one_line(caught, "set/a_1", message)


def test_scores_may_be_negative_or_unknown(paint_files: Painter, write_tar: Writer) -> None:
    scores = {"predicted_iou": -0.01, "stability_score": None}
    dataset = open_sa1b(write_tar(paint_files("a_1", 30, 40, BOXES, **scores)))
    assert len(dataset.read_annotations(0)) == 2


def test_a_damaged_image_names_the_sample(two_samples: dict[str, bytes], write_tar: Writer) -> None:
    dataset = open_sa1b(write_tar({**two_samples, "a_1.png": b"junk"}))
    with pytest.raises(InputError) as caught:
        dataset.read(0)
    assert_one_line(caught, "set/a_1")


def test_an_image_cut_short_names_the_sample(
    two_samples: dict[str, bytes], write_tar: Writer
) -> None:
    dataset = open_sa1b(write_tar({**two_samples, "a_1.png": two_samples["a_1.png"][:60]}))
    with pytest.raises(InputError) as caught:
        dataset.read(0)
    assert_one_line(caught, "set/a_1")


def test_masks_of_another_size_name_the_sample_and_both_sizes(
    two_samples: dict[str, bytes], write_tar: Writer, record_of: Callable[..., dict[str, Any]]
) -> None:
    turned = record_of(np.ones((40, 30), dtype=np.bool_))
    content = json.dumps({"annotations": [turned]}).encode()
    dataset = open_sa1b(write_tar({**two_samples, "a_1.json": content}))
    with pytest.raises(InputError) as caught:
        dataset.read(0)
    assert_one_line(caught, "set/a_1", "(40, 30)", "(30, 40)")


def test_an_image_that_has_gone_names_the_sample(
    two_samples: dict[str, bytes], write_folder: Writer
) -> None:
    folder = write_folder(two_samples)
    dataset = open_sa1b(folder)
    (folder / "b_2.png").unlink()
    with pytest.raises(InputError) as caught:
        dataset.read(1)
    assert_one_line(caught, "set/b_2", "b_2.png")


def test_a_compressed_tar_is_refused(two_samples: dict[str, bytes], write_tar: Writer) -> None:
    with pytest.raises(InputError) as caught:
        open_sa1b(write_tar(two_samples, "set.tar.gz", "w:gz"))
    assert_one_line(caught, "set.tar.gz", "uncompressed")


@pytest.mark.parametrize("kept", [0, 100, 700, 1500])
def test_a_truncated_tar_is_refused(
    two_samples: dict[str, bytes], write_tar: Writer, kept: int
) -> None:
    path = write_tar(two_samples)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError) as caught:
        open_sa1b(path)
    assert_one_line(caught, "set.tar", "damaged")


def test_a_tar_cut_between_two_members_is_refused(
    two_samples: dict[str, bytes], write_tar: Writer
) -> None:
    path = write_tar(two_samples)
    with tarfile.open(path) as archive:
        start_of_third = archive.getmembers()[2].offset
    path.write_bytes(path.read_bytes()[:start_of_third])
    with pytest.raises(InputError) as caught:
        open_sa1b(path)
    assert_one_line(caught, "set.tar", "cut short")


def test_nothing_there_and_nothing_in_it(tmp_path: Path, write_tar: Writer) -> None:
    with pytest.raises(InputError, match=r"nowhere\.tar: no such"):
        open_sa1b(tmp_path / "nowhere.tar")
    with pytest.raises(InputError, match=r"set\.tar holds no"):
        open_sa1b(write_tar({"a.png": b""}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no"):
        open_all_sa1b([tmp_path / "empty"])


def boxes_as_masks(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> BoolArray:
    masks = np.zeros((len(boxes), height, width), dtype=np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def test_written_masks_have_exactly_the_keys_and_boxes_of_sa1b(
    encode_masks: Callable[[BoolArray], EncodedMasks],
) -> None:
    full, one = (0, 0, 40, 30), (7, 5, 8, 6)
    masks = encode_masks(boxes_as_masks(30, 40, [full, one]))
    record = json.loads(encode_sa1b(masks, "sa_12.jpg", 12))
    assert record["image"] == {
        "image_id": 12,
        "width": 40,
        "height": 30,
        "file_name": "sa_12.jpg",
    }
    first, second = record["annotations"]
    assert first == {
        "id": 1,
        "segmentation": {"size": [30, 40], "counts": masks.rles[0].counts},
        "bbox": [0, 0, 39, 29],
        "area": 1200,
        "predicted_iou": 1.0,
        "stability_score": pytest.approx(0.99),
        "crop_box": [0, 0, 40, 30],
        "point_coords": [[0.5, 0.25]],
    }
    assert second["id"] == 2
    assert second["bbox"] == [7, 5, 0, 0]


def test_what_is_written_is_read_back(
    write_folder: Writer,
    paint_files: Painter,
    encode_masks: Callable[[BoolArray], EncodedMasks],
) -> None:
    masks = boxes_as_masks(30, 40, BOXES)
    content = encode_sa1b(encode_masks(masks), "a.png", 1)
    folder = write_folder({**paint_files("a", 30, 40, BOXES), "a.json": content})
    sample = open_sa1b(folder).read(0)
    np.testing.assert_array_equal([one.mask() for one in sample.annotations], masks)
    assert [one.area for one in sample.annotations] == masks.sum(axis=(1, 2)).tolist()


@pytest.mark.parametrize("count", [0, 3])
def test_decoding_gives_back_what_was_encoded(
    encode_masks: Callable[[BoolArray], EncodedMasks], count: int
) -> None:
    masks = encode_masks(boxes_as_masks(30, 40, [*BOXES, (0, 0, 1, 1)][:count]))
    content = encode_sa1b(masks, "a.png", 1)
    again = decode_sa1b(content)
    assert encode_sa1b(again, "a.png", 1) == content
    assert again.image_hw == masks.image_hw
    np.testing.assert_array_equal(again.boxes_xyxy, masks.boxes_xyxy)
    np.testing.assert_array_equal(again.points_xy, masks.points_xy)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"image": {}, "annotations": [{}]}'])
def test_decoding_something_else_is_an_error(content: bytes) -> None:
    with pytest.raises(InputError, match="not the SA-1B layout"):
        decode_sa1b(content)


@pytest.mark.parametrize("key", ["area", "predicted_iou", "stability_score"])
def test_decoding_what_is_no_number_is_an_error(
    encode_masks: Callable[[BoolArray], EncodedMasks], key: str
) -> None:
    record = json.loads(encode_sa1b(encode_masks(boxes_as_masks(30, 40, BOXES)), "a.png", 1))
    record["annotations"][1][key] = float("nan")
    with pytest.raises(InputError, match="not the SA-1B layout that segloop writes"):
        decode_sa1b(json.dumps(record).encode())


def test_no_masks_are_written_as_none() -> None:
    record = json.loads(encode_sa1b(EncodedMasks.none((3, 4)), "a.png", 1))
    assert record["annotations"] == []


def test_an_image_has_its_own_number_or_one_of_its_name() -> None:
    assert image_id_of("sa_223750.jpg") == image_id_of("deep/sa_223750") == 223750
    numbers = {image_id_of(name) for name in ("a", "b", "deep/a", "sa_x", "sa_")}
    assert len(numbers) == 5
    assert all(0 <= number < 2**53 for number in numbers)


def test_reads_the_public_data(shared_dir: Path) -> None:
    dataset = open_sa1b(shared_dir / "data" / "eval" / "davis.tar")
    assert len(dataset) == 60
    sample = dataset.read(17)
    assert sample.annotations[0].mask().sum() == sample.annotations[0].area
