from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from segloop.model.compact_encoder import (
    CompactEncoder,
    InvertedBottleneck,
    SameConv2d,
    Trunk,
    round_width,
    upsample,
)
from segloop.model.config import MODELS, CompactConfig


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_grid_is_an_eighth_of_the_input() -> None:
    encoder = CompactEncoder(CompactConfig(0), 48).eval()
    with torch.inference_mode():
        assert encoder(torch.randn(2, 3, 96, 96)).shape == (2, 48, 12, 12)
        assert encoder(torch.randn(1, 3, 64, 64)).shape == (1, 48, 8, 8)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    encoder = CompactEncoder(CompactConfig(0), 16).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        alone = torch.cat([encoder(image[None]) for image in images])
        torch.testing.assert_close(encoder(images), alone, atol=1e-5, rtol=1e-5)


def test_size_of_the_default() -> None:
    config = MODELS["compact"]
    assert isinstance(config.encoder, CompactConfig)
    with torch.device("meta"):
        encoder = CompactEncoder(config.encoder, config.width)
    assert sum(p.numel() for p in encoder.parameters()) == 3_455_472


@pytest.mark.parametrize(
    ("variant", "blocks", "widths"),
    [
        (0, [1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320]),
        (1, [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
        (2, [1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352]),
    ],
)
def test_trunks_are_efficientnet_lite(variant: int, blocks: list[int], widths: list[int]) -> None:
    with torch.device("meta"):
        trunk = Trunk(variant)
    assert [len(stage) for stage in trunk.stages] == blocks  # type: ignore[arg-type]
    assert trunk.widths == widths


def test_trunk_maps_have_strides_4_8_16_32() -> None:
    maps = Trunk(0).eval()(torch.randn(1, 3, 64, 64))
    assert [tuple(one.shape[1:]) for one in maps] == [
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
        (320, 2, 2),
    ]


@pytest.mark.parametrize(
    ("kernel", "stride", "pads"),
    [(3, 1, (1, 1)), (5, 1, (2, 2)), (3, 2, (0, 1)), (5, 2, (1, 2)), (1, 1, (0, 0))],
)
def test_padding_is_tensorflows(kernel: int, stride: int, pads: tuple[int, int]) -> None:
    convolution = SameConv2d(2, 3, kernel, stride)
    image = torch.randn(1, 2, 8, 8)
    padded = F.pad(image, pads * 2)
    expected = F.conv2d(padded, convolution.weight, convolution.bias, stride=stride)
    assert expected.shape[-2:] == (8 // stride, 8 // stride)
    torch.testing.assert_close(convolution(image), expected)


def test_a_bottleneck_keeps_its_input_only_where_the_shape_stays() -> None:
    image = torch.randn(1, 8, 8, 8)
    for width, stride, kept in ((8, 1, True), (8, 2, False), (12, 1, False)):
        block = InvertedBottleneck(8, width, 3, stride, 6)
        torch.nn.init.zeros_(block.project.weight)
        torch.nn.init.zeros_(block.project.bias)  # type: ignore[arg-type]
        out = block(image)
        assert torch.equal(out, image) if kept else not out.any()


def test_every_level_reaches_the_output() -> None:
    encoder = CompactEncoder(CompactConfig(0), 16).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = encoder(image)
        for lateral in (encoder.lateral4, encoder.lateral8, encoder.lateral16, encoder.lateral32):
            lateral.weight *= 1.5
            after = encoder(image)
            assert not torch.allclose(after, before, atol=1e-4)
            before = after


def test_upsampling_is_centred() -> None:
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    expected = torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0])
    torch.testing.assert_close(upsample(ramp)[0, 0, 3], expected)


@pytest.mark.parametrize(
    ("width", "rounded"), [(32 * 1.1, 32), (24 * 1.1, 24), (88.0, 88), (3.0, 8), (11.9, 16)]
)
def test_widths_round_to_eights(width: float, rounded: int) -> None:
    assert round_width(width) == rounded
