from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segloop.data.augment import Augmentation
from segloop.data.sa1b import SA1BDataset, open_sa1b
from segloop.errors import InputError
from segloop.model.config import model_config
from segloop.model.image_encoder import ImageEncoder
from segloop.model.sam import Sam
from segloop.train.checkpoint import CHECKPOINT_NAME
from segloop.train.config import DataConfig, InteractionConfig, OptimConfig, TrainConfig
from segloop.train.loop import Progress, batches, train, with_weights
from segloop.train.metrics import METRICS_NAME
from segloop.train.run import build_model, build_stream
from segloop.train.sam_step import Batch, StepOutput, sam_step


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """The lines of a run without what hangs on the clock."""
    lines = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name != "images_per_second"}
        for line in lines
    ]


def toy_with_random_layers(config: TrainConfig) -> Sam:
    """Blocks are skipped at random, so that a resumed run must go on with the same random numbers."""
    model = build_model(config, None)
    assert isinstance(model.image_encoder, ImageEncoder)
    model.image_encoder.set_drop_path(0.5)
    return model


def probe(model: Sam) -> dict[str, float]:
    """A validation that shows which weights it was given, and that spoils what it may spoil."""
    assert not model.training
    torch.rand(3)
    return {"probe": model.mask_decoder.iou_token.weight.sum().item()}


def run(
    config: TrainConfig, dataset: SA1BDataset, folder: Path, **options: object
) -> dict[str, Tensor]:
    step = partial(sam_step, config=config.interaction)
    stream = build_stream(config, (dataset,))
    model = toy_with_random_layers(config)
    return train(model, step, stream, config, folder, **options)  # type: ignore[arg-type]


class InterruptionError(Exception):
    pass


def stop_at(step: int) -> object:
    def report(progress: Progress) -> None:
        if progress.step == step:
            raise InterruptionError

    return report


def assert_equal_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


# --- exact resume ---


@pytest.mark.parametrize("stop", [1, 3, 5, 7])
def test_a_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig, stop: int
) -> None:
    whole = run(small_config, shapes, tmp_path / "whole")
    with pytest.raises(InterruptionError):
        run(small_config, shapes, tmp_path / "broken", report=stop_at(stop))
    torch.rand(5)  # whatever else happened in the process
    resumed = run(small_config, shapes, tmp_path / "broken")
    assert metrics_of(tmp_path / "broken") == metrics_of(tmp_path / "whole")
    assert [line["step"] for line in metrics_of(tmp_path / "whole")] == list(range(1, 9))
    assert_equal_weights(whole, resumed)


