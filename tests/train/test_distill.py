from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from segloop.data.augment import Augmentation
from segloop.data.folder import NoImageError, find_images
from segloop.errors import InputError, WeightsError
from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.train.checkpoint import MODEL_FILE, find_checkpoints
from segloop.train.config import DataConfig, OptimConfig
from segloop.train.distill import batch_flops, build_student, run_distill, split_images
from segloop.train.distill_step import DistillConfig, DistillImages
from segloop.train.loop import BEST_NAME
from segloop.train.metrics import METRICS_NAME, SKIPPED_NAME
from segloop.train.run import CONFIG_NAME
from segloop.train.teacher import load_teacher
from segloop.train.throughput import count_flops
from segloop.weights.catalog import file_identity
from segloop.weights.load import load_sam, save_sam

SIDE = 64
NUM_IMAGES = 30


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        corners = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(corners).resize((64, 48)).save(folder / f"photo_{number}.png")
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_model(tmp_path / "teacher.safetensors", seed=1)


def write_model(path: Path, seed: int, width: int = 32) -> Path:
    torch.manual_seed(seed)
    save_sam(Sam(dataclasses.replace(MODELS["toy"], width=width)), path)
    return path


@pytest.fixture
def config() -> DistillConfig:
    return DistillConfig(
        recipe="test",
        model="toy",
        input_size=SIDE,
        num_steps=30,
        data=DataConfig(batch_size=4, num_workers=0, augmentation=Augmentation(flip=0.5)),
        optim=OptimConfig(
            learning_rate=3e-3, weight_decay=0.0, layer_decay=1.0, warmup_steps=5, milestones=()
        ),
        log_every=1,
        checkpoint_every=10,
        validate_every=15,
        decoder="teacher",
    )


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(one) for one in (folder / METRICS_NAME).read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in lines(folder) if "loss" in line]


