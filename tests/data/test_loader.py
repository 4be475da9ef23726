from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from segloop.data.augment import NO_AUGMENTATION, Augmentation
from segloop.data.loader import (
    SampleStream,
    TrainingItem,
    is_held_out,
    shrink_mask,
    split_indices,
)
from segloop.data.sa1b import SA1BDataset, open_sa1b
from segloop.data.transforms import PIXEL_MEAN, PIXEL_STD
from segloop.errors import InputError
from segloop.geometry.frames import Frame
from segloop.geometry.rle import encode_rle

Writer = Callable[..., Path]
Painter = Callable[..., dict[str, bytes]]
BOXES = [(4, 6, 40, 30), (60, 8, 90, 50), (20, 40, 50, 56)]
CROSS = np.ones((3, 3), dtype=np.uint8)
COLORS = np.array([(240, 30, 30), (30, 240, 30), (30, 30, 240)], dtype=np.float32)


@pytest.fixture
def dataset(paint_files: Painter, write_tar: Writer) -> SA1BDataset:
    files: dict[str, bytes] = {}
    for number in range(6):
        files |= paint_files(f"img_{number}", 60 + number, 100, BOXES)
    return open_sa1b(write_tar(files))


def stream_of(*datasets: SA1BDataset, **changes: object) -> SampleStream:
    stream = SampleStream(
        datasets=datasets,
        weights=(1.0,) * len(datasets),
        input_size=64,
        logit_size=32,
        max_masks=8,
        seed=0,
        augmentation=NO_AUGMENTATION,
        part="all",
    )
    return replace(stream, **changes)  # type: ignore[arg-type]


def draw(stream: SampleStream, count: int) -> list[TrainingItem]:
    indices = stream.indices()
    return [stream.item(number, indices) for number in range(count)]


def assert_same(first: TrainingItem, second: TrainingItem) -> None:
    assert (first.name, first.seed) == (second.name, second.seed)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.truths, second.truths)


ALL_CHANGES = Augmentation(zoom=0.5, flip=0.5, color=0.5)


def test_an_item_is_the_same_in_any_order_and_from_any_copy(dataset: SA1BDataset) -> None:
    stream = stream_of(dataset, augmentation=ALL_CHANGES)
    forward = draw(stream, 8)
    copy = stream_of(dataset, augmentation=ALL_CHANGES)
    indices = copy.indices()
    for number in (5, 0, 7, 5):
        assert_same(copy.item(number, indices), forward[number])


def test_items_and_seeds_differ(dataset: SA1BDataset) -> None:
    items = draw(stream_of(dataset, augmentation=ALL_CHANGES), 12)
    others = draw(stream_of(dataset, augmentation=ALL_CHANGES, seed=1), 12)
    assert len({item.seed for item in items}) == 12
    assert len({item.name for item in items}) > 2
    assert not {item.seed for item in items} & {item.seed for item in others}


def test_an_item_has_the_asked_shapes(dataset: SA1BDataset) -> None:
    item = draw(stream_of(dataset), 1)[0]
    assert item.image.shape == (3, 64, 64)
    assert item.image.dtype == np.float32
    assert item.truths.shape == (3, 32, 32)
    assert item.truths.dtype == np.bool_


def test_weights_decide_how_often_a_dataset_is_drawn(
    dataset: SA1BDataset, paint_files: Painter, write_tar: Writer
) -> None:
    other = open_sa1b(write_tar(paint_files("other_1", 50, 50, [(5, 5, 30, 30)]), "other.tar"))
    stream = stream_of(dataset, other, weights=(1.0, 3.0))
    share = np.mean([item.name == "other_1" for item in draw(stream, 200)])
    assert share == pytest.approx(0.75, abs=0.09)
    never = stream_of(dataset, other, weights=(1.0, 0.0))
    assert all(item.name != "other_1" for item in draw(never, 40))


@pytest.mark.parametrize("weights", [(), (0.0,), (1.0, 1.0), (-1.0,)])
def test_weights_must_fit(dataset: SA1BDataset, weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="weights"):
        stream_of(dataset, weights=weights)


def masks_of(
    paint_files: Painter, write_tar: Writer, *boxes: tuple[int, int, int, int]
) -> SA1BDataset:
    return open_sa1b(write_tar(paint_files("one_1", 100, 100, list(boxes)), "masks.tar"))


def test_masks_over_nine_tenths_are_left_out(paint_files: Painter, write_tar: Writer) -> None:
    dataset = masks_of(paint_files, write_tar, (0, 0, 100, 91), (0, 0, 100, 90))
    truths = draw(stream_of(dataset), 1)[0].truths
    assert len(truths) == 1
    assert truths[0].mean() == pytest.approx(0.9, abs=0.02)