def test_resuming_needs_the_state_of_the_optimizer(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    """Were it not restored, a run would go on differently: what the test above rests on."""
    run(small_config, shapes, tmp_path / "whole")
    with pytest.raises(InterruptionError):
        run(small_config, shapes, tmp_path / "broken", report=stop_at(5))
    path = tmp_path / "broken" / CHECKPOINT_NAME
    record = torch.load(path, weights_only=True)
    assert record["optimizer"]["state"]
    record["optimizer"]["state"] = {}
    torch.save(record, path)
    run(small_config, shapes, tmp_path / "broken")
    assert metrics_of(tmp_path / "broken")[-1] != metrics_of(tmp_path / "whole")[-1]


def test_validation_does_not_disturb_the_run(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    """Not its random layers, not its mode; and a run killed around a validation reports it once."""
    config = dataclasses.replace(small_config, checkpoint_every=4, validate_every=4)
    plain = run(config, shapes, tmp_path / "plain")

    def quiet(model: Sam) -> dict[str, float]:
        return {"probe": model.mask_decoder.iou_token.weight.sum().item()}

    watched = run(config, shapes, tmp_path / "watched", validate=quiet)
    assert_equal_weights(plain, watched)
    with pytest.raises(InterruptionError):
        run(config, shapes, tmp_path / "broken", validate=quiet, report=stop_at(5))
    run(config, shapes, tmp_path / "broken", validate=quiet)
    assert metrics_of(tmp_path / "broken") == metrics_of(tmp_path / "watched")
    probes = [line["step"] for line in metrics_of(tmp_path / "broken") if "probe" in line]
    assert probes == [4, 8]


CHILD = """
import pickle, sys, time
from functools import partial
from pathlib import Path
import torch
torch.set_num_threads(1)
from segloop.data.sa1b import open_sa1b
from segloop.train.loop import train
from segloop.train.run import build_model, build_stream
from segloop.train.sam_step import sam_step

config = pickle.loads(Path(sys.argv[1]).read_bytes())
model = build_model(config, None)
model.image_encoder.set_drop_path(0.5)
stream = build_stream(config, (open_sa1b(sys.argv[2]),))

def report(progress):
    print(progress.step, flush=True)
    if progress.step == 5:
        time.sleep(600)

train(model, partial(sam_step, config=config.interaction), stream, config, Path(sys.argv[3]), report=report)
"""


def test_a_killed_run_goes_on_bit_for_bit(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    config_file = tmp_path / "config.pickle"
    config_file.write_bytes(pickle.dumps(small_config))
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", textwrap.dedent(CHILD), config_file, shapes_tar, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        seen = [next(child.stdout).strip() for _ in range(5)]
        os.kill(child.pid, signal.SIGKILL)
    assert seen == ["1", "2", "3", "4", "5"]
    assert child.returncode == -signal.SIGKILL

    dataset = open_sa1b(shapes_tar)
    resumed = run(small_config, dataset, folder)
    whole = run(small_config, dataset, tmp_path / "whole")
    assert metrics_of(folder) == metrics_of(tmp_path / "whole")
    assert_equal_weights(whole, resumed)


# --- what a run sees and delivers ---


def test_batches_are_the_same_from_any_worker_and_from_any_start(
    shapes: SA1BDataset, small_config: TrainConfig
) -> None:
    data = dataclasses.replace(
        small_config.data, augmentation=Augmentation(zoom=0.5, flip=0.5, color=0.5)
    )
    config = dataclasses.replace(small_config, data=data, num_steps=6)
    stream = build_stream(config, (shapes,))
    alone = list(batches(stream, config, 0))
    assert len(alone) == 6
    workers = dataclasses.replace(config, data=dataclasses.replace(data, num_workers=2))
    shared = list(batches(stream, workers, 2))
    assert len(shared) == 4
    for one, other in zip(alone[2:], shared, strict=True):
        assert torch.equal(one.images, other.images)
        np.testing.assert_array_equal(one.truths, other.truths)
        np.testing.assert_array_equal(one.seeds, other.seeds)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_is_wrong_with_the_data_is_one_line(
    shapes_tar: Path, small_config: TrainConfig, num_workers: int
) -> None:
    content = shapes_tar.read_bytes()
    shapes_tar.write_bytes(content.replace(b"\x89PNG", b"junk"))
    data = dataclasses.replace(small_config.data, num_workers=num_workers)
    config = dataclasses.replace(small_config, data=data)
    with pytest.raises(InputError, match="shapes/shape_") as caught:
        list(batches(build_stream(config, (open_sa1b(shapes_tar),)), config, 0))
    assert "\n" not in str(caught.value)


def test_the_running_mean_is_delivered_and_validated(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    delivered = run(small_config, shapes, tmp_path / "mean", validate=probe)
    record = torch.load(tmp_path / "mean" / CHECKPOINT_NAME, weights_only=True)
    assert_equal_weights(delivered, record["mean"])
    token = "mask_decoder.iou_token.weight"
    assert not torch.equal(delivered[token], record["model"][token])
    assert metrics_of(tmp_path / "mean")[-1]["probe"] == pytest.approx(
        delivered[token].sum().item()
    )


def test_without_a_mean_the_weights_themselves_are(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    config = dataclasses.replace(
        small_config, optim=dataclasses.replace(small_config.optim, ema=0.0)
    )
    delivered = run(config, shapes, tmp_path / "plain", validate=probe)
    record = torch.load(tmp_path / "plain" / CHECKPOINT_NAME, weights_only=True)
    assert_equal_weights(delivered, record["model"])
    token = "mask_decoder.iou_token.weight"
    assert metrics_of(tmp_path / "plain")[-1]["probe"] == pytest.approx(
        delivered[token].sum().item()
    )


def test_a_copy_for_validation_is_apart_from_the_model() -> None:
    model = Sam(model_config("toy"))
    before = torch.get_rng_state()
    twin = with_weights(model, model.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    assert_equal_weights(dict(twin.state_dict()), dict(model.state_dict()))
    with torch.no_grad():
        twin.mask_decoder.iou_token.weight.zero_()
    assert model.mask_decoder.iou_token.weight.any()
    assert not twin.training
    assert model.training


def test_frozen_parts_do_not_move(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    optim = dataclasses.replace(small_config.optim, ema=0.0, frozen=("image_encoder",))
    config = dataclasses.replace(small_config, optim=optim, num_steps=2)
    before = build_model(config, None).state_dict()
    after = run(config, shapes, tmp_path)
    for name, value in after.items():
        if name.startswith("image_encoder"):
            assert torch.equal(value, before[name])
    token = "mask_decoder.mask_tokens.weight"
    assert not torch.equal(after[token], before[token])


def test_progress_is_told_at_every_logged_step(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    seen: list[Progress] = []
    config = dataclasses.replace(small_config, num_steps=5, log_every=2)
    run(config, shapes, tmp_path, report=seen.append)
    assert [(one.step, one.num_steps) for one in seen] == [(2, 5), (4, 5), (5, 5)]
    lines = metrics_of(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 5]
    assert [one.loss for one in seen] == [line["loss"] for line in lines]


# --- when it goes wrong ---


@pytest.mark.parametrize(("where", "name"), [("loss", "loss"), ("gradient", "gradient")])
def test_numbers_that_are_not_finite_stop_the_run_before_they_reach_the_weights(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig, where: str, name: str
) -> None:
    calls = 0

    def step(model: Sam, batch: Batch) -> StepOutput:
        nonlocal calls
        calls += 1
        output = sam_step(model, batch, small_config.interaction)
        if calls < 5:
            return output
        if where == "loss":
            return dataclasses.replace(output, loss=output.loss * float("nan"))
        token = model.mask_decoder.iou_token.weight
        return dataclasses.replace(output, loss=output.loss + (token - token).sum().sqrt())

    model = build_model(small_config, None)
    stream = build_stream(small_config, (shapes,))
    with pytest.raises(InputError, match=f"the {name} is not finite at step 4; lower") as caught:
        train(model, step, stream, small_config, tmp_path)
    assert "\n" not in str(caught.value)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert torch.load(tmp_path / CHECKPOINT_NAME, weights_only=True)["step"] == 3


# --- it learns ---


def test_the_toy_model_learns_two_images_by_heart(shapes: SA1BDataset, tmp_path: Path) -> None:
    config = TrainConfig(
        recipe="test",
        model="toy",
        input_size=64,
        num_steps=250,
        data=DataConfig(batch_size=2, max_masks=4, repeats=2, num_workers=0),
        interaction=InteractionConfig(num_clicks=1, num_mask_only=0, first_box=0.3),
        optim=OptimConfig(
            learning_rate=3e-3,
            warmup_steps=20,
            layer_decay=1.0,
            weight_decay=0.0,
            milestones=(200,),
            clip_norm=1.0,
        ),
        log_every=10,
        checkpoint_every=1000,
    )
    step = partial(sam_step, config=config.interaction)
    stream = build_stream(config, (shapes,))
    train(build_model(config, None), step, stream, config, tmp_path)
    lines = metrics_of(tmp_path)
    last = [line for line in lines if line["step"] > 200]
    assert np.mean([line["iou/point"] for line in last if "iou/point" in line]) > 0.8
    assert np.mean([line["loss"] for line in last]) < 0.5 * lines[0]["loss"]
