from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segloop.data.folder import find_images
from segloop.errors import InputError
from segloop.model.mae import MaskedAutoencoder
from segloop.train import mae
from segloop.train.config import DataConfig, OptimConfig
from segloop.train.distill import split_images
from segloop.train.mae import batch_flops, build_autoencoder, draw_reconstructions, run_mae
from segloop.train.mae_step import MaeBatch, MaeRunConfig
from segloop.train.metrics import METRICS_NAME, SKIPPED_NAME
from segloop.train.recipes.toy import toy
from segloop.train.run import build_model
from segloop.weights.mae import load_mae


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Stripes of many widths: what is hidden follows from what is seen."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        wave = 127 + 120 * np.sin(np.arange(64) / (1.5 + number % 7) + number)
        pixels = np.broadcast_to(wave[None, :, None], (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def small(num_steps: int) -> MaeRunConfig:
    return MaeRunConfig(
        recipe="test",
        model="toy",
        input_size=64,
        num_steps=num_steps,
        data=DataConfig(batch_size=8, num_workers=0),
        optim=OptimConfig(learning_rate=3e-3, warmup_steps=5, schedule="cosine", layer_decay=1.0),
        log_every=1,
        validate_every=num_steps,
    )


def losses(folder: Path) -> list[float]:
    lines = [json.loads(one) for one in (folder / METRICS_NAME).read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_a_run_learns_goes_on_and_starts_a_sam(photos: Path, tmp_path: Path) -> None:
    path = run_mae(small(60), [photos], tmp_path / "run")
    curve = losses(tmp_path / "run")
    assert np.mean(curve[-10:]) < 0.8 * np.mean(curve[:5])
    lines = [json.loads(one) for one in (tmp_path / "run" / METRICS_NAME).read_text().splitlines()]
    assert lines[-1]["validation/score"] == -lines[-1]["validation/loss"]
    picture = np.asarray(Image.open(tmp_path / "run" / "pictures" / "00000060.png"))
    assert picture.shape[1] == 3 * 64

    again = run_mae(small(61), [photos], tmp_path / "run")
    assert isinstance(load_mae(again), MaskedAutoencoder)
    model = build_model(toy(), path)
    trained = load_mae(path).state_dict()["blocks.0.mlp.0.weight"]
    assert torch.equal(model.image_encoder.state_dict()["blocks.0.mlp.0.weight"], trained)


RANK = """
import pickle, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from torch.distributed.fsdp import FSDPModule
from segloop.train.devices import StepModule, distribute, start_devices
from segloop.train.mae import build_autoencoder, run_mae
from segloop.train.mae_step import mae_step

config, photos, folder = pickle.loads(Path(sys.argv[1]).read_bytes())
devices = start_devices("cpu", "shard")
whole = distribute(devices, StepModule(build_autoencoder(config), mae_step, config.precision))
shared = [name for name, one in whole.named_modules() if isinstance(one, FSDPModule)]
assert shared == ["", *(f"model.{part}.{row}" for part in ("blocks", "decoder_blocks") for row in (0, 1))]
run_mae(config, [photos], folder, sharding="shard")
"""


def test_two_processes_that_share_the_weights_block_by_block_give_the_curve_of_one(
    photos: Path, tmp_path: Path
) -> None:
    config = small(4)
    run_mae(config, [photos], tmp_path / "one")
    half = replace(config, data=replace(config.data, batch_size=config.data.batch_size // 2))
    script, job = tmp_path / "rank.py", tmp_path / "rank.job"
    script.write_text(RANK)
    job.write_bytes(pickle.dumps((half, photos, tmp_path / "two")))
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", script, job]
    launched = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert launched.returncode == 0, launched.stderr
    alone, together = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(alone) == 4
    assert together == pytest.approx(alone, rel=1e-4)


def test_its_own_pictures_are_no_data(photos: Path, tmp_path: Path) -> None:
    """A run that lies among the photographs goes on with the same images."""
    run_mae(small(2), [photos], tmp_path / "straight")
    for num_steps in (1, 2):
        run_mae(small(num_steps), [photos], photos / "run")
        pictures = sorted(one.name for one in (photos / "run" / "pictures").iterdir())
        assert len(pictures) == num_steps
    assert losses(photos / "run") == losses(tmp_path / "straight")


def test_a_picture_shows_image_what_was_seen_and_the_guess() -> None:
    model = build_autoencoder(small(1)).eval()
    images = torch.zeros(2, 3, 64, 64)
    images[:, :, :, 32:] = 2.0
    order = torch.arange(64).expand(2, -1)
    with torch.inference_mode():
        picture = draw_reconstructions(model, MaeBatch(images, order[:, :16], order[:, 16:]))
    assert picture.shape == (128, 192, 3)
    image, seen, guess = picture[:64, :64], picture[:64, 64:128], picture[:64, 128:]
    np.testing.assert_array_equal(seen[:16], image[:16])  # the first two rows of patches
    assert (seen[16:] == seen[63, 0]).all()
    np.testing.assert_array_equal(guess[:16], image[:16])


def test_a_start_of_other_sizes_is_one_line(photos: Path, tmp_path: Path) -> None:
    path = run_mae(small(1), [photos], tmp_path / "run")
    other = MaeRunConfig(
        recipe="test",
        model="tiny",
        input_size=64,
        num_steps=1,
        data=DataConfig(),
        optim=OptimConfig(),
    )
    with pytest.raises(InputError, match="is no autoencoder of tiny at 64 pixels"):
        build_autoencoder(other, path)
    compact = MaeRunConfig(
        recipe="test",
        model="compact",
        input_size=64,
        num_steps=1,
        data=DataConfig(),
        optim=OptimConfig(),
    )
    with pytest.raises(InputError, match="compact has no ViT to pretrain"):
        build_autoencoder(compact)


@pytest.mark.parametrize("hidden", [0.0, 0.99, 1.0])
def test_patches_must_be_left_to_see_and_to_guess(hidden: float) -> None:
    with pytest.raises(InputError, match=f"hiding {hidden} of 64 patches leaves none to see, or"):
        build_autoencoder(replace(small(1), hidden=hidden))


def test_a_held_out_image_that_cannot_be_read_is_left_out(photos: Path, tmp_path: Path) -> None:
    held_out = split_images(find_images([photos]).images)[1]
    assert len(held_out) > 1
    for left, file in enumerate(reversed(held_out)):
        (photos / file.name).write_bytes(b"no picture")
        folder = tmp_path / f"run_{left}"
        run_mae(small(1), [photos], folder)
        last = json.loads((folder / METRICS_NAME).read_text().splitlines()[-1])
        assert last["validation/skipped"] == left + 1
        assert len((folder / SKIPPED_NAME).read_text().splitlines()) == left + 1
        assert ("validation/score" in last) == (left + 1 < len(held_out))


def test_a_batch_takes_the_operations_that_were_counted_by_hand() -> None:
    """64 patches of 192 numbers; two encoder blocks over 16 of them and the class token, two decoder blocks over all."""
    patches = 2 * 64 * 192 * 32
    encoder, decoder = (
        2 * (2 * count * 32 * (3 * 32 + 32 + 2 * 128) + 2 * 2 * count * count * 32)
        for count in (17, 65)
    )
    forward = patches + encoder + 2 * 17 * 32 * 32 + decoder + 2 * 65 * 32 * 192
    images = torch.zeros(5, 3, 64, 64)
    batch = MaeBatch(images, torch.zeros(5, 16), torch.zeros(5, 48))
    found = batch_flops(build_autoencoder(small(1)), 0.75)(batch)
    # Back takes twice as much, save that nothing goes back into the pixels.
    assert found == 5 * (3 * forward - patches) == 5 * 19_631_616


def test_a_run_is_told_its_operations(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Callable[[MaeBatch], int]] = {}
    monkeypatch.setattr(mae, "conduct", lambda *_, **options: given.update(options))
    run_mae(small(1), [photos], tmp_path / "run")
    batch = MaeBatch(torch.zeros(2, 3, 64, 64), torch.zeros(2, 16), torch.zeros(2, 48))
    assert given["flops"](batch) == 2 * 19_631_616
