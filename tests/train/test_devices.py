from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import torch

from segloop.errors import InputError, WeightsError
from segloop.train import devices as devices_module
from segloop.train.checkpoint import STATE_FILE, find_checkpoints
from segloop.train.config import TrainConfig
from segloop.train.devices import (
    Devices,
    random_states,
    reduce_means,
    restore_random_state,
    separate_random_numbers,
    start_devices,
    whole_weights,
)
from segloop.train.metrics import METRICS_NAME
from segloop.train.run import MODEL_NAME, run_recipe
from segloop.train.step import Mean
from segloop.weights.load import load_sam

if TYPE_CHECKING:
    from accelerate import Accelerator

CLOCKED = ("images_per_second", "data_wait")
RANK = """
import faulthandler, pickle, sys
from pathlib import Path
import torch
faulthandler.enable()  # an abort inside PyTorch says where
torch.set_num_threads(1)
from segloop.errors import InputError
from segloop.train.run import run_recipe

config, data, folder, sharding = pickle.loads(Path(sys.argv[1]).read_bytes())
try:
    run_recipe(config, [data], folder, sharding=sharding)
except InputError as error:
    sys.exit(f"segloop: error: {error}")
"""


def launch(
    config: TrainConfig, data: Path, folder: Path, sharding: str = "replicate"
) -> subprocess.CompletedProcess[str]:
    """The run as two processes, which talk by gloo."""
    script, job = folder.with_suffix(".py"), folder.with_suffix(".job")
    script.write_text(RANK)
    job.write_bytes(pickle.dumps((config, data, folder, sharding)))
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", script, job]
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )


def curve(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCKED} for line in lines]


@pytest.fixture
def for_two(small_config: TrainConfig) -> TrainConfig:
    """Twenty steps of two images for each of two processes; skipped blocks would be other ones in each."""
    return dataclasses.replace(small_config, num_steps=20, drop_path=0.0, checkpoint_every=10)


