from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segloop.backends.torch import TorchBackend
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray
from segloop.geometry.rle import encode_rle
from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.predict.predictor import Predictor
from segloop.train.pictures import ask, choose_truth, draw_validation, write_picture

SIZE_HW = (60, 90)
PANEL_PX, GAP_PX = 240, 6


@pytest.fixture
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(TorchBackend(Sam(MODELS["toy"]), "toy", "toy"))


def square(x0: int, y0: int, x1: int, y1: int) -> BoolArray:
    mask = np.zeros(SIZE_HW, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def sample(name: str, *masks: BoolArray, crowds: tuple[int, ...] = ()) -> Sample:
    annotations = tuple(
        Annotation(
            encode_rle(mask), float(mask.sum()), (0.0, 0.0, 1.0, 1.0), at, is_crowd=at in crowds
        )
        for at, mask in enumerate(masks)
    )
    return Sample(name, np.full((*SIZE_HW, 3), 128, dtype=np.uint8), annotations)


def test_one_click_a_box_and_three_clicks_are_asked(predictor: Predictor) -> None:
    truth = square(20, 10, 51, 41)
    embedding = predictor.encode(sample("a", truth).image)
    one, box, three = ask(predictor, embedding, truth)
    assert [answer.caption for answer in (one, box, three)] == ["1 click", "box", "3 clicks"]
    assert [(click.xy, click.is_foreground) for click in one.clicks] == [((35, 25), True)]
    assert box.clicks == ()
    assert box.box_xyxy is not None
    assert box.box_xyxy.tolist() == [20, 10, 50, 40]
    assert three.clicks[:1] == one.clicks
    assert len({click.xy for click in three.clicks}) == 3
    # The second click mends an error of the first answer, and says which kind it is.
    (x, y), is_foreground = three.clicks[1].xy, three.clicks[1].is_foreground
    assert truth[y, x] != one.mask[y, x]
    assert is_foreground == truth[y, x]
    assert all(answer.mask.shape == SIZE_HW for answer in (one, box, three))


@pytest.mark.parametrize("truth", [square(3, 5, 70, 6), square(3, 5, 4, 50), square(0, 0, 90, 60)])
def test_truths_without_extent_or_without_an_outside_can_be_drawn(
    predictor: Predictor, truth: BoolArray
) -> None:
    assert draw_validation(predictor, [sample("a", truth)]).dtype == np.uint8


def test_the_last_panel_shows_the_truth(predictor: Predictor) -> None:
    # The object fills the middle of the window around it, which the image's edge does not cut.
    picture = draw_validation(predictor, [sample("a", square(40, 25, 60, 35))])
    width = 4 * PANEL_PX + 5 * GAP_PX
    assert picture.shape[1] == width
    panel = picture[GAP_PX:, width - GAP_PX - PANEL_PX : width - GAP_PX].astype(np.int64)
    middle = panel[(panel.shape[0] - 24) // 2, PANEL_PX // 2]
    assert middle[1] > middle[0] + 30  # green on grey
    corner = panel[4, 4]
    assert corner.max() - corner.min() <= 2
    assert corner.max() < 128  # dimmed


def test_a_row_for_each_sample_with_an_object(predictor: Predictor) -> None:
    full = sample("full", square(20, 10, 50, 40))
    alone = draw_validation(predictor, [full])
    height = len(alone) - GAP_PX
    mixed = [sample("none"), full, sample("dot", square(1, 1, 2, 2)), full, full]
    assert len(draw_validation(predictor, mixed, 8)) == 3 * (height + GAP_PX)
    two = draw_validation(predictor, iter(mixed), 2)
    assert len(two) == 2 * (height + GAP_PX)
    assert np.array_equal(two[: height + GAP_PX], alone[: height + GAP_PX])
    with pytest.raises(InputError, match="no object to draw"):
        draw_validation(predictor, [sample("none")])


def test_the_object_hangs_on_the_name_alone() -> None:
    masks = [square(at * 9, 5, at * 9 + 8, 55) for at in range(9)]
    chosen = {name: choose_truth(sample(name, *masks)) for name in ("a", "b", "c", "d", "e")}
    again = choose_truth(sample("a", *masks))
    assert again is not None
    assert chosen["a"] is not None
    assert np.array_equal(again, chosen["a"])
    assert len({one.tobytes() for one in chosen.values() if one is not None}) > 1


def test_crowds_and_what_is_too_small_to_see_are_passed_over() -> None:
    small, crowd, wanted = square(1, 1, 3, 3), square(5, 5, 60, 50), square(30, 20, 60, 50)
    for name in ("a", "b", "c"):
        found = choose_truth(sample(name, small, crowd, wanted, crowds=(1,)))
        assert found is not None
        assert np.array_equal(found, wanted)
        assert choose_truth(sample(name, small, crowd, crowds=(1,))) is None


def test_small_objects_are_enlarged_and_the_image_itself_stays(predictor: Predictor) -> None:
    given = sample("a", square(70, 50, 80, 58))
    wide = dataclasses.replace(given, image=given.image.copy())
    picture = draw_validation(predictor, [wide])
    assert np.array_equal(wide.image, given.image)
    assert picture.shape[0] > PANEL_PX * 0.9


def test_a_picture_is_written_under_its_step(predictor: Predictor, tmp_path: Path) -> None:
    picture = draw_validation(predictor, [sample("a", square(20, 10, 50, 40))])
    path = write_picture(tmp_path / "run", 1500, picture)
    assert path == tmp_path / "run" / "pictures" / "00001500.png"
    with Image.open(path) as stored:
        assert np.array_equal(np.asarray(stored), picture)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^cannot write [^\n]*00000001\.png: [^\n]*$"):
        write_picture(tmp_path / "file", 1, picture)