def test_masks_too_small_to_draw_are_left_out(paint_files: Painter, write_tar: Writer) -> None:
    # 100 px become 32: a side of 10 px is 3.2 of them.
    dataset = masks_of(paint_files, write_tar, (50, 50, 60, 60), (10, 10, 35, 35))
    truths = draw(stream_of(dataset, min_pixels=12), 1)[0].truths
    assert [int(truth.sum()) for truth in truths] == [64]
    assert len(draw(stream_of(dataset, min_pixels=1), 1)[0].truths) == 2


def test_crowds_are_left_out(paint_files: Painter, write_tar: Writer) -> None:
    files = paint_files("c_1", 60, 100, BOXES)
    record = json.loads(files["c_1.json"])
    record["annotations"][0]["iscrowd"] = 1
    record["annotations"][1]["area"] = 0
    files["c_1.json"] = json.dumps(record).encode()
    assert len(draw(stream_of(open_sa1b(write_tar(files))), 1)[0].truths) == 1


def test_the_cap_chooses_among_all_masks(dataset: SA1BDataset) -> None:
    items = draw(stream_of(dataset, max_masks=1), 30)
    assert all(len(item.truths) == 1 for item in items)
    assert len({item.truths[0].sum() for item in items}) >= 3


@pytest.mark.parametrize(
    ("repeats", "cap", "expected"), [(1, 8, 3), (2, 8, 6), (4, 8, 8), (2, 4, 4)]
)
def test_objects_repeat_up_to_the_cap(
    dataset: SA1BDataset, repeats: int, cap: int, expected: int
) -> None:
    truths = draw(stream_of(dataset, repeats=repeats, max_masks=cap), 1)[0].truths
    assert len(truths) == expected
    counts = np.unique(truths, axis=0, return_counts=True)[1]
    assert len(counts) == 3
    assert counts.max() - counts.min() <= 1


def test_nothing_usable_is_one_clear_line(paint_files: Painter, write_tar: Writer) -> None:
    dataset = masks_of(paint_files, write_tar, (0, 0, 100, 100))
    with pytest.raises(InputError, match="no usable mask"):
        draw(stream_of(dataset), 1)


def test_a_damaged_mask_names_its_sample(paint_files: Painter, write_tar: Writer) -> None:
    files = paint_files("bad_1", 60, 100, BOXES[:1])
    record = json.loads(files["bad_1.json"])
    record["annotations"][0]["segmentation"]["counts"] = "PPPP"
    files["bad_1.json"] = json.dumps(record).encode()
    with pytest.raises(InputError, match=r"masks/bad_1: .*run lengths"):
        draw(stream_of(open_sa1b(write_tar(files, "masks.tar"))), 1)


# --- image and truths stay together ---


def reconstructed(item: TrainingItem) -> npt.NDArray[np.float32]:
    """Colours of the item's image at logit resolution, 0 to 255."""
    pixels = item.image.transpose(1, 2, 0) * PIXEL_STD + PIXEL_MEAN
    return pixels.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))


@pytest.mark.parametrize(
    "augmentation",
    [
        NO_AUGMENTATION,
        Augmentation(flip=1.0),
        Augmentation(zoom=1.0),
        Augmentation(zoom=1.0, flip=1.0),
    ],
)
def test_truths_lie_on_the_pixels_they_name(
    dataset: SA1BDataset, augmentation: Augmentation
) -> None:
    """Each object has a colour of its own: the truth is where that colour is."""
    compared = 0
    for item in draw(stream_of(dataset, augmentation=augmentation), 15):
        colors = reconstructed(item)
        for truth in item.truths:
            color = COLORS[np.abs(np.median(colors[truth], axis=0) - COLORS).sum(axis=1).argmin()]
            found = np.abs(colors - color).sum(axis=2) < 120  # background is 240 away
            # They may differ along the outline, nowhere else.
            assert not (cv2.erode(truth.astype(np.uint8), CROSS).astype(bool) & ~found).any()
            assert not (found & ~cv2.dilate(truth.astype(np.uint8), CROSS).astype(bool)).any()
            compared += 1
    assert compared > 20


def test_a_flip_is_a_mirror_of_the_content(dataset: SA1BDataset) -> None:
    plain = draw(stream_of(dataset), 5)
    mirrored = draw(stream_of(dataset, augmentation=Augmentation(flip=1.0)), 5)
    for one, other in zip(plain, mirrored, strict=True):
        assert one.name == other.name
        # 100 px wide images fill the whole width, so the mirror axis is the square's middle.
        np.testing.assert_array_equal(one.image[:, :, ::-1], other.image)
        np.testing.assert_array_equal(one.truths[:, :, ::-1], other.truths)


