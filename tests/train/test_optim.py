from __future__ import annotations

import pytest
import torch
from torch import nn

from segloop.model.config import model_config
from segloop.model.sam import Sam
from segloop.train.config import OptimConfig
from segloop.train.optim import (
    build_optimizer,
    freeze,
    layers_below_top,
    learning_rate,
    set_learning_rate,
    update_mean,
)


@pytest.fixture(scope="module")
def toy() -> Sam:
    return Sam(model_config("toy"))


@pytest.fixture(scope="module")
def compact() -> Sam:
    with torch.device("meta"):
        return Sam(model_config("compact"))


def groups_by_name(model: Sam, config: OptimConfig) -> dict[str, tuple[float, float]]:
    """Weight decay and scale of every trained parameter."""
    optimizer = build_optimizer(model, config)
    of_parameter = {
        id(parameter): (group["weight_decay"], group["scale"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    return {
        name: of_parameter[id(parameter)]
        for name, parameter in model.named_parameters()
        if id(parameter) in of_parameter
    }


def test_every_parameter_is_trained_once(toy: Sam) -> None:
    optimizer = build_optimizer(toy, OptimConfig())
    listed = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(listed) == len(list(toy.parameters()))
    assert {id(p) for p in listed} == {id(p) for p in toy.parameters()}
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_biases_norms_and_position_tables_are_not_decayed(toy: Sam) -> None:
    decays = {name: decay for name, (decay, _) in groups_by_name(toy, OptimConfig()).items()}
    assert decays["image_encoder.position_table"] == 0.0
    assert decays["image_encoder.blocks.0.norm1.weight"] == 0.0
    assert decays["image_encoder.blocks.0.attention.qkv.bias"] == 0.0
    assert decays["mask_decoder.upscale_norm.weight"] == 0.0
    assert decays["image_encoder.blocks.0.attention.qkv.weight"] == 0.1
    assert decays["image_encoder.patch_embedding.weight"] == 0.1
    assert decays["mask_decoder.mask_tokens.weight"] == 0.1
    for name, parameter in toy.named_parameters():
        if parameter.ndim < 2:
            assert decays[name] == 0.0


def test_rates_fall_layer_by_layer_in_a_vit(toy: Sam) -> None:
    """Two blocks: the top one counts 1, the embeddings below block 0 count 3; the neck and the decoder learn in full."""
    scales = {name: scale for name, (_, scale) in groups_by_name(toy, OptimConfig()).items()}
    assert scales["image_encoder.patch_embedding.weight"] == pytest.approx(0.8**3)
    assert scales["image_encoder.position_table"] == pytest.approx(0.8**3)
    assert scales["image_encoder.blocks.0.mlp.0.weight"] == pytest.approx(0.8**2)
    assert scales["image_encoder.blocks.1.mlp.0.weight"] == pytest.approx(0.8)
    assert scales["image_encoder.neck.0.weight"] == 1.0
    assert scales["prompt_encoder.padding_vector.weight"] == 1.0
    assert scales["mask_decoder.iou_token.weight"] == 1.0


def test_the_twelfth_block_is_not_the_second() -> None:
    with torch.device("meta"):
        model = Sam(model_config("vit_b"))
    assert layers_below_top("image_encoder.blocks.1.norm1.weight", model) == 11
    assert layers_below_top("image_encoder.blocks.11.norm1.weight", model) == 1
    assert layers_below_top("image_encoder.patch_embedding.bias", model) == 13


def test_rates_fall_stage_by_stage_in_the_compact_encoder(compact: Sam) -> None:
    assert layers_below_top("image_encoder.trunk.stem.weight", compact) == 8
    assert layers_below_top("image_encoder.trunk.stages.0.0.filter.weight", compact) == 7
    assert layers_below_top("image_encoder.trunk.stages.6.0.filter.weight", compact) == 1
    assert layers_below_top("image_encoder.lateral8.weight", compact) == 0
    assert layers_below_top("mask_decoder.iou_token.weight", compact) == 0


def test_frozen_parameters_are_left_out_and_thawed_again() -> None:
    model = Sam(model_config("toy"))
    frozen = OptimConfig(frozen=("image_encoder.blocks.0", "prompt_encoder"))
    names = set(groups_by_name(model, frozen))
    left_out = {name for name, _ in model.named_parameters()} - names
    assert left_out == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("image_encoder.blocks.0", "prompt_encoder"))
    }
    assert not any(p.requires_grad for n, p in model.named_parameters() if n in left_out)
    build_optimizer(model, OptimConfig())
    assert all(p.requires_grad for p in model.parameters())


def test_the_schedule_of_the_paper() -> None:
    config = OptimConfig()
    assert learning_rate(0, config, 90_000) == pytest.approx(8e-4 / 250)
    assert learning_rate(124, config, 90_000) == pytest.approx(4e-4)
    assert learning_rate(249, config, 90_000) == pytest.approx(8e-4)
    assert learning_rate(59_999, config, 90_000) == pytest.approx(8e-4)
    assert learning_rate(60_000, config, 90_000) == pytest.approx(8e-5)
    assert learning_rate(86_665, config, 90_000) == pytest.approx(8e-5)
    assert learning_rate(86_666, config, 90_000) == pytest.approx(8e-6)
    assert learning_rate(0, OptimConfig(warmup_steps=0), 90_000) == pytest.approx(8e-4)


def test_a_cosine_falls_to_nothing_over_the_run() -> None:
    config = OptimConfig(learning_rate=1.0, warmup_steps=10, schedule="cosine")
    assert learning_rate(4, config, 110) == pytest.approx(0.5)
    assert learning_rate(10, config, 110) == pytest.approx(1.0)
    assert learning_rate(35, config, 110) == pytest.approx(0.853553, abs=1e-6)
    assert learning_rate(60, config, 110) == pytest.approx(0.5)
    assert learning_rate(110, config, 110) == pytest.approx(0.0)


def test_each_group_gets_its_share_of_the_rate(toy: Sam) -> None:
    optimizer = build_optimizer(toy, OptimConfig())
    set_learning_rate(optimizer, 0.5)
    rates = {round(group["lr"], 6) for group in optimizer.param_groups}
    assert rates == {0.5, 0.4, 0.32, 0.256}


def test_the_running_mean_forgets_the_start_and_then_moves_slowly() -> None:
    model = nn.BatchNorm1d(
        1, affine=False
    )  # one float buffer that moves and one integer that is copied
    model.running_mean = torch.tensor([1.0])
    assert model.num_batches_tracked is not None
    model.num_batches_tracked.fill_(7)
    mean = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}

    update_mean(mean, model, 0.999, step=0)  # keeps a tenth
    assert mean["running_mean"].item() == pytest.approx(0.9)
    assert mean["num_batches_tracked"].item() == 7
    model.running_mean = torch.tensor([2.0])
    update_mean(mean, model, 0.999, step=10**6)
    assert mean["running_mean"].item() == pytest.approx(0.9 + 0.001 * 1.1)


def test_what_is_frozen_can_be_thawed(toy: Sam) -> None:
    freeze(toy, OptimConfig(frozen=("image_encoder",)))
    assert {
        name.split(".")[0] for name, one in toy.named_parameters() if not one.requires_grad
    } == {"image_encoder"}
    freeze(toy, OptimConfig())
    assert all(one.requires_grad for one in toy.parameters())
