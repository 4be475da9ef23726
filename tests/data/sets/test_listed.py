from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from segloop.data.sample import Annotation
from segloop.data.sets.listed import Entry, annotate, choose_until, find_below, list_set
from segloop.errors import InputError
from segloop.geometry.rle import encode_rle


@dataclass(frozen=True)
class Fixed:
    """A truth of so many single pixels."""

    number: int

    def count(self) -> int:
        if self.number < 0:
            raise InputError("no such number")
        return self.number

    def annotations(self, image_hw: tuple[int, int]) -> tuple[Annotation, ...]:
        masks = np.eye(image_hw[0] * image_hw[1], dtype=np.bool_)[: self.count()]
        return tuple(
            annotate(encode_rle(mask.reshape(image_hw)), number)
            for number, mask in enumerate(masks)
        )


def test_small_sets_are_taken_whole_but_for_images_without_a_mask() -> None:
    counts = [3, 0, 5, 7]
    assert choose_until(counts.__getitem__, 4, 0, enough=10, many=15) == (0, 2, 3)


def test_large_sets_are_drawn_until_there_are_enough_masks() -> None:
    counts = [1, 2, 3, 4] * 50
    asked: list[int] = []

    def count(index: int) -> int:
        asked.append(index)
        return counts[index]

    chosen = choose_until(count, 200, 7, enough=100, many=150)
    drawn = [index for index in asked if index in chosen]
    total = sum(counts[index] for index in chosen)
    assert list(chosen) == sorted(set(chosen))
    assert 100 <= total < 104
    assert total - counts[drawn[-1]] < 100, "the last image drawn completes the number"
    assert asked[: len(drawn)] == drawn, "the images are the first of a random order"
    assert sum(counts[index] for index in asked) > 150 >= sum(counts[index] for index in asked[:-1])
    assert chosen == choose_until(counts.__getitem__, 200, 7, enough=100, many=150)
    assert chosen != choose_until(counts.__getitem__, 200, 8, enough=100, many=150)


def test_exactly_as_many_masks_as_the_limit_are_taken_whole() -> None:
    assert len(choose_until([5, 5, 5].__getitem__, 3, 0, enough=10, many=15)) == 3
    assert len(choose_until([5, 5, 6].__getitem__, 3, 0, enough=10, many=15)) == 2


def test_a_listed_set_reads_chooses_and_travels(
    tmp_path: Path, save_picture: Callable[..., Path]
) -> None:
    entries = [
        Entry(f"{number}", save_picture(f"{number}.png", (4, 6)), Fixed(number))
        for number in range(3)
    ]
    listed = list_set("Dots", tmp_path, entries)
    assert (listed.name, len(listed)) == ("Dots", 3)
    sample = pickle.loads(pickle.dumps(listed)).read(2)
    assert (sample.name, sample.image.shape, len(sample.annotations)) == ("2", (4, 6, 3), 2)
    assert listed.sample_names == ("0", "1", "2")
    assert listed.chosen(0).sample_names == ("1", "2")


def test_what_is_missing_is_named_in_one_line(
    tmp_path: Path, save_picture: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match=r"holds no annotated image of Dots"):
        list_set("Dots", tmp_path, [])
    with pytest.raises(InputError, match=r"^Dots/a: annotated, but there is no image .*a\.png$"):
        list_set("Dots", tmp_path, [Entry("a", tmp_path / "a.png", Fixed(1))])
    broken = list_set("Dots", tmp_path, [Entry("b", save_picture("b.png", (4, 6)), Fixed(-1))])
    with pytest.raises(InputError, match=r"^Dots/b: no such number$"):
        broken.read(0)
    with pytest.raises(InputError, match=r"^Dots/b: no such number$"):
        broken.chosen(0)


def test_files_are_found_in_the_folder_or_in_the_one_an_archive_made(tmp_path: Path) -> None:
    (tmp_path / "archive" / "train").mkdir(parents=True)
    assert find_below(tmp_path, "train") == tmp_path / "archive" / "train"
    assert find_below(tmp_path, "images", "train") == tmp_path / "archive" / "train"
    (tmp_path / "train").mkdir()
    assert find_below(tmp_path, "train") == tmp_path / "train"
    with pytest.raises(InputError, match=r"has no val: see the layout"):
        find_below(tmp_path, "val")
    with pytest.raises(InputError, match="no such folder"):
        find_below(tmp_path / "nothing", "val")


def test_annotations_have_area_and_box_of_their_pixels() -> None:
    mask = np.zeros((5, 9), dtype=np.bool_)
    mask[1:4, 2:7] = True
    mask[2, 3] = False
    annotation = annotate(encode_rle(mask), 4, "leaf", is_crowd=True)
    assert (annotation.area, annotation.bbox_xywh) == (14.0, (2.0, 1.0, 5.0, 3.0))
    assert (annotation.id, annotation.category, annotation.is_crowd) == (4, "leaf", True)
    assert np.array_equal(annotation.mask(), mask)
