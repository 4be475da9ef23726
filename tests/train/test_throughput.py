from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.train.throughput import (
    Elapsed,
    StepClock,
    count_flops,
    count_sam_flops,
    peak_flops,
    without_weights,
)


def hollow(name: str) -> Sam:
    with torch.device("meta"):
        return Sam(MODELS[name])


def test_vit_b_takes_the_operations_it_is_known_for() -> None:
    # 484 thousand million multiply-adds forward; two operations each, and about two more forward passes to go back.
    assert count_sam_flops(hollow("vit_b")).encoder == pytest.approx(3 * 2 * 484e9, rel=0.01)


@pytest.mark.parametrize("name", ["toy", "compact"])
def test_the_copy_without_weights_counts_what_the_model_computes(name: str) -> None:
    model = Sam(MODELS[name]).train()
    side = 64
    model.config = type(model.config)(**{**vars(model.config), "input_size": side})
    images = torch.randn(1, 3, side, side)
    real = count_flops(lambda: model.encode(images).sum().backward())
    assert count_sam_flops(model).encoder == real > 0
    assert model.training
    assert not any(one.is_meta for one in model.parameters())


def test_grouped_convolutions_go_back_in_twice_their_forward() -> None:
    layer = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
    image = torch.randn(1, 16, 8, 8, requires_grad=True)
    forward = 2 * 8 * 8 * 16 * 9
    assert count_flops(lambda: layer(image)) == forward
    assert count_flops(lambda: layer(image).sum().backward()) == 3 * forward


def test_transposed_convolutions_too() -> None:
    layer = nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False)
    image = torch.randn(2, 4, 5, 5, requires_grad=True)
    forward = count_flops(lambda: layer(image))
    assert forward == 2 * 2 * 5 * 5 * 4 * 6 * 4
    assert count_flops(lambda: layer(image).sum().backward()) == 3 * forward


def test_a_frozen_encoder_is_not_gone_back_through() -> None:
    model = hollow("toy")
    whole = count_sam_flops(model)
    model.image_encoder.requires_grad_(False)
    frozen = count_sam_flops(model)
    forward = count_flops(
        lambda: without_weights(model).encode(torch.empty(1, 3, 64, 64, device="meta"))
    )
    assert frozen.encoder == forward < whole.encoder / 2.5
    # Rounds still go back through the image, to what embeds mask prompts.
    assert frozen.decoder == whole.decoder
    assert frozen.of_step(2, 6, 11) == 2 * frozen.encoder + 66 * frozen.decoder


def test_recomputed_and_skipped_blocks_count_once() -> None:
    model = hollow("toy")
    once = count_sam_flops(model)
    encoder = model.image_encoder
    encoder.checkpointing, model = True, model.train()  # type: ignore[assignment]
    encoder.set_drop_path(0.9)  # type: ignore[operator]
    assert count_sam_flops(model) == once


@pytest.mark.parametrize(
    ("name", "bfloat16", "float32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12, 66.9e12),
        ("NVIDIA H100 PCIe", 756.5e12, 51.2e12),
        ("NVIDIA A100-SXM4-80GB", 312e12, 19.5e12),
        ("Tesla T4", None, 8.1e12),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
        ("AMD Instinct MI300X", None, None),
    ],
)
def test_peak_hangs_on_the_device(name: str, bfloat16: float | None, float32: float | None) -> None:
    assert peak_flops(name, "bfloat16") == pytest.approx(bfloat16)
    assert peak_flops(name, "float32") == pytest.approx(float32)


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_waiting_computing_and_pauses_are_told_apart() -> None:
    hands = Hands()
    clock = StepClock(hands)
    with clock.waiting():
        hands.seconds += 1.0
    hands.seconds += 3.0
    with clock.paused():
        hands.seconds += 50.0
    assert clock.read() == Elapsed(seconds=4.0, waited=1.0)
    hands.seconds += 2.0
    assert clock.read() == Elapsed(seconds=2.0, waited=0.0)


def test_the_time_a_batch_takes_to_come_is_waiting() -> None:
    hands = Hands()

    def slow() -> Iterator[int]:
        for number in range(3):
            hands.seconds += 2.0
            yield number

    clock = StepClock(hands)
    seen = []
    for number in clock.timed(slow()):
        seen.append(number)
        hands.seconds += 1.0
    assert seen == [0, 1, 2]
    assert clock.read() == Elapsed(seconds=9.0, waited=6.0)


def test_an_error_in_the_data_comes_through_and_is_waiting_too() -> None:
    hands = Hands()

    def broken() -> Iterator[int]:
        hands.seconds += 2.0
        raise ValueError("no data")
        yield 0

    clock = StepClock(hands)
    with pytest.raises(ValueError, match="no data"):
        next(clock.timed(broken()))
    assert clock.read().waited == 2.0


def test_speed_leaves_out_what_is_not_known() -> None:
    elapsed = Elapsed(seconds=4.0, waited=1.0)
    assert elapsed.speed(8) == {"images_per_second": 2.0, "data_wait": 0.25}
    assert elapsed.speed(8, 100, None) == elapsed.speed(8)
    assert elapsed.speed(8, 100, 50.0)["mfu"] == pytest.approx(0.5)
