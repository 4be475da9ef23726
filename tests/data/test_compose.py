from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segloop.data.compose import Composer, Composition, compose, picture_name
from segloop.data.cutouts import AnnotatedCutouts, Cutout
from segloop.data.loader import is_held_out
from segloop.data.sa1b import SA1BDataset, open_sa1b
from segloop.data.sample import Annotation, Sample
from segloop.geometry.rle import encode_rle

Files = dict[str, bytes]
# Pasted as it is: no turn, no light, no shadow, half as long as the picture.
PLAIN = Composition(sides=(0.5, 0.5), turn=0.0, contrast=0.0, light=0.0, shadow=0.0)
ORANGE = (255, 128, 0)


def annotated(mask: np.ndarray, number: int, category: str | None = None) -> Annotation:
    return Annotation(encode_rle(mask), float(mask.sum()), (0.0, 0.0, 1.0, 1.0), number, category)


@pytest.fixture
def background() -> Sample:
    """Grey, 200 x 100, its upper half a wall and a stone in the lower."""
    wall, stone = np.zeros((2, 100, 200), dtype=np.bool_)
    wall[:50] = True
    stone[70:80, 20:40] = True
    image = np.full((100, 200, 3), 90, dtype=np.uint8)
    return Sample("grey", image, (annotated(wall, 1, "wall"), annotated(stone, 2)))


@pytest.fixture
def tile() -> Cutout:
    """An orange square of 40 x 40 with a part, its left half."""
    pixels = np.full((40, 40, 4), (*ORANGE, 255), dtype=np.uint8)
    part = np.zeros((1, 40, 40), dtype=np.bool_)
    part[:, :, :20] = True
    return Cutout(pixels, part)


def test_nothing_pasted_changes_nothing(background: Sample) -> None:
    found = compose(background, [], PLAIN, np.random.default_rng(0))
    np.testing.assert_array_equal(found.image, background.image)
    assert [one.category for one in found.annotations] == ["wall", None]
    assert [one.rle for one in found.annotations] == [one.rle for one in background.annotations]
    assert found.annotations[1].bbox_xywh == (20, 70, 20, 10)


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_what_stays_visible(background: Sample, tile: Cutout, seed: int) -> None:
    anything = replace(PLAIN, sides=(0.2, 0.2), least_visible=0.0, least_area=1)
    found = compose(background, [tile], anything, np.random.default_rng(seed))
    orange = (np.abs(found.image.astype(int) - ORANGE) < 90).all(axis=2)
    by_area = sorted(found.annotations[-2:], key=lambda one: -one.area)
    np.testing.assert_array_equal(by_area[0].mask(), orange)
    assert not (by_area[1].mask() & ~orange).any()
    if seed in (3, 5, 6, 7, 8, 9):  # not cut off
        assert (by_area[0].area, by_area[1].area) == (40 * 40, 40 * 20)
    wall = next(one for one in found.annotations if one.category == "wall")
    expected = background.annotations[0].mask() & ~orange
    np.testing.assert_array_equal(wall.mask(), expected)
    for one in found.annotations:
        rows, columns = np.nonzero(one.mask())
        x, y, width, height = one.bbox_xywh
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
        assert one.area == len(rows)


def test_what_is_almost_hidden_goes(background: Sample, tile: Cutout) -> None:
    huge = replace(PLAIN, sides=(4.0, 4.0))
    found = compose(background, [tile], huge, np.random.default_rng(3))
    assert "wall" not in [one.category for one in found.annotations]
    assert [one.id for one in found.annotations] == list(range(1, 1 + len(found.annotations)))


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_size_and_angle_are_those_asked_for(tile: Cutout, degrees: float) -> None:
    empty = Sample("empty", np.zeros((400, 400, 3), dtype=np.uint8), ())
    asked = replace(PLAIN, sides=(0.2, 0.2), turn=degrees)
    for seed in range(8):
        found = compose(empty, [tile], asked, np.random.default_rng(seed))
        whole = found.annotations[0]
        x, y, width, height = whole.bbox_xywh
        if x > 0 and y > 0 and x + width < 400 and y + height < 400:
            assert whole.area == pytest.approx(80 * 80, rel=0.02)
            assert 79 <= width <= 80 * (np.sin(np.pi / 6) + np.cos(np.pi / 6)) + 1
            assert degrees or width == 80


