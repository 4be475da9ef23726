from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segloop.model.config import ViTConfig
from segloop.model.image_encoder import (
    Block,
    ImageEncoder,
    RelativeAttention,
    join_windows,
    split_windows,
)

CONFIG = ViTConfig(16, 4, 2, (1, 3), patch_size=4, window_size=3)
SIZE = 32  # a grid of 8 cells, padded to 9 for windows of 3


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def encoder() -> ImageEncoder:
    encoder = ImageEncoder(CONFIG, SIZE, 12)
    for name, parameter in encoder.named_parameters():
        if "relative" in name:
            nn.init.normal_(parameter)
    return encoder.eval()


def test_relative_positions_start_at_zero() -> None:
    fresh = ImageEncoder(CONFIG, SIZE, 12)
    tables = [p for name, p in fresh.named_parameters() if "relative" in name]
    assert len(tables) == 2 * CONFIG.depth
    assert not any(table.any() for table in tables)


def test_shapes_and_channels(encoder: ImageEncoder) -> None:
    assert encoder(torch.randn(2, 3, SIZE, SIZE)).shape == (2, 12, 8, 8)


def test_output_is_normalised_over_channels_and_not_activated(encoder: ImageEncoder) -> None:
    features = encoder(torch.randn(1, 3, SIZE, SIZE))
    torch.testing.assert_close(features.mean(dim=1), torch.zeros(1, 8, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        features.std(dim=1, correction=0), torch.ones(1, 8, 8), atol=1e-3, rtol=0
    )


def test_images_of_a_batch_do_not_see_each_other(encoder: ImageEncoder) -> None:
    images = torch.randn(3, 3, SIZE, SIZE)
    alone = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(encoder(images), alone, atol=1e-5, rtol=1e-5)


def test_patches_must_tile_the_input() -> None:
    with pytest.raises(ValueError, match="patches of 4 do not tile an input of 30"):
        ImageEncoder(CONFIG, 30, 12)


def test_windows_are_padded_at_bottom_and_right() -> None:
    grid = torch.arange(1.0, 65.0).reshape(1, 8, 8, 1)
    windows = split_windows(grid, 3)
    assert windows.shape == (9, 3, 3, 1)
    assert torch.equal(windows[1, :, :, 0], grid[0, :3, 3:6, 0])
    assert torch.equal(windows[3, :, :, 0], grid[0, 3:6, :3, 0])
    last = torch.zeros(3, 3)
    last[:2, :2] = grid[0, 6:, 6:, 0]
    assert torch.equal(windows[8, :, :, 0], last)
    assert torch.equal(join_windows(windows, 8), grid)


@pytest.mark.parametrize(("grid_size", "window"), [(8, 3), (6, 3), (4, 7)])
def test_windows_join_to_what_was_split(grid_size: int, window: int) -> None:
    grid = torch.randn(2, grid_size, grid_size, 5)
    assert torch.equal(join_windows(split_windows(grid, window), grid_size), grid)


def test_attention_adds_height_and_width_to_the_scores() -> None:
    """Against the definition, one pair of places at a time."""
    size, heads, width = 3, 2, 8
    attention = RelativeAttention(width, heads, size)
    nn.init.normal_(attention.relative_height)
    nn.init.normal_(attention.relative_width)
    x = torch.randn(1, size, size, width)
    places = [(row, column) for row in range(size) for column in range(size)]
    q, k, v = (
        attention.qkv(x.reshape(len(places), width)).reshape(-1, 3, heads, width // heads).unbind(1)
    )
    attended = torch.empty(len(places), heads, width // heads)
    for head in range(heads):
        for i, (row, column) in enumerate(places):
            scores = [
                q[i, head] @ k[j, head] / (width // heads) ** 0.5
                + q[i, head] @ attention.relative_height[row - other_row + size - 1]
                + q[i, head] @ attention.relative_width[column - other_column + size - 1]
                for j, (other_row, other_column) in enumerate(places)
            ]
            attended[i, head] = torch.stack(scores).softmax(0) @ v[:, head]
    expected = attention.out_proj(attended.reshape(1, size, size, width))
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def changed_places(block: Block, row: int, column: int) -> torch.Tensor:
    x = torch.randn(1, 8, 8, 16)
    moved = x.clone()
    moved[0, row, column] += torch.randn(16)  # the same for all channels would vanish in the norm
    with torch.no_grad():
        return (block(moved) - block(x)).abs().sum(-1)[0] > 1e-6


def test_a_windowed_block_stays_in_its_window(encoder: ImageEncoder) -> None:
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[3:6, 6:] = True
    block = encoder.blocks[0]
    assert isinstance(block, Block)
    assert torch.equal(changed_places(block, 4, 7), expected)


def test_a_global_block_sees_everything(encoder: ImageEncoder) -> None:
    block = encoder.blocks[1]
    assert isinstance(block, Block)
    assert changed_places(block, 4, 7).all()


def test_padding_of_a_window_takes_part_in_its_attention() -> None:
    """Official behaviour: zeros become keys made of the bias, and are not masked."""
    block = Block(CONFIG, 8, is_global=False).eval()
    x = torch.randn(1, 8, 8, 16)
    before = block(x)
    with torch.no_grad():
        block.attention.qkv.bias[32:] += (
            1.0  # values; were padding masked, all places would shift alike
        )
        shift = block.attention.out_proj.weight.sum(dim=1)
    moved = block.norm2.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    inputs: list[torch.Tensor] = []
    after = block(x)
    moved.remove()
    assert not torch.equal(before, after)
    with torch.no_grad():
        block.attention.qkv.bias[32:] -= 1.0
        unshifted = x + join_windows(block.attention(split_windows(block.norm1(x), 3)), 8)
    torch.testing.assert_close(inputs[0] - unshifted, shift.expand(1, 8, 8, 16), atol=1e-5, rtol=0)


def test_drop_path_grows_linearly_and_sleeps_in_evaluation() -> None:
    encoder = ImageEncoder(CONFIG, SIZE, 12, drop_path=0.6)
    rates = [block.drop_path for block in encoder.blocks if isinstance(block, Block)]
    assert rates == pytest.approx([0.0, 0.2, 0.4, 0.6])
    images = torch.randn(1, 3, SIZE, SIZE)
    encoder.eval()
    assert torch.equal(encoder(images), encoder(images))
    expected = encoder(images)
    encoder.set_drop_path(0.0)
    assert torch.equal(encoder.train()(images), expected)


def test_drop_path_skips_whole_samples_and_makes_up_for_it() -> None:
    block = Block(CONFIG, 8, is_global=True)
    nn.init.zeros_(block.mlp[2].weight)
    nn.init.zeros_(block.mlp[2].bias)  # leaves the attention branch alone
    x = torch.randn(1, 8, 8, 16).expand(400, -1, -1, -1)
    with torch.no_grad():
        branch = block.eval()(x[:1])[0] - x[0]
        block.drop_path = 0.75
        change = block.train()(x) - x
    kept = change.flatten(1).abs().amax(1) > 0
    assert 60 < int(kept.sum()) < 140
    torch.testing.assert_close(change[kept], (4.0 * branch).expand(int(kept.sum()), -1, -1, -1))


def test_checkpointing_changes_memory_and_nothing_else(encoder: ImageEncoder) -> None:
    images = torch.randn(1, 3, SIZE, SIZE)
    encoder.train()
    gradients = []
    for encoder.checkpointing in (False, True):
        encoder.zero_grad()
        encoder(images).square().mean().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(encoder.parameters()))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_the_exported_graph_agrees(encoder: ImageEncoder, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    images = torch.randn(1, 3, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own future
        torch.onnx.export(
            encoder,
            (images,),
            tmp_path / "encoder.onnx",
            input_names=["image"],
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    (features,) = session.run(None, {"image": images.numpy()})
    np.testing.assert_allclose(features, encoder(images).detach().numpy(), atol=1e-4, rtol=0)