def test_a_shrunk_image_and_its_truths_lie_in_the_corner(dataset: SA1BDataset) -> None:
    half = stream_of(dataset, augmentation=Augmentation(jitter=(0.5, 0.5)), min_pixels=1)
    for small, large in zip(draw(half, 6), draw(stream_of(dataset), 6), strict=True):
        assert not small.truths[:, 16:].any()
        assert not small.truths[:, :, 16:].any()
        assert not small.image[:, 32:].any()
        assert not small.image[:, :, 32:].any()
        assert small.image[:, :16, :16].any()
        share = small.truths.sum() / large.truths.sum()
        assert share == pytest.approx(0.25, abs=0.1)


def test_a_jittered_truth_lies_on_its_pixels(dataset: SA1BDataset) -> None:
    jittered = stream_of(dataset, augmentation=Augmentation(jitter=(0.4, 2.0), flip=0.5))
    for item in draw(jittered, 30):
        picture = item.image.transpose(1, 2, 0) * PIXEL_STD + PIXEL_MEAN
        coarse = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA)
        for truth in item.truths:
            inside = cv2.erode(truth.astype(np.uint8), CROSS).astype(np.bool_)
            if inside.sum() < 4:
                continue
            color = np.median(coarse[inside], axis=0)
            assert np.abs(coarse[inside] - color).mean() < 12
            assert np.abs(COLORS - color).sum(axis=1).min() < 60


def test_padding_is_zero_after_normalising(dataset: SA1BDataset) -> None:
    item = draw(stream_of(dataset, augmentation=Augmentation(color=1.0)), 1)[0]
    height = int(item.name.removeprefix("img_")) + 60
    content = int(height * 0.64 + 0.5)
    assert (item.image[:, content:] == 0).all()
    assert (item.image[:, :content] != 0).mean() > 0.99


def test_shrinking_gives_the_share_that_is_covered() -> None:
    mask = np.zeros((64, 64), dtype=np.bool_)
    mask[10:20, 10:21] = True  # 5 rows of cells, 5 and a half columns
    covered = shrink_mask(encode_rle(mask), (0, 0, 64, 64), Frame((64, 64), 64, 32))
    assert (covered[5:10, 5:10] == 1.0).all()
    assert (covered[5:10, 10] == 0.5).all()
    assert covered.sum() == 27.5


@pytest.mark.parametrize("window", [(0, 0, 100, 61), (13, 7, 90, 50), (40, 0, 55, 61)])
@pytest.mark.parametrize("flips", [False, True])
def test_shrinking_runs_is_shrinking_pixels(window: tuple[int, int, int, int], flips: bool) -> None:
    rng = np.random.default_rng(0)
    mask = cv2.GaussianBlur(rng.random((61, 100)), (0, 0), 4) > 0.5
    x0, y0, x1, y1 = window
    part = mask[y0:y1, x0:x1][:, :: -1 if flips else 1]
    for side in (64, 32):
        frame = Frame(part.shape, side, side // 2)
        covered = shrink_mask(encode_rle(mask), window, frame, flips=flips)
        # Where the image is enlarged, pixels are mixed with their neighbours before.
        difference = np.abs(covered - frame.mask_to_logit(part))
        assert difference.max() < 0.01 if max(part.shape) >= side else difference.mean() < 0.02


# --- parts ---


def test_parts_are_disjoint_complete_and_by_name(
    paint_files: Painter, write_folder: Writer
) -> None:
    files: dict[str, bytes] = {}
    for number in range(300):
        files |= {f"sa_{number}.png": b"", f"sa_{number}.json": b"{}"}
    dataset = open_sa1b(write_folder(files))
    train, held = split_indices(dataset, "train"), split_indices(dataset, "validation")
    assert sorted(train + held) == list(split_indices(dataset, "all")) == list(range(300))
    assert 3 <= len(held) <= 25
    names = {dataset.sample_names[index] for index in held}
    assert names == {
        f"sa_{number}" for number in range(300) if zlib.crc32(str(number).encode()) % 25 == 0
    }


def test_an_image_in_two_sets_stays_on_one_side(write_folder: Writer) -> None:
    sides = []
    for prefix in ("coco", "people"):
        files = {f"{prefix}_{n}.{suffix}": b"" for n in range(100) for suffix in ("png", "json")}
        one = open_sa1b(write_folder(files, prefix))
        held = split_indices(one, "validation")
        sides.append({one.sample_names[index].partition("_")[2] for index in held})
    assert sides[0] == sides[1]


def test_an_empty_part_is_one_clear_line(paint_files: Painter, write_tar: Writer) -> None:
    name = next(n for n in range(50) if zlib.crc32(str(n).encode()) % 25 != 0)
    dataset = open_sa1b(write_tar(paint_files(f"sa_{name}", 60, 100, BOXES)))
    with pytest.raises(InputError, match="validation part"):
        draw(stream_of(dataset, part="validation"), 1)


def test_a_file_name_of_any_bytes_is_on_one_side() -> None:
    assert is_held_out("shape_\udce9") in (True, False)
