"""Training where it is meant to be done, on a GPU, and the benchmark of it, which a toy on the CPU keeps in order."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segloop.geometry.rle import encode_rle
from segloop.train.config import TrainConfig
from segloop.train.metrics import METRICS_NAME
from segloop.train.recipes.sam import vit_b
from segloop.train.recipes.toy import toy
from segloop.train.run import MODEL_NAME, build_model, run_recipe
from segloop.train.throughput import peak_flops
from segloop.weights.load import load_sam

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "cuda"
RANK = """
import pickle, sys
from pathlib import Path
from segloop.train.run import run_recipe

config, data, folder, device = pickle.loads(Path(sys.argv[1]).read_bytes())
run_recipe(config, [data], folder, device=device, sharding="shard")
"""


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module benchmarks.training, which is not installed."""
    monkeypatch.syspath_prepend(ROOT)
    return import_module("benchmarks.training")


@pytest.fixture
def toy_config() -> TrainConfig:
    """Four steps of the toy in which nothing is left to chance."""
    config = toy(num_steps=4)
    data = replace(config.data, batch_size=2, max_masks=2, num_workers=0)
    return replace(config, data=data, log_every=1, drop_path=0.0, dropout=0.0)


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Eight images of a bright box each, in SA-1B layout."""
    folder = tmp_path / "boxes"
    folder.mkdir()
    for number in range(8):
        mask = np.zeros((64, 64), dtype=np.bool_)
        mask[10:40, 12 : 30 + number] = True
        pixels = np.where(mask[..., None], 230, 20).astype(np.uint8).repeat(3, axis=2)
        Image.fromarray(pixels).save(folder / f"box_{number}.png")
        annotation = {
            "id": 1,
            "segmentation": encode_rle(mask).to_json(),
            "bbox": [12, 10, 18 + number, 30],
            "area": int(mask.sum()),
        }
        record = json.dumps({"annotations": [annotation]})
        (folder / f"box_{number}.json").write_text(record)
    return folder


def metrics_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]


def losses_of(training: Any, config: TrainConfig, count: int) -> list[float]:
    """The loss of each of the first updates on the benchmark's own batch."""
    device = torch.device(DEVICE)
    model = build_model(config, None).to(device).train()
    update = training.update(
        model, training.draw_batch(config, model.config.logit_size), config, device
    )
    return [update() for _ in range(count)]


def test_the_benchmark_measures_a_toy_on_the_cpu(training: Any, toy_config: TrainConfig) -> None:
    rows = training.measure(toy_config, torch.device("cpu"), peak=1e15, times=2, ways=("eager",))
    assert [row.what for row in rows] == ["encoder, forward and backward, eager", "update, eager"]
    for row in rows:
        assert row.memory_bytes is None
        for value in (row.seconds, row.images_per_second, row.mfu):
            assert math.isfinite(value)
            assert value > 0
        assert row.images_per_second == pytest.approx(2 / row.seconds)
        assert row.mfu < 1
    lines = training.table_of(rows)
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1


def test_the_benchmark_takes_the_recipe_as_it_is(training: Any) -> None:
    config = training.training_config("vit_b", 4, 16)
    assert (config.model, config.input_size, config.precision) == ("vit_b", 1024, "bfloat16")
    assert (config.data.batch_size, config.data.max_masks, config.accumulate) == (4, 16, 1)
    assert config.interaction == vit_b().interaction


def test_without_a_gpu_the_benchmark_says_that_nothing_was_measured(
    training: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["training"])
    training.main()
    assert "no CUDA device here, nothing was measured" in capsys.readouterr().out


@pytest.mark.gpu
def test_vit_b_trains_in_bfloat16(training: Any) -> None:
    config = training.training_config("vit_b", 1, 2)
    optim = replace(config.optim, warmup_steps=0, learning_rate=1e-4)
    interaction = replace(config.interaction, num_clicks=2, num_mask_only=1)
    losses = losses_of(training, replace(config, optim=optim, interaction=interaction), 2)
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert losses[0] != losses[1]


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")  # PyTorch warns of itself while it compiles
def test_a_compiled_encoder_learns_as_the_one_as_written(
    training: Any, toy_config: TrainConfig
) -> None:
    eager = losses_of(training, toy_config, 3)
    compiled = losses_of(training, replace(toy_config, compiles=True), 3)
    assert compiled == pytest.approx(eager, rel=2e-3)


@pytest.mark.gpu
def test_a_run_says_its_share_of_the_peak(
    boxes: Path, tmp_path: Path, toy_config: TrainConfig
) -> None:
    config = replace(toy_config, precision="bfloat16")
    run_recipe(config, [boxes], tmp_path / "run", device=DEVICE)
    lines = metrics_of(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(math.isfinite(line["loss"]) for line in lines)
    if peak_flops(torch.cuda.get_device_name(), "bfloat16") is None:
        pytest.skip("the peak of this device is not in the table")
    assert all(0 < line["mfu"] < 1 for line in lines)


@pytest.mark.gpu
def test_two_gpus_that_share_the_weights_give_the_curve_of_one(
    boxes: Path, tmp_path: Path, toy_config: TrainConfig
) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two accelerators")
    run_recipe(toy_config, [boxes], tmp_path / "one", device=DEVICE)
    half = replace(toy_config, data=replace(toy_config.data, batch_size=1))
    script, job = tmp_path / "rank.py", tmp_path / "job"
    script.write_text(RANK)
    job.write_bytes(pickle.dumps((half, boxes, tmp_path / "two", DEVICE)))
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", script, job]
    launched = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert launched.returncode == 0, launched.stderr
    alone, together = metrics_of(tmp_path / "one"), metrics_of(tmp_path / "two")
    assert [line["loss"] for line in together] == pytest.approx(
        [line["loss"] for line in alone], rel=1e-3
    )
    assert load_sam(tmp_path / "two" / MODEL_NAME).config.input_size == 64
