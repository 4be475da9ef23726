from __future__ import annotations

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.evaluate.truth import (
    Counts,
    choose_images,
    draw_for,
    in_groups,
    relative_size,
    usable_annotations,
)


def test_without_a_limit_every_image_is_chosen():
    assert choose_images(4, None, 0) == (0, 1, 2, 3)
    assert choose_images(4, 9, 0) == (0, 1, 2, 3)


def test_a_limit_draws_by_seed_without_repeats_in_order():
    chosen = choose_images(100, 10, 3)
    assert chosen == choose_images(100, 10, 3)
    assert len(set(chosen)) == 10
    assert list(chosen) == sorted(chosen)
    assert chosen != choose_images(100, 10, 4)
    assert chosen != tuple(range(10))


def test_draws_hang_on_the_image_and_the_seed_alone():
    draws = {(name, seed): draw_for(name, seed).random() for name in "ab" for seed in (0, 1)}
    assert len(set(draws.values())) == 4
    assert draw_for("a", 1).random() == draws["a", 1]


def test_a_limit_below_one_is_refused():
    with pytest.raises(InputError, match="limit"):
        choose_images(4, 0, 0)


def test_crowds_and_empty_masks_are_passed_over_and_counted(samples, rectangle):
    masks = [
        rectangle((8, 8), slice(0, 3), slice(0, 3)),
        np.zeros((8, 8), dtype=bool),
        rectangle((8, 8), slice(4, 8), slice(4, 8)),
        rectangle((8, 8), slice(0, 8), slice(0, 8)),
    ]
    sample = samples([masks], crowds=frozenset({3})).read(0)
    kept, counts = usable_annotations(sample)
    assert [annotation.id for annotation in kept] == [0, 2]
    assert counts == Counts(num_images=1, num_masks=2, num_crowds=1, num_empty=1)
    assert counts + counts == Counts(2, 4, 2, 2)


@pytest.mark.parametrize(("budget", "sizes"), [(1, [1] * 5), (128, [2, 2, 1]), (10_000, [5])])
def test_groups_hold_the_budget_and_keep_order(samples, rectangle, budget, sizes):
    masks = [rectangle((8, 8), slice(row, row + 1), slice(0, 8)) for row in range(5)]
    sample = samples([masks]).read(0)
    groups = list(in_groups(sample.annotations, (8, 8), budget))
    assert [len(truths) for _, truths in groups] == sizes
    assert [annotation.id for group, _ in groups for annotation in group] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.concatenate([truths for _, truths in groups]), np.stack(masks))


def test_relative_size_is_a_length(rectangle):
    assert relative_size(rectangle((10, 20), slice(0, 5), slice(0, 10))) == pytest.approx(0.5)
