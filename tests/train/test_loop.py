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
from safetensors.torch import load_file
from torch import Tensor, nn

from segloop.data.sa1b import SA1BDataset, open_sa1b
from segloop.errors import InputError
from segloop.model.sam import Sam
from segloop.train.checkpoint import MEAN_FILE, MODEL_FILE, STATE_FILE, find_checkpoints
from segloop.train.config import DataConfig, InteractionConfig, OptimConfig, TrainConfig
from segloop.train.failed_batch import load_failed_batch
from segloop.train.loop import BEST_NAME, Progress, Weights, train
from segloop.train.metrics import METRICS_NAME
from segloop.train.run import build_model, build_stream
from segloop.train.sam_step import Batch, sam_items, sam_step
from segloop.train.step import StepOutput


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """The lines of a run without what hangs on the clock."""
    lines = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCKED} for line in lines]


CLOCKED = ("images_per_second", "data_wait")
TOKEN = "mask_decoder.iou_token.weight"


def probe(weights: Weights, done: int) -> dict[str, float]:
    """A validation that shows which weights it was given, and when."""
    return {"probe": weights[TOKEN].sum().item(), "probed": float(done)}


def stored(folder: Path, name: str) -> dict[str, Tensor]:
    """What the newest checkpoint of a run holds."""
    path = find_checkpoints(folder)[-1] / name
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


def run(
    config: TrainConfig, dataset: SA1BDataset, folder: Path, **options: object
) -> dict[str, Tensor]:
    step = partial(sam_step, config=config.interaction, seed=config.seed)
    items = sam_items(build_stream(config, (dataset,)))
    return train(build_model(config, None), step, items, config, folder, **options)  # type: ignore[arg-type]


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
    path = find_checkpoints(tmp_path / "broken")[-1] / STATE_FILE
    record = torch.load(path, weights_only=True)
    assert record["optimizer"]["state"]
    record["optimizer"]["state"] = {}
    torch.save(record, path)
    run(small_config, shapes, tmp_path / "broken")
    assert metrics_of(tmp_path / "broken")[-1] != metrics_of(tmp_path / "whole")[-1]