def test_a_shadow_darkens_what_is_around(background: Sample, tile: Cutout) -> None:
    pixels = [
        compose(background, [tile], replace(PLAIN, shadow=chance), np.random.default_rng(5)).image
        for chance in (0.0, 1.0)
    ]
    grey = (pixels[0] == 90).all(axis=2)
    assert grey.any()
    assert (pixels[1][grey] <= 90).all()
    assert pixels[1][grey].mean() < 90


def test_colours_of_what_is_transparent_do_not_bleed_in() -> None:
    pixels = np.zeros((40, 40, 4), dtype=np.uint8)
    pixels[..., :3] = (0, 255, 0)
    pixels[10:30, 10:30] = (255, 0, 0, 255)
    white = Sample("white", np.full((100, 100, 3), 255, dtype=np.uint8), ())
    cutout = Cutout(pixels, np.zeros((0, 40, 40), dtype=np.bool_))
    image = compose(white, [cutout], PLAIN, np.random.default_rng(1)).image.astype(int)
    assert (image[..., 1] <= image[..., 0]).all()
    assert image[..., 1].min() < 60


@pytest.mark.parametrize("seed", range(12))
def test_edges_are_no_darker_than_what_meets_there(seed: int) -> None:
    rows, columns = np.mgrid[:60, :60]
    disc = (rows - 30) ** 2 + (columns - 30) ** 2 < 28**2
    pixels = np.full((60, 60, 4), 200, dtype=np.uint8)
    pixels[..., 3] = 255 * disc
    pixels[~disc] = 0
    grey = Sample("grey", np.full((120, 120, 3), 200, dtype=np.uint8), ())
    cutout = Cutout(pixels, np.zeros((0, 60, 60), dtype=np.bool_))
    turning = replace(PLAIN, turn=30.0)
    found = compose(grey, [cutout], turning, np.random.default_rng(seed))
    assert found.annotations
    assert np.abs(found.image.astype(int) - 200).max() <= 1


def test_names_are_never_held_out() -> None:
    names = [picture_name(number) for number in range(300)]
    assert len(set(names)) == 300
    assert names[:3] == ["000000", "000001", "000002"]
    assert not any(is_held_out(name) for name in names)
    assert any(is_held_out(f"{number:06d}") for number in range(300))


def test_pictures_hang_on_seed_and_number_alone(
    paint_files: Callable[..., Files], write_tar: Callable[..., Path]
) -> None:
    files = {
        **paint_files("a", 100, 200, [(10, 20, 70, 70), (20, 30, 40, 50)]),
        **paint_files("b", 120, 90, [(10, 10, 80, 60)]),
    }
    dataset: SA1BDataset = open_sa1b(write_tar(files))
    composer = Composer([dataset], [AnnotatedCutouts(dataset)], objects=(2, 2))
    later = composer.picture(7)
    again = Composer([dataset], [AnnotatedCutouts(dataset)], objects=(2, 2)).picture(7)
    other = replace(composer, seed=1).picture(7)
    assert (later.num_drawn, later.num_usable) == (2, 2)
    assert later.sample.name == picture_name(7)
    np.testing.assert_array_equal(later.sample.image, again.sample.image)
    assert later.sample.annotations == again.sample.annotations
    assert (
        other.sample.image.shape != later.sample.image.shape
        or (other.sample.image != later.sample.image).any()
    )
    assert {composer.picture(number).sample.image.shape for number in range(8)} == {
        (100, 200, 3),
        (120, 90, 3),
    }
