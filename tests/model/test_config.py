from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from segloop.model.config import MODELS, CompactConfig, ViTConfig, model_config, with_text
from segloop.model.sam import Sam


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "encoder", "whole"),
    [
        ("vit_b", 89_670_912, 93_735_472),
        ("vit_l", 308_278_272, 312_342_832),
        ("vit_h", 637_026_048, 641_090_608),
    ],
)
def test_parameter_counts_of_the_paper(name: str, encoder: int, whole: int) -> None:
    with torch.device("meta"):
        model = Sam(MODELS[name])
    assert count(model.image_encoder) == encoder
    assert count(model.prompt_encoder) == 6_220
    assert model.prompt_encoder.position_code.matrix.numel() == 256
    assert count(model.mask_decoder) == 4_058_340
    assert count(model) == whole


@pytest.mark.parametrize(("name", "depth"), [("vit_b", 12), ("vit_l", 24), ("vit_h", 32)])
def test_global_blocks_are_four_and_equally_spaced(name: str, depth: int) -> None:
    encoder = MODELS[name].encoder
    assert isinstance(encoder, ViTConfig)
    assert encoder.depth == depth
    assert encoder.global_blocks == tuple(depth // 4 * (i + 1) - 1 for i in range(4))


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_published_sizes_have_a_grid_of_64_and_logits_of_256(name: str) -> None:
    config = MODELS[name]
    assert (config.input_size, config.grid_size, config.logit_size) == (1024, 64, 256)


@pytest.mark.parametrize("name", list(MODELS))
def test_every_row_divides_evenly(name: str) -> None:
    config = MODELS[name]
    assert config.input_size == config.grid_size * config.encoder.stride
    assert config.width % config.decoder.num_heads == 0
    assert config.decoder.attention_width % config.decoder.num_heads == 0
    if isinstance(config.encoder, ViTConfig):
        assert config.encoder.width % config.encoder.num_heads == 0
        assert max(config.encoder.global_blocks) < config.encoder.depth


def test_the_compact_embedding_fits_its_budget() -> None:
    config = MODELS["compact"]
    assert isinstance(config.encoder, CompactConfig)
    assert config.width * config.grid_size**2 <= 128 * 64 * 64
    widest = 5 + 3
    assert widest * config.decoder.num_heads <= config.width // 2, "a box or two points must fold"


def test_an_unknown_size_is_told_the_known_ones() -> None:
    assert model_config("toy") is MODELS["toy"]
    with pytest.raises(ValueError, match=r"no model size 'vit_x'; there are vit_h, vit_l, vit_b"):
        model_config("vit_x")


def test_text_adds_a_projection_and_nothing_else() -> None:
    plain = MODELS["toy"]
    config = with_text(plain, 24)
    assert replace(config, text_width=None) == plain
    assert count(Sam(config)) == count(Sam(plain)) + 24 * plain.width + plain.width
