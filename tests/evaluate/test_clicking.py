"""Clicks on several objects at once, against a predictor whose answers are written down."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.evaluate.clicking import click_on, click_once, segment_single, segment_three
from segloop.prompts.prompt import Prompt
from segloop.prompts.simulate import Click

HW = (24, 32)


@pytest.fixture
def truths(rectangle):
    return np.stack(
        [rectangle(HW, slice(2, 12), slice(2, 12)), rectangle(HW, slice(14, 22), slice(18, 30))]
    )


CLICKS = (Click((6, 6), True), Click((24, 18), True))


def start(predictor, truths):
    embedding = predictor.encode(np.zeros((*HW, 3), dtype=np.uint8))
    return embedding, click_once(predictor, embedding, truths, CLICKS)


def test_one_click_has_three_answers_and_a_single_one(scripted, truths, rectangle):
    half = rectangle(HW, slice(2, 12), slice(2, 7))

    def answer(prompt, output):
        first = bool(prompt._points[0][0] == 6)
        if not first:
            return truths[1], 0.5
        return (truths[0], 0.2) if output == 2 else (half, 0.9 if output == 3 else 0.1)

    _, one = start(scripted(answer), truths)
    np.testing.assert_allclose(one.three_ious, [[0.5, 1.0, 0.5], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(one.three_predicted_ious[0], [0.1, 0.2, 0.9])
    np.testing.assert_allclose(one.single_ious, [0.5, 1.0])
    np.testing.assert_array_equal(one.best.masks[0], half)


def test_an_object_that_is_done_gets_no_more_clicks(scripted, truths):
    nothing = np.zeros(HW, dtype=bool)

    def answer(prompt, output):
        return (truths[0], 0.9) if prompt._points[0][0] == 6 else (nothing, 0.1)

    predictor = scripted(answer)
    embedding, one = start(predictor, truths)
    ious = click_on(predictor, embedding, truths, one, least_clicks=2, max_clicks=5, target=0.9)
    assert ious == [(1.0,), (0.0,) * 5]
    later = predictor.calls[2:]
    assert [len(prompts) for _, prompts in later] == [1] * 4
    assert [len(prompts[0]._points) for _, prompts in later] == [2, 3, 4, 5]
    # An empty answer is clicked in the middle of the truth, and then elsewhere.
    points = {tuple(point) for point in later[-1][1][0]._points.tolist()}
    assert len(points) == 5
    assert all(truths[1][int(y), int(x)] for x, y in points)


def test_clicks_end_when_the_target_is_reached_and_enough_were_given(scripted, truths):
    almost = truths.copy()
    almost[0, 2, 2] = almost[1, 14, 18] = False

    def answer(prompt, output):
        return almost[0 if prompt._points[0][0] == 6 else 1], 0.9

    predictor = scripted(answer)
    embedding, one = start(predictor, truths)
    limits = {"max_clicks": 9, "target": 0.9}
    assert [
        len(ious) for ious in click_on(predictor, embedding, truths, one, least_clicks=3, **limits)
    ] == [2, 2]
    assert [
        len(ious) for ious in click_on(predictor, embedding, truths, one, least_clicks=1, **limits)
    ] == [1, 1]


def test_single_asks_for_output_zero(scripted, truths):
    predictor = scripted(lambda prompt, output: (truths[0], 0.1 * output))
    embedding = predictor.encode(np.zeros((*HW, 3), dtype=np.uint8))
    answer = segment_single(predictor, embedding, [Prompt(points_xy=[(1, 1)])] * 2)
    assert answer.output_index.tolist() == [0, 0]


def test_three_asks_for_the_outputs_of_an_ambiguous_prompt(scripted, truths):
    predictor = scripted(lambda prompt, output: (truths[0], 0.1 * output))
    embedding = predictor.encode(np.zeros((*HW, 3), dtype=np.uint8))
    answer = segment_three(predictor, embedding, [Prompt(points_xy=[(1, 1)])] * 2)
    assert answer.output_index.tolist() == [1, 2, 3] * 2


@pytest.mark.parametrize("ask", [segment_single, segment_three])
def test_an_answer_that_is_no_number_is_refused(scripted, truths, damage, ask):
    quality, logit, message = damage
    predictor = scripted(lambda prompt, output: (truths[0], quality), logit=logit)
    embedding = predictor.encode(np.zeros((*HW, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=message):
        ask(predictor, embedding, [Prompt(points_xy=[(1, 1)])])


def test_a_first_click_answered_by_no_numbers_is_refused(scripted, truths):
    three_are_damaged = scripted(
        lambda prompt, output: (truths[0], float("nan") if output else 0.5)
    )
    with pytest.raises(InputError, match="a predicted IoU is no number"):
        start(three_are_damaged, truths)