def test_validation_does_not_disturb_the_run(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    """Not even one that draws random numbers; and a run killed around a validation reports it once."""
    config = dataclasses.replace(small_config, checkpoint_every=4, validate_every=4)
    plain = run(config, shapes, tmp_path / "plain")

    def quiet(weights: Weights, done: int) -> dict[str, float]:
        torch.rand(3)
        return probe(weights, done)

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
from segloop.train.failed_batch import load_failed_batch
from segloop.train.loop import train
from segloop.train.run import build_model, build_stream
from segloop.train.sam_step import sam_items, sam_step

config = pickle.loads(Path(sys.argv[1]).read_bytes())
model = build_model(config, None)
items = sam_items(build_stream(config, (open_sa1b(sys.argv[2]),)))

stop = int(sys.argv[4])

def report(progress):
    print(progress.step, flush=True)
    if progress.step == stop:
        time.sleep(600)

step = partial(sam_step, config=config.interaction, seed=config.seed)
train(model, step, items, config, Path(sys.argv[3]), report=report)
"""


def test_a_run_killed_twice_goes_on_bit_for_bit(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig
) -> None:
    """While a worker reads ahead; twenty losses and more come after the last kill."""
    data = dataclasses.replace(small_config.data, num_workers=1)
    config = dataclasses.replace(small_config, num_steps=28, data=data)
    config_file, folder = tmp_path / "config.pickle", tmp_path / "killed"
    config_file.write_bytes(pickle.dumps(config))
    command = [sys.executable, "-c", textwrap.dedent(CHILD), config_file, shapes_tar, folder]
    # Two steps past a checkpoint, and right before one.
    for first, stop in ((1, 5), (4, 8)):
        with subprocess.Popen([*command, str(stop)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            seen = [int(next(child.stdout)) for _ in range(first, stop + 1)]
            os.kill(child.pid, signal.SIGKILL)
        assert seen == list(range(first, stop + 1)), "it goes on from its last checkpoint"
        assert child.returncode == -signal.SIGKILL

    dataset = open_sa1b(shapes_tar)
    resumed = run(config, dataset, folder)
    whole = run(config, dataset, tmp_path / "whole")
    losses = [[line["loss"] for line in metrics_of(one)] for one in (folder, tmp_path / "whole")]
    assert losses[0][8:] == losses[1][8:]
    assert len(losses[0][8:]) == 20
    assert metrics_of(folder) == metrics_of(tmp_path / "whole")
    assert_equal_weights(whole, resumed)


# --- what a run sees and delivers ---


def test_the_running_mean_is_delivered_and_validated(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    delivered = run(small_config, shapes, tmp_path / "mean", validate=probe)
    assert_equal_weights(delivered, stored(tmp_path / "mean", MEAN_FILE))
    assert not torch.equal(delivered[TOKEN], stored(tmp_path / "mean", MODEL_FILE)[TOKEN])
    probes = [line for line in metrics_of(tmp_path / "mean") if "probe" in line]
    assert [line["probed"] for line in probes] == [4, 8]
    assert probes[-1]["probe"] == pytest.approx(delivered[TOKEN].sum().item())


def test_without_a_mean_the_weights_themselves_are(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    config = dataclasses.replace(
        small_config, optim=dataclasses.replace(small_config.optim, ema=0.0)
    )
    delivered = run(config, shapes, tmp_path / "plain", validate=probe)
    assert_equal_weights(delivered, stored(tmp_path / "plain", MODEL_FILE))
    assert not list(tmp_path.rglob(MEAN_FILE)), "nothing is kept of what nobody asked for"
    assert metrics_of(tmp_path / "plain")[-1]["probe"] == pytest.approx(
        delivered[TOKEN].sum().item()
    )


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.9), (0.9, 0.0)])
def test_a_run_may_begin_or_give_up_its_running_mean(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig, before: float, after: float
) -> None:
    first, second = (
        dataclasses.replace(small_config, optim=dataclasses.replace(small_config.optim, ema=ema))
        for ema in (before, after)
    )
    run(dataclasses.replace(first, num_steps=3), shapes, tmp_path)
    delivered = run(dataclasses.replace(second, num_steps=6), shapes, tmp_path)
    assert_equal_weights(delivered, stored(tmp_path, MEAN_FILE if after else MODEL_FILE))


def test_a_resumed_run_follows_its_own_settings_of_the_optimizer(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    """Another decay or other betas are those of the configuration, not of the checkpoint."""
    run(dataclasses.replace(small_config, num_steps=3), shapes, tmp_path)
    optim = dataclasses.replace(small_config.optim, weight_decay=0.3, betas=(0.8, 0.9))
    run(dataclasses.replace(small_config, num_steps=6, optim=optim), shapes, tmp_path)
    groups = stored(tmp_path, STATE_FILE)["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.0, 0.3}
    assert {tuple(group["betas"]) for group in groups} == {(0.8, 0.9)}


def test_the_weights_of_the_best_validation_are_kept(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    """A score that is no number is neither the best nor in the way of others."""
    config = dataclasses.replace(small_config, validate_every=2, checkpoint_every=2)
    scores = {2: float("nan"), 4: 0.7, 6: 0.5, 8: float("inf")}
    seen: dict[int, Tensor] = {}

    def validate(weights: Weights, done: int) -> dict[str, float]:
        seen[done] = weights[TOKEN].clone()
        return {"validation/score": scores[done]}

    with pytest.raises(InterruptionError):
        run(config, shapes, tmp_path, validate=validate, report=stop_at(5))
    delivered = run(config, shapes, tmp_path, validate=validate)
    assert torch.equal(load_file(tmp_path / BEST_NAME)[TOKEN], seen[4])
    assert torch.equal(delivered[TOKEN], seen[8])
    assert not torch.equal(seen[4], seen[8])


def test_batches_may_be_accumulated(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    """Two batches of one image or one of two: the same items, the same objects, the same update."""
    config = dataclasses.replace(small_config, drop_path=0.0)
    run(config, shapes, tmp_path / "whole")
    data = dataclasses.replace(config.data, batch_size=1)
    run(dataclasses.replace(config, data=data, accumulate=2), shapes, tmp_path / "parts")
    for one, other in zip(
        metrics_of(tmp_path / "whole"), metrics_of(tmp_path / "parts"), strict=True
    ):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_bfloat16_is_near_float32_and_the_weights_stay_in_that(
    shapes: SA1BDataset, tmp_path: Path, small_config: TrainConfig
) -> None:
    config = dataclasses.replace(small_config, num_steps=1, drop_path=0.0)
    run(config, shapes, tmp_path / "whole")
    half = run(dataclasses.replace(config, precision="bfloat16"), shapes, tmp_path / "half")
    (one,), (other,) = metrics_of(tmp_path / "whole"), metrics_of(tmp_path / "half")
    assert one["loss"] != other["loss"] == pytest.approx(one["loss"], rel=0.02)
    assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=0.1)
    assert all(value.dtype != torch.bfloat16 for value in half.values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, of its older compiler
def test_a_compiled_encoder_takes_the_same_step(
    shapes: SA1BDataset,
    tmp_path: Path,
    small_config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of compilation but the making of machine code, which takes half a minute and a C++ compiler."""
    compiles = nn.Module.compile
    calls: list[str] = []

    def compile_without_code(module: nn.Module) -> None:
        calls.append(type(module).__name__)
        compiles(module, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", compile_without_code)
    config = dataclasses.replace(small_config, num_steps=1, drop_path=0.0)
    plain = run(config, shapes, tmp_path / "plain")
    compiled = run(dataclasses.replace(config, compiles=True), shapes, tmp_path / "compiled")
    (one,), (other,) = metrics_of(tmp_path / "plain"), metrics_of(tmp_path / "compiled")
    assert other == pytest.approx(one, rel=1e-3, abs=1e-5)
    assert compiled.keys() == plain.keys()
    assert calls == ["ImageEncoder"]


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
    assert not torch.equal(after[TOKEN], before[TOKEN])


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

    def step(model: Sam, batch: Batch, number: int) -> StepOutput:
        nonlocal calls
        calls += 1
        output = sam_step(model, batch, number, config=small_config.interaction)
        if calls < 5:
            return output
        if where == "loss":
            return dataclasses.replace(output, loss=output.loss * float("nan"))
        token = model.mask_decoder.iou_token.weight
        return dataclasses.replace(output, loss=output.loss + (token - token).sum().sqrt())

    model = build_model(small_config, None)
    items = sam_items(build_stream(small_config, (shapes,)))
    with pytest.raises(InputError, match=f"the {name} is not finite at step 4; lower") as caught:
        train(model, step, items, small_config, tmp_path)
    assert "\n" not in str(caught.value)
    failed = load_failed_batch(tmp_path)
    assert failed.step == 4
    assert set(failed.names) <= {"shape_0", "shape_1"}
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert stored(tmp_path, STATE_FILE)["step"] == 3


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
    run(config, shapes, tmp_path)
    lines = metrics_of(tmp_path)
    last = [line for line in lines if line["step"] > 200]
    assert np.mean([line["iou/point"] for line in last if "iou/point" in line]) > 0.8
    assert np.mean([line["loss"] for line in last]) < 0.5 * lines[0]["loss"]
