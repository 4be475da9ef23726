"""Low-rank updates: nothing at the start, alone in learning, and gone once merged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from segloop.model.config import CompactConfig, DecoderConfig, ModelConfig, model_config
from segloop.model.sam import Sam
from segloop.train.config import OptimConfig
from segloop.train.lora import (
    LoraConfig,
    LowRank,
    add_lora,
    base_names,
    lora_layers,
    merge_lora,
)
from segloop.train.optim import build_optimizer
from segloop.weights.load import load_sam, save_sam

SMALL_COMPACT = ModelConfig(
    CompactConfig(variant=0, pyramid_width=16),
    DecoderConfig(2, 2, 64, 16, (8, 4), 32),
    input_size=64,
    width=32,
    fills_boxes=True,
    likeness_maps=True,
)
CONFIGS = {"vit": model_config("toy"), "compact": SMALL_COMPACT}


def build(kind: str) -> Sam:
    torch.manual_seed(0)
    return Sam(CONFIGS[kind]).eval()


def answer(model: Sam) -> tuple[Tensor, Tensor]:
    """Logits and predicted IoU for a click on each of two random images."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        features = model.encode(torch.randn(2, 3, 64, 64, generator=generator))
        coords = torch.tensor([[[20.0, 30.0], [0.0, 0.0]]] * 2)
        return model.decode(features, coords, torch.tensor([[1, -1]] * 2))


def merged(model: Sam) -> Sam:
    plain = Sam(model.config)
    plain.load_state_dict(merge_lora(model.state_dict()))
    return plain.eval()


def disturb(model: Sam) -> None:
    """As if the updates had been trained."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, LowRank):
            with torch.no_grad():
                module.up.copy_(0.1 * torch.randn(module.up.shape, generator=generator))


@pytest.fixture(params=CONFIGS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_updates_begin_as_nothing(kind: str) -> None:
    expected = answer(build(kind))
    found = answer(add_lora(build(kind)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_merged_model_answers_as_the_one_with_updates(kind: str) -> None:
    model = add_lora(build(kind), LoraConfig(rank=3, alpha=5.0))
    start = answer(model)
    disturb(model)
    expected = answer(model)
    assert (expected[0] - start[0]).abs().max() > 0.01
    torch.testing.assert_close(answer(merged(model)), expected, rtol=1e-5, atol=1e-5)


def test_an_update_is_the_product_of_two_thin_matrices() -> None:
    weight = torch.zeros(3, 2, 1, 1)
    update = LowRank(weight, LoraConfig(rank=1, alpha=4.0))
    with torch.no_grad():
        update.up.copy_(torch.tensor([[1.0], [2.0], [0.0]]))
        update.down.copy_(torch.tensor([[10.0, 1.0]]))
    expected = torch.tensor([[40.0, 4.0], [80.0, 8.0], [0.0, 0.0]])
    assert torch.equal(update(weight)[..., 0, 0], expected)


def test_a_rank_is_never_more_than_the_weight_has() -> None:
    update = LowRank(torch.zeros(5, 2, 1, 1), LoraConfig(rank=8, alpha=16.0))
    assert update.down.shape == (2, 2)
    assert update.up.shape == (5, 2)
    assert update.scale == 2.0


def test_projections_of_attention_and_pointwise_convolutions_get_updates() -> None:
    vit = lora_layers(build("vit"))
    assert "image_encoder.blocks.0.attention.qkv" in vit
    assert "mask_decoder.layers.1.token_to_image.k_proj" in vit
    assert "mask_decoder.final_attention.out_proj" in vit
    assert not any(name.startswith("prompt_encoder") for name in vit)
    compact = lora_layers(build("compact"))
    assert "image_encoder.trunk.stages.1.0.expand" in compact
    assert "image_encoder.lateral16" in compact
    assert "image_encoder.trunk.stages.1.0.filter" not in compact
    assert "mask_decoder.layers.0.self_attention.q_proj" in compact


def test_updates_can_be_kept_to_a_part(kind: str) -> None:
    names = add_lora(build(kind), LoraConfig(parts=("image_encoder.",))).state_dict()
    updated = {name for name in names if name.endswith(".0.down")}
    assert updated
    assert all(name.startswith("image_encoder.") for name in updated)


def test_only_updates_learn(kind: str) -> None:
    model = add_lora(build(kind))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optim = OptimConfig(learning_rate=0.1, warmup_steps=1, frozen=base_names(model))
    optimizer = build_optimizer(model, optim)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    model.train()
    logits, scores = model.decode(
        model.encode(torch.ones(1, 3, 64, 64)),
        torch.tensor([[[20.0, 30.0], [0.0, 0.0]]]),
        torch.tensor([[1, -1]]),
    )
    (logits.square().mean() + scores.square().mean()).backward()
    optimizer.step()
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed
    assert all(".parametrizations.weight.0." in name for name in changed)
    trained = sum(len(group["params"]) for group in optimizer.param_groups)
    assert trained == 2 * sum(isinstance(module, LowRank) for module in model.modules())


def test_a_state_without_updates_comes_back_as_it_is(kind: str) -> None:
    state = build(kind).state_dict()
    assert merge_lora(state) == state


def test_what_is_merged_is_a_model_like_any_other(kind: str, tmp_path: Path) -> None:
    model = add_lora(build(kind), LoraConfig(rank=2))
    disturb(model)
    save_sam(merged(model), tmp_path / "model.safetensors")
    loaded = load_sam(tmp_path / "model.safetensors")
    assert loaded.config == CONFIGS[kind]
    torch.testing.assert_close(answer(loaded), answer(model), rtol=1e-5, atol=1e-5)