@pytest.mark.parametrize(
    ("sharding", "accumulate"), [("replicate", 1), ("replicate", 2), ("shard", 2)]
)
def test_two_processes_give_the_curve_of_one(
    shapes_tar: Path, tmp_path: Path, for_two: TrainConfig, sharding: str, accumulate: int
) -> None:
    """Whether each holds all weights or half of each, and takes its images at once or one after another."""
    data = dataclasses.replace(for_two.data, batch_size=2 * for_two.data.batch_size)
    one = dataclasses.replace(for_two, data=data)
    data = dataclasses.replace(for_two.data, batch_size=for_two.data.batch_size // accumulate)
    for_two = dataclasses.replace(for_two, data=data, accumulate=accumulate)
    run_recipe(one, [shapes_tar], tmp_path / "one")
    launched = launch(for_two, shapes_tar, tmp_path / "two", sharding)
    assert launched.returncode == 0, launched.stderr
    alone, together = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert [line["step"] for line in together] == list(range(1, 21))
    for first, second in zip(alone, together, strict=True):
        assert first.keys() == second.keys()
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
        assert second["gradient_norm"] == pytest.approx(first["gradient_norm"], rel=1e-3)
        assert second["iou/0"] == pytest.approx(first["iou/0"], abs=2e-3)
    assert load_sam(tmp_path / "two" / MODEL_NAME).config.input_size == 64

    # Another number of processes would deal the images out differently.
    longer = dataclasses.replace(for_two, num_steps=22)
    with pytest.raises(WeightsError, match="made by 2 processes, this run has 1; start it with"):
        run_recipe(longer, [shapes_tar], tmp_path / "two")


@pytest.mark.parametrize("sharding", ["replicate", "shard"])
def test_a_launched_run_resumes_bit_for_bit(
    shapes_tar: Path, tmp_path: Path, for_two: TrainConfig, sharding: str
) -> None:
    """With skipped blocks: each process goes on with its own random numbers."""
    config = dataclasses.replace(for_two, num_steps=8, drop_path=0.5, checkpoint_every=4)
    launched = launch(config, shapes_tar, tmp_path / "run", sharding)
    assert launched.returncode == 0, launched.stderr
    state = torch.load(find_checkpoints(tmp_path / "run")[0] / STATE_FILE, weights_only=True)
    first, second = state["random_states"]
    assert not torch.equal(first, second), "blocks are skipped in each as in no other"
    whole = curve(tmp_path / "run")
    # As if killed after step 4: what the last checkpoint has seen is gone.
    shutil.rmtree(find_checkpoints(tmp_path / "run")[-1])
    launched = launch(config, shapes_tar, tmp_path / "run", sharding)
    assert launched.returncode == 0, launched.stderr
    assert [path.name for path in find_checkpoints(tmp_path / "run")] == ["00000004", "00000008"]
    assert curve(tmp_path / "run") == whole


def test_what_is_wrong_is_one_line_in_every_process(
    shapes_tar: Path, tmp_path: Path, for_two: TrainConfig
) -> None:
    config = dataclasses.replace(for_two, input_size=60)
    launched = launch(config, shapes_tar, tmp_path / "run")
    assert launched.returncode != 0
    assert "segloop: error: the input size must be a multiple of 32, got 60" in launched.stderr


def test_a_device_that_is_not_there_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    with pytest.raises(InputError, match="no CUDA device here; train with --device cpu"):
        start_devices("cuda:1")


@pytest.mark.parametrize(
    ("name", "message"),
    [("gpu", "no device 'gpu'"), ("mps", "'mps' is not"), ("cuda:9", "'cuda:9' is not available")],
)
def test_no_other_device_stands_in_for_one_that_is_not_there(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=message) as caught:
        start_devices(name)
    assert "\n" not in str(caught.value)


def test_every_run_of_a_process_has_the_device_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices_module, "find_device", torch.device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = []
    for name in ("cpu", "cuda:1", "cpu"):
        monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cuda:7")
        found.append(start_devices(name).accelerator.device)
    assert found == [torch.device("cpu"), torch.device("cuda:1"), torch.device("cpu")]


def test_processes_wait_for_the_one_that_validates() -> None:
    """Longer than the ten minutes after which NCCL gives up."""
    handler = start_devices().accelerator.init_handler
    assert handler is not None
    assert handler.to_kwargs() == {"timeout": handler.timeout}
    assert handler.timeout >= timedelta(hours=12)


def test_means_are_divided_after_all_batches_are_added() -> None:
    devices = start_devices()
    parts = [
        {"loss": Mean(torch.tensor(6.0), 3), "box": Mean(torch.tensor(0.0), torch.tensor(0))},
        {"loss": Mean(torch.tensor(4.0), 1), "box": Mean(torch.tensor(0.0), torch.tensor(0))},
    ]
    assert reduce_means(devices, parts) == {"loss": 2.5}


def test_random_numbers_go_on_where_they_were() -> None:
    devices = start_devices()
    states = random_states(devices)
    expected = torch.rand(3)
    torch.rand(7)
    restore_random_state(devices, states)
    assert torch.equal(torch.rand(3), expected)


def test_the_numbers_of_an_apple_gpu_go_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = {"state": torch.arange(16, dtype=torch.uint8)}
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: generator["state"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: generator.update(state=state))
    accelerator = SimpleNamespace(device=torch.device("mps"), num_processes=1, process_index=0)
    devices = Devices(cast("Accelerator", accelerator))
    states = random_states(devices)
    generator["state"] = torch.zeros(16, dtype=torch.uint8)
    restore_random_state(devices, states)
    assert torch.equal(generator["state"], torch.arange(16, dtype=torch.uint8))


def test_the_seed_decides_a_processs_random_numbers() -> None:
    devices = start_devices()
    drawn = []
    for seed in (0, 0, 1):
        separate_random_numbers(devices, seed)
        drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_weights_leave_their_graph() -> None:
    weight = torch.ones(2, requires_grad=True)
    found = whole_weights({"weight": weight})["weight"]
    assert not found.requires_grad
    assert torch.equal(found, torch.ones(2))
