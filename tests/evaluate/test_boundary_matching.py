from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

import segloop.evaluate.boundary_matching as boundary_matching
from segloop.errors import InputError
from segloop.evaluate.boundary_matching import match_boundaries

FORBIDDEN = 1e6


def maps_of(*pictures: str) -> np.ndarray:
    """Maps drawn in rows of dots and hashes."""
    return np.array([[[pixel == "#" for pixel in row] for row in one.split()] for one in pictures])


def random_map(draw: np.random.Generator, share: float) -> np.ndarray:
    return draw.random((9, 12)) < share


def best_by_force(predicted: np.ndarray, truth: np.ndarray, reach: float) -> tuple[int, float]:
    """Pairs and total distance of the best matching of two maps, from the table of all distances."""
    ours, theirs = np.argwhere(predicted), np.argwhere(truth)
    table = np.hypot(*(ours[:, None] - theirs[None]).transpose(2, 0, 1))
    table[table > reach] = FORBIDDEN
    chosen = table[linear_sum_assignment(table)]
    real = chosen < FORBIDDEN
    return int(real.sum()), float(chosen[real].sum())


def test_a_map_is_matched_with_itself_pixel_for_pixel() -> None:
    one = maps_of("..#.. .##.. #...#")
    match = match_boundaries(one, one, 1.5)
    np.testing.assert_array_equal(match.matched, one)
    assert match.num_true.tolist() == [[5]]


def test_a_pixel_stands_for_one_alone_and_only_within_reach() -> None:
    truth = maps_of("#....", "####.")
    predicted = maps_of("##...", "....#", "..#..", ".....")
    match = match_boundaries(predicted, truth, 1.0)
    assert match.num_true.tolist() == [[1, 2], [0, 1], [0, 1], [0, 0]]
    # The pixel too many for the first truth is matched with the second.
    np.testing.assert_array_equal(match.matched, predicted)
    just_out = match_boundaries(maps_of(".#.. ...."), maps_of(".... ..#."), 1.41)
    assert not just_out.matched.any()
    assert match_boundaries(maps_of(".#.. ...."), maps_of(".... ..#."), 1.42).matched.sum() == 1


def test_most_pairs_come_before_nearness() -> None:
    # The middle pixel is nearest to the right true one, but only it can stand for the left one.
    match = match_boundaries(maps_of("...#.#"), maps_of(".#..#."), 2.0)
    assert match.num_true.tolist() == [[2]]


def test_of_pixels_too_many_the_nearest_count() -> None:
    match = match_boundaries(maps_of("#.#.. ..... ....."), maps_of("..... ..#.. ....."), 3.0)
    np.testing.assert_array_equal(match.matched, maps_of("..#.. ..... ....."))
    # Here the nearest is not the best for all: the sum of the distances is 1 + 1, else 0 + 3.
    match = match_boundaries(maps_of(".##.#.."), maps_of("..##..."), 1.0)
    assert match.num_true.tolist() == [[2]]
    assert match.matched.sum() == 2


@given(st.integers(0, 10_000), st.sampled_from([1.0, 1.5, 2.3, 4.34]))
def test_no_matching_has_more_pairs_and_none_as_many_at_less_distance(
    seed: int, reach: float
) -> None:
    draw = np.random.default_rng(seed)
    share, true_share = draw.uniform(0, 0.6, size=2)
    predicted, truth = random_map(draw, share), random_map(draw, true_share)
    match = match_boundaries(predicted[None], truth[None], reach)
    num_pairs, distance = best_by_force(predicted, truth, reach)
    assert match.num_true.tolist() == [[num_pairs]]
    assert not (match.matched[0] & ~predicted).any()
    chosen_pairs, chosen_distance = best_by_force(match.matched[0], truth, reach)
    assert match.matched.sum() == chosen_pairs == num_pairs
    assert chosen_distance == pytest.approx(distance)


@pytest.mark.parametrize(
    "name", ["_NODES_AT_ONCE", "_PLACES_AT_ONCE", "_DENSE_SIZE", "_LIKELY_CHOICES"]
)
@pytest.mark.parametrize("value", [1, 100, 1_000_000])
def test_predictions_are_matched_as_if_each_were_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(boundary_matching, name, value)
    draw = np.random.default_rng(7)
    strength = random_map(draw, 1) * draw.random((9, 12))
    predicted = np.stack([strength >= level for level in (0.4, 0.6, 0.7, 0.9)])
    truths = np.stack([random_map(draw, 0.2) for _ in range(3)])
    match = match_boundaries(predicted, truths, 2.0)
    for number, one in enumerate(predicted):
        each = [match_boundaries(one[None], truth[None], 2.0) for truth in truths]
        assert match.num_true[number].tolist() == [int(one.num_true[0, 0]) for one in each]
        union = np.any([one.matched[0] for one in each], axis=0)
        assert match.matched[number].sum() == union.sum()


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_long_contests_are_settled_as_by_force(share: float) -> None:
    draw = np.random.default_rng(int(100 * share))
    predicted, truth = draw.random((2, 40, 50)) < np.array([share, 0.15])[:, None, None]
    match = match_boundaries(predicted[None], truth[None], 4.34)
    num_pairs, distance = best_by_force(predicted, truth, 4.34)
    assert match.num_true.tolist() == [[num_pairs]]
    assert best_by_force(match.matched[0], truth, 4.34) == (num_pairs, pytest.approx(distance))


def test_nothing_is_matched_with_nothing() -> None:
    empty, full = np.zeros((1, 4, 5), dtype=bool), np.ones((1, 4, 5), dtype=bool)
    for predicted, truth in ((empty, full), (full, empty), (empty, empty)):
        match = match_boundaries(predicted, truth, 3.0)
        assert not match.matched.any()
        assert match.num_true.tolist() == [[0]]
    assert match_boundaries(full, full, 100.0).matched.all()


@pytest.mark.parametrize(
    ("shape", "true_shape", "reach", "message"),
    [
        ((1, 4, 5), (2, 5, 4), 1.0, r"\(1, 4, 5\) and true boundaries \(2, 5, 4\)"),
        ((4, 5), (1, 4, 5), 1.0, r"\(N, height, width\)"),
        ((1, 4, 5), (1, 4, 5), -1.0, "max_distance .* got -1.0"),
        ((1, 4, 5), (1, 4, 5), float("nan"), "max_distance .* got nan"),
        ((1, 4, 5), (0, 4, 5), 1.0, "no true boundaries"),
    ],
)
def test_what_cannot_be_matched_is_refused(shape, true_shape, reach, message) -> None:
    with pytest.raises(InputError, match=message):
        match_boundaries(np.zeros(shape, dtype=bool), np.zeros(true_shape, dtype=bool), reach)
