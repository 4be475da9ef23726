from __future__ import annotations

import numpy as np
import pytest

from segloop.geometry.frames import BoolArray
from segloop.prompts.prompt import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_MAGNITUDE,
    BOX_TOP_LEFT,
    FOREGROUND,
    MASK_MAGNITUDE,
    PADDING,
)
from segloop.prompts.simulate import truth_box
from segloop.train.config import InteractionConfig
from segloop.train.conversation import (
    BOX,
    MASK,
    POINT,
    Conversation,
    error_clicks,
    first_prompts,
    schedule,
    to_input,
)

SIDE = 32  # of the logit frame
SCALE = 2.0


def random_truths(count: int, seed: int = 0) -> BoolArray:
    """Rectangles of many places and sizes."""
    rng = np.random.default_rng(seed)
    truths = np.zeros((count, SIDE, SIDE), dtype=np.bool_)
    for truth in truths:
        x, y = rng.integers(0, 18, 2)
        width, height = rng.integers(4, 13, 2)
        truth[y : y + height, x : x + width] = True
    return truths


def logit_pixels(coords: np.ndarray) -> np.ndarray:
    """Input pixels back to logit pixels, the other way than the code under test."""
    return (coords - 0.5) / 2.0


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng(seed + number) for number in range(count)]


# --- the schedule ---


def test_the_papers_conversation_has_eleven_rounds() -> None:
    """Nine with a new prompt, one without at a random place inside, one without at the very end."""
    config = InteractionConfig()
    assert config.num_steps == 11
    silent_places = set()
    for seed in range(200):
        asks = schedule(config, np.random.default_rng(seed))
        assert len(asks) == 11
        assert asks[0]
        assert not asks[-1]
        assert sum(asks) == 9
        silent_places.add(asks.index(False))
    assert silent_places == set(range(1, 10))


def test_schedules_of_other_lengths() -> None:
    rng = np.random.default_rng(0)
    assert schedule(InteractionConfig(num_clicks=2, num_mask_only=0), rng) == [True] * 3
    assert schedule(InteractionConfig(num_clicks=2, num_mask_only=1), rng) == [True] * 3 + [False]
    assert schedule(InteractionConfig(num_clicks=0, num_mask_only=0), rng) == [True]


# --- first prompts ---


def test_pixel_centres_go_to_pixel_centres() -> None:
    """Logit pixel 0 covers input pixels 0 and 1, so its centre lies between theirs."""
    np.testing.assert_allclose(to_input(np.array([0, 1, 31]), 2.0), [0.5, 2.5, 62.5])
    np.testing.assert_allclose(to_input(np.array([0, 255]), 4.0), [1.5, 1021.5])


def test_first_points_lie_in_their_truths_and_bring_a_padding_point() -> None:
    truths = random_truths(60)
    talk = first_prompts(truths, generators(60), InteractionConfig(first_box=0.0), SCALE)
    assert (talk.kinds == POINT).all()
    assert (talk.labels == (FOREGROUND, PADDING)).all()
    assert (talk.coords[:, 1] == 0).all()
    assert talk.mask_logits is None
    pixels = logit_pixels(talk.coords[:, 0])
    np.testing.assert_array_equal(pixels, np.round(pixels))
    x, y = pixels.astype(int).T
    assert truths[np.arange(60), y, x].all()
    assert len({tuple(point) for point in pixels}) > 40


def test_first_boxes_are_the_truths_with_bounded_noise() -> None:
    truths = random_truths(300)
    talk = first_prompts(truths, generators(300), InteractionConfig(first_box=1.0), SCALE)
    assert (talk.kinds == BOX).all()
    assert (talk.labels == (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)).all()
    boxes = logit_pixels(talk.coords.reshape(-1, 4))
    tight = np.stack([truth_box(truth) for truth in truths])
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes >= 0).all()
    sides = np.tile(tight[:, 2:] - tight[:, :2], 2)
    noise = (boxes - tight) / sides
    assert noise.std() == pytest.approx(0.1, abs=0.02)
    assert np.abs(noise.mean()) < 0.02


def test_noise_of_large_boxes_stops_at_twenty_input_pixels() -> None:
    truths = np.zeros((200, 256, 256), dtype=np.bool_)
    truths[:, 30:226, 40:216] = True
    talk = first_prompts(truths, generators(200), InteractionConfig(first_box=1.0), 4.0)
    tight = to_input(np.array([40, 30, 215, 225]), 4.0)
    moved = np.abs(talk.coords.reshape(-1, 4) - tight)
    assert moved.max() == pytest.approx(20.0, abs=1e-3)
    assert (moved > 19.9).mean() > 0.5  # a tenth of the sides would be 70 and 78


