from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from segloop.data.sa1b import SA1BDataset, open_all_sa1b
from segloop.errors import InputError, WeightsError
from segloop.model.config import model_config
from segloop.model.image_encoder import ImageEncoder
from segloop.model.sam import Sam
from segloop.train.checkpoint import MEAN_FILE, find_checkpoints
from segloop.train.config import TrainConfig
from segloop.train.loop import Progress
from segloop.train.metrics import METRICS_NAME
from segloop.train.run import (
    CONFIG_NAME,
    MODEL_NAME,
    build_model,
    build_stream,
    run_recipe,
    share_batch,
    with_weights,
)
from segloop.weights.load import load_sam, save_sam


def short(config: TrainConfig, num_steps: int = 2) -> TrainConfig:
    return dataclasses.replace(config, num_steps=num_steps, checkpoint_every=2)


def test_from_a_tar_to_a_model_file(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    seen: list[Progress] = []
    path = run_recipe(short(small_config), [shapes_tar], tmp_path / "run", report=seen.append)
    assert path == tmp_path / "run" / MODEL_NAME
    model = load_sam(path)
    assert model.config.input_size == 64
    # The running mean, as the recipe asks.
    delivered = load_file(find_checkpoints(tmp_path / "run")[-1] / MEAN_FILE)
    torch.testing.assert_close(dict(model.state_dict()), delivered, rtol=0, atol=0)
    assert [one.step for one in seen] == [1, 2]
    assert seen[-1].seconds_left == 0
    stored = json.loads((tmp_path / "run" / CONFIG_NAME).read_text())
    assert stored["optim"]["learning_rate"] == small_config.optim.learning_rate


def test_a_finished_run_stays_as_it_is(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    first = run_recipe(short(small_config), [shapes_tar], tmp_path / "run").read_bytes()
    again = run_recipe(short(small_config), [shapes_tar], tmp_path / "run").read_bytes()
    assert first == again


def test_the_folder_of_another_run_is_left_alone(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    run_recipe(short(small_config), [shapes_tar], tmp_path / "run")
    before = (tmp_path / "run" / CONFIG_NAME).read_text()
    other = dataclasses.replace(short(small_config), seed=5)
    with pytest.raises(WeightsError, match="choose another output folder"):
        run_recipe(other, [shapes_tar], tmp_path / "run")
    assert (tmp_path / "run" / CONFIG_NAME).read_text() == before


def test_the_folder_of_a_run_on_other_images_or_weights_is_left_alone(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    config, folder = short(small_config), tmp_path / "run"
    run_recipe(config, [shapes_tar], folder)
    again = shapes_tar.rename(tmp_path / "moved.tar")
    with pytest.raises(WeightsError, match="other images than this run's; choose another output"):
        run_recipe(config, [again], folder)
    again.rename(shapes_tar)
    save_sam(Sam(model_config("toy")), tmp_path / "start.safetensors")
    with pytest.raises(WeightsError, match="other start weights than this run's; choose another"):
        run_recipe(config, [shapes_tar], folder, start=tmp_path / "start.safetensors")
    weights = dataclasses.replace(config.data, weights={"shapes": 2.0})
    with pytest.raises(WeightsError, match=r"with weights \{\}, this run has \{'shapes': 2.0\}"):
        run_recipe(dataclasses.replace(config, data=weights), [shapes_tar], folder)
    run_recipe(config, [shapes_tar], folder)


def test_a_place_that_cannot_be_written_is_one_line(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write in"):
        run_recipe(short(small_config), [shapes_tar], tmp_path / "file" / "run")


def test_the_seed_decides_the_first_weights(small_config: TrainConfig) -> None:
    first, again = build_model(small_config, None), build_model(small_config, None)
    torch.testing.assert_close(first.state_dict(), again.state_dict(), rtol=0, atol=0)
    other = build_model(dataclasses.replace(small_config, seed=1), None)
    token = "mask_decoder.iou_token.weight"
    assert not torch.equal(first.state_dict()[token], other.state_dict()[token])


def test_a_vit_is_built_for_the_recipes_input_size(small_config: TrainConfig) -> None:
    model = build_model(dataclasses.replace(small_config, input_size=96), None)
    assert model.encode(torch.zeros(1, 3, 96, 96)).shape == (1, 32, 12, 12)


def test_training_starts_from_given_weights(tmp_path: Path, small_config: TrainConfig) -> None:
    torch.manual_seed(3)
    start = Sam(model_config("toy"))
    save_sam(start, tmp_path / "start.safetensors")
    model = build_model(small_config, tmp_path / "start.safetensors")
    torch.testing.assert_close(model.state_dict(), start.state_dict(), rtol=0, atol=0)
    grown = build_model(
        dataclasses.replace(small_config, input_size=96), tmp_path / "start.safetensors"
    )
    assert grown.config.input_size == 96
    assert grown.encode(torch.zeros(1, 3, 96, 96)).shape == (1, 32, 12, 12)


def test_weights_of_another_model_are_refused(tmp_path: Path, small_config: TrainConfig) -> None:
    save_sam(Sam(model_config("tiny")), tmp_path / "tiny.safetensors")
    with pytest.raises(InputError, match="is not a toy model; the recipe test trains one"):
        build_model(small_config, tmp_path / "tiny.safetensors")


def test_the_mixture_goes_by_the_names_of_the_datasets(
    shapes: SA1BDataset, small_config: TrainConfig
) -> None:
    data = dataclasses.replace(small_config.data, weights={"shapes": 0.25, "absent": 3.0})
    other = SA1BDataset("unnamed", shapes._entries)
    stream = build_stream(dataclasses.replace(small_config, data=data), (shapes, other))
    assert stream.weights == (0.25, 1.0)
    assert (stream.input_size, stream.logit_size) == (64, 32)
    assert stream.part == "train"
    assert stream.seed == small_config.seed


def test_a_mixture_may_weigh_images_and_go_by_patterns(
    shapes: SA1BDataset, small_config: TrainConfig
) -> None:
    weights = {"manual_1": 3.0, "manual*": 10.0}
    data = dataclasses.replace(small_config.data, weights=weights, weighs_images=True)
    sets = tuple(SA1BDataset(name, shapes._entries) for name in ("manual_7", "sa_7", "manual_1"))
    stream = build_stream(dataclasses.replace(small_config, data=data), sets)
    assert stream.weights == (10.0 * len(shapes), len(shapes), 3.0 * len(shapes))


def test_a_mixture_goes_by_the_folders_that_sets_lie_in(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    data = dataclasses.replace(small_config.data, weights={"manual*": 10.0})
    for folder in ("manual", "automatic"):
        (tmp_path / folder).mkdir()
        shutil.copy(shapes_tar, tmp_path / folder / "sa_0.tar")
    sets = open_all_sa1b([tmp_path / "manual", tmp_path / "automatic" / "sa_0.tar"])
    stream = build_stream(dataclasses.replace(small_config, data=data), sets)
    assert stream.weights == (10.0, 1.0)
    assert sets[0].subset([1]).parent == "manual"


def test_an_input_size_must_fit_the_grid(shapes: SA1BDataset, small_config: TrainConfig) -> None:
    with pytest.raises(InputError, match="multiple of 32, got 100"):
        build_stream(dataclasses.replace(small_config, input_size=100), (shapes,))


def test_a_model_for_validation_is_apart_from_the_one_in_training() -> None:
    model = Sam(model_config("toy"))
    before = torch.get_rng_state()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    twin = with_weights(model, weights)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(twin.state_dict(), model.state_dict(), rtol=0, atol=0)
    with torch.no_grad():
        twin.mask_decoder.iou_token.weight.zero_()
    assert model.mask_decoder.iou_token.weight.any()
    assert not twin.training
    assert model.training


def test_what_holds_in_training_alone_is_set_on_the_model(small_config: TrainConfig) -> None:
    config = dataclasses.replace(small_config, drop_path=0.3, dropout=0.1, recompute=True)
    model = build_model(config, None)
    assert isinstance(model.image_encoder, ImageEncoder)
    assert [block.drop_path for block in model.image_encoder.blocks] == [0.0, 0.3]
    assert model.image_encoder.checkpointing
    assert [layer.dropout.p for layer in model.mask_decoder.layers] == [0.1, 0.1]


def test_recomputed_activations_change_no_number(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    lines = {}
    for recompute in (False, True):
        config = dataclasses.replace(short(small_config, 4), recompute=recompute, drop_path=0.0)
        folder = tmp_path / str(recompute)
        run_recipe(config, [shapes_tar], folder)
        lines[recompute] = [
            json.loads(line)["loss"] for line in (folder / METRICS_NAME).read_text().splitlines()
        ]
    assert lines[True] == pytest.approx(lines[False], rel=1e-5)


def test_an_update_of_so_many_images_is_shared(small_config: TrainConfig) -> None:
    config = dataclasses.replace(small_config, global_batch=24)
    assert share_batch(config, 1).accumulate == 12
    assert share_batch(config, 4).accumulate == 3
    assert share_batch(small_config, 4) == small_config
    with pytest.raises(
        InputError, match="24 images an update cannot be shared by 5 processes of 2"
    ):
        share_batch(config, 5)
