from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from segloop.data.augment import Augmentation
from segloop.data.sa1b import SA1BDataset, open_sa1b
from segloop.errors import InputError
from segloop.train.config import TrainConfig
from segloop.train.items import Share, batches
from segloop.train.run import build_stream
from segloop.train.sam_step import Batch, sam_items


def drawn(
    config: TrainConfig, dataset: SA1BDataset, first_step: int = 0, share: Share | None = None
) -> list[tuple[Batch, ...]]:
    return list(
        batches(sam_items(build_stream(config, (dataset,))), config, first_step, share or Share())
    )


def assert_same(one: Batch, other: Batch) -> None:
    assert torch.equal(one.images, other.images)
    np.testing.assert_array_equal(one.truths, other.truths)
    np.testing.assert_array_equal(one.seeds, other.seeds)


@pytest.fixture
def varied(small_config: TrainConfig) -> TrainConfig:
    data = dataclasses.replace(
        small_config.data, augmentation=Augmentation(zoom=0.5, flip=0.5, color=0.5)
    )
    return dataclasses.replace(small_config, data=data, num_steps=6)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")
def test_batches_are_the_same_from_any_worker_and_from_any_start(
    shapes: SA1BDataset, varied: TrainConfig
) -> None:
    alone = drawn(varied, shapes)
    assert [len(parts) for parts in alone] == [1] * 6
    workers = dataclasses.replace(varied, data=dataclasses.replace(varied.data, num_workers=2))
    shared = drawn(workers, shapes, 2)
    assert len(shared) == 4
    for (one,), (other,) in zip(alone[2:], shared, strict=True):
        assert_same(one, other)


def test_a_step_holds_the_same_items_however_it_is_divided(
    shapes: SA1BDataset, varied: TrainConfig
) -> None:
    """One batch of eight; two processes that accumulate two batches of two each."""
    whole = dataclasses.replace(varied, data=dataclasses.replace(varied.data, batch_size=8))
    parts = dataclasses.replace(varied, accumulate=2)
    of_each = [drawn(parts, shapes, 1, Share(rank, 2)) for rank in (0, 1)]
    for number, (one,) in enumerate(drawn(whole, shapes, 1)):
        pieces = [of_each[rank][number][at] for at in (0, 1) for rank in (0, 1)]
        assert torch.equal(one.images, torch.cat([piece.images for piece in pieces]))
        np.testing.assert_array_equal(one.seeds, np.concatenate([p.seeds for p in pieces]))
        assert one.count == sum(piece.count for piece in pieces)
        assert one.num_images == 8


@pytest.mark.parametrize("num_workers", [0, 1])
def test_where_nothing_can_be_used_it_is_one_line(
    shapes_tar: Path, small_config: TrainConfig, num_workers: int
) -> None:
    content = shapes_tar.read_bytes()
    shapes_tar.write_bytes(content.replace(b"\x89PNG", b"junk"))
    data = dataclasses.replace(small_config.data, num_workers=num_workers)
    config = dataclasses.replace(small_config, data=data)
    with pytest.raises(
        InputError, match="20 items in a row cannot be used: shapes/shape_"
    ) as caught:
        drawn(config, open_sa1b(shapes_tar))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_another_item_stands_in_for_a_damaged_one(
    shapes_tar: Path, small_config: TrainConfig, num_workers: int
) -> None:
    shapes = open_sa1b(shapes_tar)
    data = dataclasses.replace(small_config.data, num_workers=num_workers)
    config = dataclasses.replace(small_config, data=data, num_steps=6)
    whole = drawn(config, shapes)
    # The first image of the tar alone: its signature comes first.
    shapes_tar.write_bytes(shapes_tar.read_bytes().replace(b"\x89PNG", b"junk", 1))
    problems: list[str] = []
    source = sam_items(build_stream(config, (open_sa1b(shapes_tar),)))
    found = list(batches(source, config, on_skip=problems.append))
    assert problems
    assert {line.partition(":")[0] for line in problems} == {"shapes/shape_0"}
    assert sum("shape_0" in part.names for (part,) in whole) > 0
    for (before,), (after,) in zip(whole, found, strict=True):
        assert "shape_0" not in after.names
        if "shape_0" not in before.names:
            assert_same(before, after)
