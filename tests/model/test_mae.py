from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from segloop.model.config import ViTConfig
from segloop.model.mae import (
    MaeConfig,
    MaskedAutoencoder,
    from_patches,
    mae_config,
    patch_targets,
    sin_cos_positions,
    to_patches,
)

SMALL = MaeConfig(ViTConfig(16, 2, 2, (), patch_size=4), 16, 16, 1, 2)


def test_patches_are_cut_in_row_order_and_pixel_by_pixel() -> None:
    image = torch.arange(3 * 4 * 6, dtype=torch.float32).reshape(1, 3, 4, 6)[..., :4]
    patches = to_patches(image, 2)
    assert patches.shape == (1, 4, 12)
    corner = [
        float(image[0, colour, y, x])
        for y, x in ((0, 2), (0, 3), (1, 2), (1, 3))
        for colour in range(3)
    ]
    assert patches[0, 1].tolist() == corner
    assert torch.equal(from_patches(patches, 2), image)


def test_targets_are_normalised_patch_by_patch() -> None:
    targets = patch_targets(torch.tensor([[[1.0, 3.0], [5.0, 5.0]]]))
    assert targets[0, 0].tolist() == pytest.approx([-1 / math.sqrt(2), 1 / math.sqrt(2)], abs=1e-5)
    assert targets[0, 1].tolist() == [0.0, 0.0]


def test_positions_are_sines_and_cosines_of_column_then_row() -> None:
    table = sin_cos_positions(8, 3)
    assert table.shape == (1, 10, 8)
    assert table[0, 0].eq(0).all()
    row, column = 1, 2
    expected = [
        *(math.sin(column), math.sin(column / 100), math.cos(column), math.cos(column / 100)),
        *(math.sin(row), math.sin(row / 100), math.cos(row), math.cos(row / 100)),
    ]
    assert table[0, 1 + 3 * row + column].tolist() == pytest.approx(expected, abs=1e-6)


def test_what_is_hidden_does_not_reach_the_prediction() -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(SMALL).eval()
    images, visible = torch.rand(1, 3, 16, 16), torch.tensor([[3, 9, 6, 0]])
    patches = to_patches(images, 4)
    changed = patches.clone()
    hidden = [number for number in range(16) if number not in (3, 9, 6, 0)]
    changed[0, hidden] = 7.0
    with torch.inference_mode():
        first, other = model(images, visible), model(from_patches(changed, 4), visible)
        assert first.shape == (1, 16, 48)
        torch.testing.assert_close(first, other)
        changed[0, 9] = 7.0
        assert not torch.allclose(first, model(from_patches(changed, 4), visible))


def test_the_order_of_visible_patches_does_not_matter() -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(SMALL).eval()
    images = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        one = model(images, torch.tensor([[3, 9, 6]]))
        other = model(images, torch.tensor([[9, 6, 3]]))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_sizes_follow_the_table_of_models() -> None:
    config = mae_config("vit_l")
    assert (config.encoder.width, config.encoder.depth, config.grid_size) == (1024, 24, 14)
    assert (config.decoder_width, config.decoder_depth, config.decoder_heads) == (512, 8, 16)
    assert mae_config("toy", 64).decoder_width == 32
    with pytest.raises(ValueError, match="compact has no ViT"):
        mae_config("compact")
    with pytest.raises(ValueError, match="patches of 4 do not tile"):
        MaskedAutoencoder(MaeConfig(SMALL.encoder, 18, 16, 1, 2))


def test_the_official_numbers_of_weights() -> None:
    """ViT-B, L and H with the decoder of the official code, positions included."""
    sizes = {name: mae_config(name) for name in ("vit_b", "vit_l", "vit_h")}
    # The official ViT-H has patches of 14 pixels.
    huge = sizes["vit_h"]
    sizes["vit_h"] = replace(huge, encoder=replace(huge.encoder, patch_size=14))
    counts = {}
    for name, config in sizes.items():
        with torch.device("meta"):
            model = MaskedAutoencoder(config)
        counts[name] = sum(value.numel() for value in model.state_dict().values())
    assert counts == {"vit_b": 111_907_840, "vit_l": 329_541_888, "vit_h": 657_074_508}
