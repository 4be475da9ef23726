"""The protocol click by click, against a predictor whose answers are written down, and once with a real model."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.data.sample import Annotation
from segloop.errors import InputError
from segloop.evaluate import points
from segloop.evaluate.points import PointsProtocol, evaluate_points, first_click
from segloop.evaluate.truth import Counts
from segloop.geometry.rle import encode_rle

HW = (24, 32)


@pytest.fixture
def square(rectangle):
    return rectangle(HW, slice(4, 14), slice(6, 16))


def evaluate_one(scripted, samples, truth, answer, **options):
    predictor = scripted(answer)
    protocol = PointsProtocol(**options)
    result = evaluate_points(lambda: predictor, samples([[truth]]), name="drawn", protocol=protocol)
    return predictor, result.scores[0]


def test_a_perfect_answer_scores_exactly_one_and_gets_no_second_click(scripted, samples, square):
    predictor, score = evaluate_one(scripted, samples, square, lambda prompt, output: (square, 0.9))
    assert score.click_ious == (1.0,)
    assert score.iou_after(9) == score.single_iou == score.box_iou == score.oracle_iou == 1.0
    assert len(predictor.click_calls()) == 2
    assert score.grown.iou_out == 1.0


def test_an_empty_answer_scores_zero_after_every_click(scripted, samples, square):
    empty = np.zeros(HW, dtype=bool)
    _, score = evaluate_one(scripted, samples, square, lambda prompt, output: (empty, 0.9))
    assert score.click_ious == (0.0,) * 20
    assert score.box_iou == score.single_iou == score.oracle_iou == score.iou_after(9) == 0.0


def test_one_click_takes_the_best_predicted_and_the_oracle_the_best_true(
    scripted, samples, rectangle, square
):
    masks = {
        0: rectangle(HW, slice(4, 14), slice(6, 11)),  # IoU .5, token 0
        1: rectangle(HW, slice(4, 14), slice(6, 14)),  # .8
        2: rectangle(HW, slice(4, 14), slice(6, 10)),  # .4, the best predicted
        3: rectangle(HW, slice(4, 14), slice(6, 8)),  # .2
    }
    quality = {0: 0.99, 1: 0.3, 2: 0.8, 3: 0.1}
    predictor, score = evaluate_one(
        scripted, samples, square, lambda prompt, output: (masks[output], quality[output])
    )
    assert score.three_ious == pytest.approx((0.8, 0.4, 0.2))
    assert score.three_predicted_ious == pytest.approx((0.3, 0.8, 0.1))
    assert score.iou_after(1) == pytest.approx(0.4)
    assert score.oracle_iou == pytest.approx(0.8)
    assert score.single_iou == pytest.approx(0.5)
    assert score.iou_after(2) == pytest.approx(0.5)
    # The logits that go back are those of the mask that was the answer: call 1, output 2.
    second_click = predictor.click_calls()[2][1][0]
    np.testing.assert_array_equal(second_click.logits, np.full((4, 4), 12))


def test_clicks_add_up_and_each_goes_into_the_larger_error(scripted, samples, rectangle, square):
    too_much = square | rectangle(HW, slice(4, 14), slice(16, 30))
    predictor, _ = evaluate_one(
        scripted, samples, square, lambda prompt, output: (too_much, 0.5), max_clicks=9
    )
    calls = predictor.click_calls()
    assert [outputs for outputs, _ in calls] == ["three"] + ["single"] * 9
    first = calls[0][1][0]
    # The middle of a 10 x 10 square has four innermost pixels; the first in row order is taken.
    np.testing.assert_array_equal(first._points, [[10, 8]])
    assert first.logits is None
    for number, (_, (prompt,)) in enumerate(calls[2:], start=2):
        assert len(prompt._points) == number
        assert prompt._labels.tolist() == [1] + [0] * (number - 1)
        assert len(np.unique(prompt._points, axis=0)) == number
        inside = prompt._points[1:]
        assert ((inside[:, 0] >= 16) & (inside[:, 0] < 30)).all()
    # From the third click on, the logits are those of output 0 of the call before.
    assert {float(prompt.logits[0, 0]) % 10 for _, (prompt,) in calls[3:]} == {0.0}


def test_clicks_go_on_until_the_last_reported_even_when_the_target_is_reached(
    scripted, samples, rectangle, square
):
    almost = square & ~rectangle(HW, slice(4, 5), slice(6, 11))  # IoU .95
    _, score = evaluate_one(
        scripted,
        samples,
        square,
        lambda prompt, output: (almost, 0.5),
        clicks=(1, 3),
        max_clicks=20,
    )
    assert score.click_ious == pytest.approx((0.95,) * 3)


def test_clicks_go_on_to_the_most_allowed_where_the_target_is_not_reached(
    scripted, samples, rectangle, square
):
    half = rectangle(HW, slice(4, 14), slice(6, 14))  # IoU .8
    _, score = evaluate_one(
        scripted, samples, square, lambda prompt, output: (half, 0.5), clicks=(1, 3), max_clicks=7
    )
    assert score.click_ious == pytest.approx((0.8,) * 7)


def test_clicks_end_where_every_wrong_pixel_was_clicked(scripted, samples, square):
    two_missing = square.copy()
    two_missing[4, 6:8] = False
    _, score = evaluate_one(scripted, samples, square, lambda prompt, output: (two_missing, 0.5))
    assert score.click_ious == pytest.approx((0.98,) * 3)
    assert score.iou_after(9) == pytest.approx(0.98)


def test_all_objects_of_an_image_are_asked_at_once_and_finished_ones_no_more(
    scripted, samples, rectangle
):
    left = rectangle(HW, slice(2, 12), slice(2, 12))
    right = rectangle(HW, slice(2, 12), slice(18, 28))
    half = rectangle(HW, slice(2, 12), slice(18, 23))

    def answer(prompt, output):
        x = prompt._points[0, 0] if len(prompt._points) else 0
        return (left if x < 16 else half), 0.5

    predictor = scripted(answer)
    evaluate_points(
        lambda: predictor,
        samples([[left, right]]),
        name="drawn",
        protocol=PointsProtocol(max_clicks=9),
    )
    sizes = [len(prompts) for _, prompts in predictor.click_calls()]
    assert sizes == [2, 2] + [1] * 8


def test_objects_in_small_groups_score_the_same(scripted, samples, rectangle, monkeypatch):
    truths = [rectangle(HW, slice(2, 12), slice(x, x + 6)) for x in (0, 8, 16, 24)]

    def answer(prompt, output):
        return rectangle(HW, slice(2, 9), slice(0, 22)), 0.2 * output

    dataset = samples([truths, truths[:1]])
    whole = evaluate_points(lambda: scripted(answer), dataset, name="drawn")
    monkeypatch.setattr(points, "_PIXELS_AT_ONCE", 1)
    single = evaluate_points(lambda: scripted(answer), dataset, name="drawn")
    assert whole.scores == single.scores
    assert [score.annotation_id for score in whole.scores] == [0, 1, 2, 3, 0]


def test_the_box_prompt_is_the_plain_box_answered_by_output_0(scripted, samples, rectangle, square):
    def answer(prompt, output):
        if prompt._box is not None:
            assert output == 0
            np.testing.assert_array_equal(prompt._box, [6, 4, 15, 13])
            assert not len(prompt._points)
            return rectangle(HW, slice(4, 14), slice(6, 13)), 0.1
        return square, 0.9

    _, score = evaluate_one(scripted, samples, square, answer)
    assert score.box_iou == pytest.approx(0.7)


def test_masks_one_pixel_wide_have_a_box_and_no_worn_form(scripted, samples, rectangle):
    line = rectangle(HW, slice(3, 20), slice(31, 32))
    _, score = evaluate_one(scripted, samples, line, lambda prompt, output: (line, 0.9))
    assert score.box_iou == 1.0
    assert score.worn is None
    assert 0 < score.grown.iou_in < 0.2


def test_rough_masks_are_the_only_prompt_and_five_pixels_off(scripted, samples, rectangle):
    hw = (60, 80)
    truth = rectangle(hw, slice(15, 45), slice(20, 60))
    rough = []

    def answer(prompt, output):
        if prompt.mask is not None:
            assert prompt._box is None
            assert not len(prompt._points)
            assert prompt.logits is None
            rough.append(np.asarray(prompt.mask))
        return truth, 0.9

    _, score = evaluate_one(scripted, samples, truth, answer)
    worn, grown = rough
    np.testing.assert_array_equal(worn, rectangle(hw, slice(20, 40), slice(25, 55)))
    assert grown[10:50, 20:60].all()
    assert not grown[:10].any()
    assert not grown[:, :15].any()
    assert score.worn.iou_in == pytest.approx(600 / 1200)
    assert score.worn.iou_out == 1.0
    assert score.grown.iou_in == pytest.approx(1200 / grown.sum())


def test_crowds_and_empty_masks_are_counted_and_images_without_masks_too(
    scripted, samples, rectangle, square
):
    empty = np.zeros(HW, dtype=bool)
    dataset = samples([[square, empty, square], [empty]], crowds=frozenset({2}))
    result = evaluate_points(
        lambda: scripted(lambda prompt, output: (square, 0.9)), dataset, name="drawn"
    )
    assert result.counts == Counts(num_images=2, num_masks=1, num_crowds=1, num_empty=2)
    assert [(score.image, score.annotation_id) for score in result.scores] == [("image0", 0)]
    assert result.model == "scripted"
    assert result.name == "drawn"


def test_relative_size_and_category_come_from_the_truth(scripted, samples, square):
    _, score = evaluate_one(scripted, samples, square, lambda prompt, output: (square, 0.9))
    assert score.relative_size == pytest.approx((100 / (24 * 32)) ** 0.5)
    assert score.category is None


def test_a_limit_takes_so_many_images_and_progress_hears_of_each(scripted, samples, square):
    heard = []
    result = evaluate_points(
        lambda: scripted(lambda prompt, output: (square, 0.9)),
        samples([[square]] * 6),
        name="drawn",
        protocol=PointsProtocol(limit=3, seed=5),
        progress=lambda done, total: heard.append((done, total)),
    )
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert result.counts.num_images == 3
    assert result.protocol == PointsProtocol((1, 2, 3, 5, 9), 20, 3, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clicks": ()}, "clicks to report"),
        ({"clicks": (0, 1)}, "clicks to report"),
        ({"max_clicks": 8}, "9 clicks is asked for"),
        ({"limit": 0}, "limit"),
        ({"first_click": "edge"}, "center or random, not 'edge'"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(scripted, samples, square, options, message):
    with pytest.raises(InputError, match=message):
        evaluate_points(
            lambda: scripted(lambda prompt, output: (square, 0.9)),
            samples([[square]]),
            name="drawn",
            protocol=PointsProtocol(**options),
        )


@pytest.fixture
def torch_on_one_thread():
    # Threads that wait for one another on a busy machine take a hundred times as long for a model this small.
    torch = pytest.importorskip("torch")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(num_threads)


def test_a_real_model_goes_through_the_whole_protocol(torch_on_one_thread, samples, rectangle):
    from segloop.backends.torch import TorchBackend
    from segloop.model.config import MODELS
    from segloop.model.sam import Sam
    from segloop.predict.predictor import Predictor

    torch_on_one_thread.manual_seed(0)
    predictor = Predictor(TorchBackend(Sam(MODELS["toy"]), "toy", "seed 0"))
    hw = (45, 70)
    truths = [
        rectangle(hw, slice(5, 30), slice(8, 33)),
        rectangle(hw, slice(10, 40), slice(40, 65)),
        rectangle(hw, slice(44, 45), slice(69, 70)),
    ]
    dataset = samples([truths, truths[:2]])
    protocol = PointsProtocol(clicks=(1, 3), max_clicks=4)
    first, second = (
        evaluate_points(lambda: predictor, dataset, name="drawn", protocol=protocol)
        for _ in range(2)
    )
    assert first.scores == second.scores
    assert first.model == "seed 0"
    assert len(first.scores) == 5
    for score in first.scores:
        assert 1 <= len(score.click_ious) <= 4
        for iou in (*score.click_ious, *score.three_ious, score.single_iou, score.box_iou):
            assert 0 <= iou <= 1
        best = int(np.argmax(score.three_predicted_ious))
        assert score.iou_after(1) == score.three_ious[best]


def test_a_random_first_click_lies_in_the_mask_and_depends_on_nothing_else(
    scripted, samples, rectangle, square
):
    other = rectangle(HW, slice(18, 22), slice(20, 30))

    def first_clicks(images, **options):
        predictor = scripted(lambda prompt, output: (square, 0.9))
        protocol = PointsProtocol(first_click="random", **options)
        evaluate_points(lambda: predictor, samples(images), name="drawn", protocol=protocol)
        three = [prompts for outputs, prompts in predictor.calls if outputs == "three"]
        return [tuple(prompt._points[0].astype(int)) for prompts in three for prompt in prompts]

    both = first_clicks([[square, other]])
    assert square[both[0][1], both[0][0]]
    assert other[both[1][1], both[1][0]]
    assert first_clicks([[square]]) == both[:1]
    assert len({first_clicks([[square]], seed=seed)[0] for seed in range(8)}) > 4


def test_a_damaged_model_is_one_line_and_no_score(scripted, samples, square, damage):
    quality, logit, message = damage
    predictor = scripted(lambda prompt, output: (square, quality), logit=logit)
    with pytest.raises(InputError, match=message) as caught:
        evaluate_points(lambda: predictor, samples([[square]]), name="drawn")
    assert "\n" not in str(caught.value)


def test_a_file_name_of_any_bytes_has_its_click() -> None:
    protocol = PointsProtocol(first_click="random")
    truth = np.ones((6, 6), dtype=np.bool_)
    annotation = Annotation(encode_rle(truth), 36.0, (0.0, 0.0, 6.0, 6.0), 1)
    drawn = [first_click("a\udce9.jpg", annotation, truth, protocol) for _ in range(2)]
    assert drawn[0] == drawn[1]