def test_a_student_comes_nearer_and_has_its_teachers_decoder(
    config: DistillConfig, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    path = run_distill(config, teacher, [photos], tmp_path / "run")
    curve = losses(tmp_path / "run")
    assert sum(curve[-5:]) < 0.5 * sum(curve[:5])
    checked = [line for line in lines(tmp_path / "run") if "validation/score" in line]
    assert [line["step"] for line in checked] == [15, 30]
    assert checked[1]["validation/relative_error"] < checked[0]["validation/relative_error"] < 1.0
    assert checked[1]["validation/score"] == 1.0 - checked[1]["validation/relative_error"]
    model, taught = load_sam(path), load_sam(teacher)
    assert model.config == taught.config
    for part in ("prompt_encoder", "mask_decoder"):
        theirs = getattr(taught, part).state_dict()
        for name, value in getattr(model, part).state_dict().items():
            assert torch.equal(value, theirs[name]), name
    assert load_sam(tmp_path / "run" / BEST_NAME).config == taught.config
    stored = json.loads((tmp_path / "run" / CONFIG_NAME).read_text())
    assert stored["teacher"] == file_identity(teacher)


def test_a_projection_stays_in_the_run(config: DistillConfig, photos: Path, tmp_path: Path) -> None:
    wide = write_model(tmp_path / "wide.safetensors", seed=1, width=48)
    config = dataclasses.replace(config, decoder="own", num_steps=20)
    path = run_distill(config, wide, [photos], tmp_path / "run")
    curve = losses(tmp_path / "run")
    assert sum(curve[-5:]) < 0.8 * sum(curve[:5])
    assert load_sam(path).config == MODELS["toy"]
    kept = load_file(find_checkpoints(tmp_path / "run")[-1] / MODEL_FILE)
    assert kept["projection.weight"].shape == (48, 32, 1, 1)
    assert not any("projection" in name for name in load_file(path) if "attention" not in name)


def test_a_student_that_begins_as_its_teacher_is_there(
    config: DistillConfig, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    still = dataclasses.replace(
        config, num_steps=2, optim=dataclasses.replace(config.optim, learning_rate=0.0)
    )
    run_distill(still, teacher, [photos], tmp_path / "run", start=teacher)
    assert max(losses(tmp_path / "run")) < 1e-6
    assert lines(tmp_path / "run")[-1]["validation/score"] == pytest.approx(1.0, abs=1e-6)


def test_kept_embeddings_change_nothing(
    config: DistillConfig, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    short, keep = dataclasses.replace(config, num_steps=6), tmp_path / "kept"
    run_distill(short, teacher, [photos], tmp_path / "fly")
    run_distill(short, teacher, [photos], tmp_path / "fill", keep=keep)
    kept = {path: path.stat().st_mtime_ns for path in keep.rglob("*.npy")}
    assert len(kept) > 6
    worked = dataclasses.replace(short, data=dataclasses.replace(short.data, num_workers=1))
    run_distill(worked, teacher, [photos], tmp_path / "read", keep=keep)
    assert kept == {path: path.stat().st_mtime_ns for path in keep.rglob("*.npy")}
    assert losses(tmp_path / "fly") == losses(tmp_path / "fill") == losses(tmp_path / "read")


def test_a_run_goes_on_where_it_stopped(
    config: DistillConfig, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    short = dataclasses.replace(config, num_steps=8, checkpoint_every=4)
    whole = run_distill(short, teacher, [photos], tmp_path / "whole").read_bytes()
    run_distill(dataclasses.replace(short, num_steps=4), teacher, [photos], tmp_path / "parts")
    assert run_distill(short, teacher, [photos], tmp_path / "parts").read_bytes() == whole
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_another_teacher_is_refused(
    config: DistillConfig, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    short = dataclasses.replace(config, num_steps=2)
    run_distill(short, teacher, [photos], tmp_path / "run")
    other = write_model(tmp_path / "other.safetensors", seed=2)
    with pytest.raises(WeightsError, match=r"^[^\n]* was made with teacher [^\n]*another output"):
        run_distill(short, other, [photos], tmp_path / "run")


def test_what_does_not_fit_is_one_line(
    config: DistillConfig, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"^[^\n]*none\.pth: no such file$"):
        run_distill(config, tmp_path / "none.pth", [photos], tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoImageError, match="no image there"):
        run_distill(config, teacher, [tmp_path / "empty"], tmp_path / "run")
    narrow = write_model(tmp_path / "narrow.safetensors", seed=2, width=16)
    with pytest.raises(InputError, match=r"has no toy encoder of width 32, which the recipe test"):
        run_distill(config, teacher, [photos], tmp_path / "run", start=narrow)
    zoomed = dataclasses.replace(
        config, data=dataclasses.replace(config.data, augmentation=Augmentation(zoom=0.5))
    )
    with pytest.raises(InputError, match=r"the recipe test changes images; .* can be flipped"):
        run_distill(zoomed, teacher, [photos], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_start_weights_bring_their_decoder_unless_the_teachers_is_wanted(
    config: DistillConfig, teacher: Path, tmp_path: Path
) -> None:
    begun = write_model(tmp_path / "begun.safetensors", seed=2)
    taught, start = load_sam(teacher), load_sam(begun)
    own = build_student(dataclasses.replace(config, decoder="own"), taught, begun)
    swapped = build_student(config, taught, begun)
    for model, decoder in ((own, start), (swapped, taught)):
        expected = decoder.state_dict() | {
            name: one for name, one in start.state_dict().items() if "image_encoder" in name
        }
        for name, value in model.state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_a_compact_student_begins_from_imagenet() -> None:
    config = DistillConfig(
        recipe="test",
        model="compact",
        input_size=512,
        num_steps=1,
        data=DataConfig(),
        optim=OptimConfig(),
        decoder="teacher",
    )
    torch.manual_seed(5)
    taught = Sam(MODELS["toy"])
    models = [build_student(dataclasses.replace(config, seed=seed), taught) for seed in (0, 0, 1)]
    states = [one.image_encoder.state_dict() for one in models]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert torch.equal(states[0]["trunk.stem.weight"], states[2]["trunk.stem.weight"])
    assert not torch.equal(states[0]["lateral8.weight"], states[2]["lateral8.weight"])


def test_a_batch_costs_less_where_the_teacher_is_not_asked(photos: Path, teacher: Path) -> None:
    taught, model = load_teacher(teacher), Sam(MODELS["toy"])
    images = DistillImages(find_images([photos]).images, SIDE, SIDE, seed=0)
    asked = images.collate([images.prepare(0), images.prepare(1)])
    kept = torch.zeros(taught.shape, dtype=torch.float16)
    half = dataclasses.replace(asked, targets=(kept, None))
    count = batch_flops(model, taught)
    view = torch.zeros(1, 3, SIDE, SIDE)
    there = count_flops(lambda: model.encode(view))
    both = count_flops(lambda: model.encode(view).sum().backward())
    assert count(asked) == 2 * both + 2 * there
    assert count(half) == 2 * both + there


def test_the_same_images_are_held_out_whatever_else_there_is(photos: Path) -> None:
    images = find_images([photos]).images
    learned, held_out = split_images(images)
    assert 0 < len(held_out) < 6
    assert len(learned) + len(held_out) == NUM_IMAGES
    assert split_images(images[:20])[1] == tuple(one for one in held_out if one in images[:20])
    assert split_images(held_out) == (held_out, ())


def test_a_held_out_image_that_cannot_be_read_is_left_out(
    config: DistillConfig, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, num_steps=2, validate_every=1)
    held_out = split_images(find_images([photos]).images)[1]
    for file in held_out:
        (photos / file.name).write_bytes(b"no picture")
        run_distill(config, teacher, [photos], tmp_path / file.name)
        num_skipped = len((tmp_path / file.name / SKIPPED_NAME).read_text().splitlines())
        checked = [line for line in lines(tmp_path / file.name) if "validation/skipped" in line]
        assert [line["validation/skipped"] for line in checked] == [num_skipped] * 2
        assert ("validation/score" in checked[0]) == (num_skipped < len(held_out))
    assert num_skipped == len(held_out)