def test_rough_masks_differ_from_the_truth_and_bring_a_box_or_a_point() -> None:
    truths = random_truths(80)
    talk = first_prompts(truths, generators(80), InteractionConfig(first_mask=1.0), SCALE)
    assert (talk.kinds == MASK).all()
    assert talk.mask_logits is not None
    assert set(np.unique(talk.mask_logits)) == {-MASK_MAGNITUDE, MASK_MAGNITUDE}
    rough = talk.mask_logits[:, 0] > 0
    for mask, truth in zip(rough, truths, strict=True):
        assert (mask != truth).any()
        assert (mask & truth).any()
    with_box = talk.labels[:, 0] == BOX_TOP_LEFT
    assert 20 < with_box.sum() < 60
    x, y = logit_pixels(talk.coords[~with_box][:, 0]).astype(int).T
    assert rough[~with_box][np.arange(len(x)), y, x].all()
    tight = np.stack([truth_box(mask) for mask in rough[with_box]])
    np.testing.assert_allclose(logit_pixels(talk.coords[with_box].reshape(-1, 4)), tight)


def test_kinds_mix_as_asked_and_all_have_two_tokens() -> None:
    truths = random_truths(400)
    config = InteractionConfig(first_box=0.35, first_mask=0.1)
    talk = first_prompts(truths, generators(400), config, SCALE)
    shares = [(talk.kinds == kind).mean() for kind in (POINT, BOX, MASK)]
    np.testing.assert_allclose(shares, [0.55, 0.35, 0.1], atol=0.07)
    assert talk.coords.shape == (400, 2, 2)
    assert talk.mask_logits is not None
    assert (talk.mask_logits[talk.kinds != MASK] == 0).all()
    np.testing.assert_array_equal(talk.has_mask, talk.kinds == MASK)


def test_where_the_model_wants_it_a_box_brings_its_rectangle_along() -> None:
    """The same boxes as without; a point still brings none, a rough mask itself."""
    truths = random_truths(60)
    config = InteractionConfig(first_box=0.5, first_mask=0.2)
    plain = first_prompts(truths, generators(60), config, SCALE)
    talk = first_prompts(truths, generators(60), config, SCALE, fills_boxes=True)
    np.testing.assert_array_equal(talk.coords, plain.coords)
    np.testing.assert_array_equal(talk.has_mask, talk.kinds != POINT)
    assert talk.mask_logits is not None
    for row in np.flatnonzero(talk.kinds == BOX):
        rectangle = truth_box(talk.mask_logits[row, 0] > 0)
        box = logit_pixels(talk.coords[row].reshape(4))
        np.testing.assert_array_equal(rectangle, np.rint(box))
        assert set(np.unique(talk.mask_logits[row])) == {-BOX_MAGNITUDE, BOX_MAGNITUDE}


def test_a_seed_decides_an_objects_prompt_whatever_stands_beside_it() -> None:
    truths, config = random_truths(6), InteractionConfig(first_mask=0.3)
    together = first_prompts(truths, generators(6), config, SCALE)
    alone = first_prompts(truths[4:5], [np.random.default_rng(4)], config, SCALE)
    np.testing.assert_array_equal(together.coords[4], alone.coords[0])
    np.testing.assert_array_equal(together.labels[4], alone.labels[0])


# --- clicks on errors ---


def test_clicks_fall_into_the_error_and_say_which_way() -> None:
    truths, predictions = random_truths(100), random_truths(100, seed=9)
    predictions[0] = truths[0]
    coords, labels = error_clicks(truths, predictions, generators(100), SCALE)
    x, y = logit_pixels(coords).astype(int).T
    rows = np.arange(100)
    wrong = (truths ^ predictions)[rows, y, x]
    assert wrong[1:].all()
    np.testing.assert_array_equal(labels == FOREGROUND, truths[rows, y, x])
    assert {FOREGROUND, BACKGROUND} == set(labels.tolist())
    assert labels[0] == BACKGROUND  # nothing was wrong there


def test_a_conversation_grows_by_one_token_for_everyone() -> None:
    talk = Conversation(
        np.zeros((3, 2, 2), dtype=np.float32),
        np.full((3, 2), PADDING, dtype=np.int64),
        np.zeros(3, dtype=np.int64),
        None,
        np.zeros(3, dtype=np.float32),
    )
    new = np.array([(1, 2), (3, 4), (5, 6)], dtype=np.float32)
    talk.add_clicks(new, np.array([1, 0, 1]))
    assert talk.coords.shape == (3, 3, 2)
    np.testing.assert_array_equal(talk.coords[:, 2], new)
    assert talk.labels[:, 2].tolist() == [1, 0, 1]
