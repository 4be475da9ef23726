"""Fine-tuning: what learns, what is written, and how minutes become steps."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from segloop.data.annotated import AnnotatedSet, open_annotated
from segloop.errors import InputError, WeightsError
from segloop.model.config import model_config
from segloop.model.sam import Sam
from segloop.train.checkpoint import find_checkpoints
from segloop.train.finetune import (
    FineTuneConfig,
    adapt,
    finetune,
    part_of_the_way,
    steps_in,
    stream_of,
)
from segloop.train.metrics import METRICS_NAME
from segloop.train.recipes.finetune import finetune_recipe
from segloop.train.run import CONFIG_NAME
from segloop.train.throughput import count_sam_flops
from segloop.weights.load import load_sam

METHODS = ("lora", "decoder", "full")


@pytest.fixture
def start() -> Sam:
    torch.manual_seed(5)
    return Sam(model_config("toy")).eval()


@pytest.fixture
def dataset(shapes_tar: Path) -> AnnotatedSet:
    return open_annotated(shapes_tar)


def recipe(method: str, num_steps: int = 2) -> FineTuneConfig:
    config = finetune_recipe(method, model_config("toy"), start="toy", num_steps=num_steps)
    data = dataclasses.replace(config.data, num_workers=0)
    optim = dataclasses.replace(config.optim, warmup_steps=1)
    return dataclasses.replace(config, data=data, optim=optim, log_every=1)


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("method", METHODS)
def test_what_the_method_says_learns_and_an_ordinary_model_is_written(
    method: str, start: Sam, dataset: AnnotatedSet, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in start.state_dict().items()}
    tuned = load_sam(finetune(start, dataset, recipe(method), tmp_path / "run"))
    assert tuned.config == start.config
    assert not changed(before, start.state_dict()), "the start weights stay as they were"
    names = changed(before, tuned.state_dict())
    in_encoder = {name for name in names if name.startswith("image_encoder.")}
    assert any(name.startswith("mask_decoder.layers.") for name in names) == (method != "lora")
    if method == "decoder":
        assert not in_encoder
        assert "mask_decoder.iou_head.layers.0.weight" in names
    elif method == "lora":
        assert names == in_encoder
        assert {name.rpartition(".")[2] for name in names} == {"weight"}
        assert "image_encoder.blocks.0.attention.qkv.weight" in in_encoder
        assert "image_encoder.blocks.0.mlp.0.weight" not in in_encoder
    else:
        assert "image_encoder.patch_embedding.weight" in in_encoder
        assert "prompt_encoder.position_code.matrix" not in names


def test_a_model_part_of_the_way_lies_between_the_two(start: Sam) -> None:
    torch.manual_seed(6)
    end = Sam(start.config).state_dict()
    quarter = part_of_the_way(start, end, 0.25)
    assert not quarter.training
    for name, value in quarter.state_dict().items():
        expected = 0.75 * start.state_dict()[name] + 0.25 * end[name]
        torch.testing.assert_close(value, expected, msg=name)
    whole = part_of_the_way(start, end, 1.0).state_dict()
    torch.testing.assert_close(whole, end, rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_strength_can_be_changed_after_training(
    method: str, start: Sam, dataset: AnnotatedSet, tmp_path: Path
) -> None:
    states = {}
    for strength in (1.0, 0.0, 0.5):
        config = dataclasses.replace(recipe(method), strength=strength)
        states[strength] = load_sam(finetune(start, dataset, config, tmp_path)).state_dict()
    assert not changed(states[0.0], start.state_dict())
    names = changed(states[1.0], states[0.0])
    for name in names:
        middle = (states[1.0][name] + states[0.0][name]) / 2
        torch.testing.assert_close(states[0.5][name], middle, rtol=1e-4, atol=1e-6)


def test_the_loss_falls(start: Sam, dataset: AnnotatedSet, tmp_path: Path) -> None:
    config = recipe("full", 30)
    config = dataclasses.replace(
        config, optim=dataclasses.replace(config.optim, learning_rate=2e-3)
    )
    finetune(start, dataset, config, tmp_path / "run")
    lines = (tmp_path / "run" / METRICS_NAME).read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_stopped_run_goes_on_with_its_updates(
    start: Sam, dataset: AnnotatedSet, tmp_path: Path
) -> None:
    whole = finetune(start, dataset, recipe("lora", 4), tmp_path / "whole").read_bytes()
    config = dataclasses.replace(recipe("lora", 4), checkpoint_every=2)
    finetune(start, dataset, config, tmp_path / "parts")
    # As if it had been killed after the second step.
    (last,) = [one for one in find_checkpoints(tmp_path / "parts") if one.name.endswith("4")]
    last.rename(last.with_suffix(".partial"))
    assert finetune(start, dataset, config, tmp_path / "parts").read_bytes() == whole


def test_the_folder_of_another_method_is_refused(
    start: Sam, dataset: AnnotatedSet, tmp_path: Path
) -> None:
    finetune(start, dataset, recipe("full"), tmp_path)
    with pytest.raises(WeightsError, match=r"recipe 'finetune_full', this run has 'finetune_lora'"):
        finetune(start, dataset, recipe("lora"), tmp_path)


def test_the_folder_of_a_run_on_other_images_or_weights_is_refused(
    start: Sam, dataset: AnnotatedSet, tmp_path: Path
) -> None:
    finetune(start, dataset, recipe("full"), tmp_path)
    with pytest.raises(WeightsError, match="other images than this run's; choose another output"):
        finetune(start, dataset.subset([0]), recipe("full"), tmp_path)
    with pytest.raises(WeightsError, match="other start weights than this run's; choose another"):
        finetune(Sam(start.config), dataset, recipe("full"), tmp_path)


def test_items_are_prepared_for_the_model(start: Sam, dataset: AnnotatedSet) -> None:
    stream = stream_of(start, dataset, recipe("lora"))
    item = stream.item(0, stream.indices())
    assert item.image.shape == (3, 64, 64)
    assert item.truths.shape[1:] == (32, 32)
    assert stream.indices() == ((0, 1),), "nothing is held out here"


def test_minutes_become_steps_by_the_time_a_few_take(
    start: Sam, dataset: AnnotatedSet, tmp_path: Path
) -> None:
    ticks = itertools.count(100.0, 0.5)
    count = steps_in(
        2.0, start, dataset, recipe("lora"), tmp_path / "run", clock=lambda: next(ticks)
    )
    assert count == 240
    assert not (tmp_path / "run").exists()
    before = start.state_dict()
    assert not any("parametrizations" in name for name in before)


def test_a_run_that_goes_on_keeps_its_number_of_steps(
    start: Sam, dataset: AnnotatedSet, tmp_path: Path
) -> None:
    finetune(start, dataset, recipe("decoder", 3), tmp_path)
    assert steps_in(100.0, start, dataset, recipe("decoder"), tmp_path) == 3
    (tmp_path / CONFIG_NAME).write_text("{}")
    with pytest.raises(InputError, match="is damaged; choose another output folder"):
        steps_in(100.0, start, dataset, recipe("decoder"), tmp_path)


def test_no_time_is_no_training(start: Sam, dataset: AnnotatedSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="minutes to train must be more than 0, got 0"):
        steps_in(0.0, start, dataset, recipe("lora"), tmp_path)


def test_only_the_updates_are_left_to_learn(start: Sam) -> None:
    own, config = adapt(start, recipe("lora"))
    learning = {name for name, one in own.named_parameters() if one.requires_grad}
    assert learning
    assert not learning & set(config.optim.frozen)
    assert {name for name, _ in own.named_parameters()} == learning | set(config.optim.frozen)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_told_its_operations(
    method: str, start: Sam, dataset: AnnotatedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer where not all of the model learns."""
    given: dict[str, Callable[[Any], int]] = {}
    monkeypatch.setattr(
        "segloop.train.finetune.conduct_sam", lambda *_, **options: given.update(options)
    )
    finetune(start, dataset, recipe(method), tmp_path / "run")
    whole = count_sam_flops(start)
    operations = given["flops"](SimpleNamespace(num_images=2, count=6))
    all_learn = 2 * whole.encoder + 6 * 2 * whole.decoder
    assert (operations == all_learn) == (method == "full")
    if method == "decoder":
        # The encoder forward alone; rounds still go back through the image, to what embeds mask prompts.
        assert (
            2 * whole.encoder / 3.1 < operations - 6 * 2 * whole.decoder < 2 * whole.encoder / 2.5
        )
