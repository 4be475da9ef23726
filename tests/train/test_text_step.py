from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from segloop.data.transforms import PIXEL_MEAN, PIXEL_STD
from segloop.model.config import model_config, with_text
from segloop.model.sam import Sam
from segloop.train.config import DataConfig, InteractionConfig, OptimConfig
from segloop.train.sam_step import Batch
from segloop.train.text_step import TextConfig, object_pictures, text_step

SIDE = 32  # of the logit frame; the input of the toy model is 64
WIDTH = 5


@dataclasses.dataclass
class Colours:
    """A CLIP that sees the mean colour under the mask, and notes what it was shown."""

    side: int = 16
    crops: Tensor | None = None
    masks: Tensor | None = None

    def vectors(self, crops: Tensor, masks: Tensor) -> Tensor:
        self.crops, self.masks = crops, masks
        under = (crops * masks[:, None]).sum((2, 3)) / masks.sum((1, 2)).clamp(min=1)[:, None]
        return torch.nn.functional.pad(under, (0, WIDTH - 3))


@pytest.fixture
def config() -> TextConfig:
    return TextConfig(
        recipe="text",
        model="toy",
        input_size=64,
        num_steps=2,
        data=DataConfig(),
        optim=OptimConfig(),
        interaction=InteractionConfig(num_clicks=2, num_mask_only=1),
        largest_crop=1.0,
        blank=0.0,
    )


def batch_of(*boxes: tuple[int, int, int, int]) -> Batch:
    """One dark image; the object in the first box (logit frame) is red, those in others are green."""
    truths = np.zeros((len(boxes), SIDE, SIDE), dtype=np.bool_)
    image = np.full((64, 64, 3), 20, dtype=np.float32)
    for row, (x0, y0, x1, y1) in enumerate(boxes):
        truths[row, y0:y1, x0:x1] = True
        image[2 * y0 : 2 * y1, 2 * x0 : 2 * x1] = (0, 250, 100) if row else (250, 0, 100)
    prepared = torch.from_numpy((image - PIXEL_MEAN) / PIXEL_STD).permute(2, 0, 1)[None]
    return Batch(
        prepared, truths, torch.zeros(len(boxes), dtype=torch.int64), np.arange(len(boxes))
    )


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_a_picture_is_the_square_about_the_object(config: TextConfig) -> None:
    batch = batch_of((4, 8, 12, 16), (20, 4, 28, 8))
    crops, masks = object_pictures(batch, generators(2), 16, config)
    assert crops.shape == (2, 3, 16, 16)
    expected = torch.tensor([250.0, 0.0, 100.0])[:, None, None] / 255
    torch.testing.assert_close(crops[0], expected.expand(3, 16, 16), atol=0.01, rtol=0)
    assert masks[0].all()
    # Eight wide and four high: the middle half of the square.
    rows = masks[1].float().mean(dim=1)
    assert rows[:3].tolist() == [0, 0, 0]
    assert rows[5:11].tolist() == [1] * 6
    assert rows[-3:].tolist() == [0, 0, 0]
    assert crops[1, 1, 8].mean() == pytest.approx(250 / 255, abs=0.01)
    assert crops[1, 1, 1].mean() == pytest.approx(20 / 255, abs=0.01)


def test_all_around_the_object_may_be_blanked(config: TextConfig) -> None:
    batch = batch_of((20, 4, 28, 8))
    blanked = dataclasses.replace(config, blank=1.0)
    crops, masks = object_pictures(batch, generators(1), 16, blanked)
    assert crops[0][:, ~masks[0]].eq(0).all()
    assert crops[0][0, masks[0]].min() > 0.9
    wide = dataclasses.replace(config, largest_crop=2.0)
    _, larger = object_pictures(batch, generators(1), 16, wide)
    assert larger.sum() < masks.sum()


def test_beyond_the_image_a_picture_is_black(config: TextConfig) -> None:
    crops, masks = object_pictures(batch_of((0, 10, 2, 26)), generators(1), 16, config)
    assert crops[0, :, :, :6].eq(0).all()
    assert masks[0, :, 8:10].any()


def test_what_pads_the_image_is_black_too(config: TextConfig) -> None:
    batch = batch_of((24, 4, 30, 24))
    batch.images[..., 56:] = 0
    crops, _ = object_pictures(batch, generators(1), 20, config)
    # Of forty input pixels from 34 on, those past 56 are padding.
    assert crops[0, :, :, 12:].eq(0).all()
    assert crops[0, 2, :, :10].ne(0).all()


def text_toy() -> Sam:
    torch.manual_seed(0)
    return Sam(with_text(model_config("toy"), WIDTH))


def test_a_conversation_begins_with_the_vector_alone(config: TextConfig) -> None:
    model, clip = text_toy(), Colours()
    decode, heard = model.decode, []

    def listen(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        heard.append(arguments)
        return decode(*arguments)

    model.decode = listen  # type: ignore[method-assign,assignment]
    batch = batch_of((4, 8, 12, 16), (20, 4, 28, 8))
    output = text_step(model, batch, 0, config=config, clip=clip)
    assert heard[0][2].shape[1] == 0
    assert max(labels.shape[1] for _, _, labels, *_ in heard) == 3  # padding and two clicks
    assert heard[-1][2][0, 0] == -1
    for *_, text in heard:
        torch.testing.assert_close(text, clip.vectors(clip.crops, clip.masks))
    assert len(heard) == 4
    output.loss.backward()
    projection = model.prompt_encoder.text_projection
    assert projection is not None
    assert projection.weight.grad is not None
    assert projection.weight.grad.abs().sum() > 0


def test_a_step_repeats_and_hangs_on_its_seeds(config: TextConfig) -> None:
    model, batch = text_toy(), batch_of((4, 8, 12, 16), (20, 4, 28, 8))
    varied = dataclasses.replace(config, largest_crop=2.0, blank=0.5)

    def loss(batch: Batch) -> float:
        return text_step(model, batch, 3, config=varied, clip=Colours()).loss.item()

    assert loss(batch) == loss(batch)
    assert loss(dataclasses.replace(batch, seeds=batch.seeds + 100)) != loss(batch)


def test_it_learns_to_tell_two_colours_apart(config: TextConfig) -> None:
    """No click, no box: which of two objects is meant, only the vector says."""
    silent = dataclasses.replace(config, interaction=InteractionConfig(0, 0, focal_alpha=0.75))
    model, batch = text_toy().train(), batch_of((4, 8, 12, 16), (20, 16, 28, 26))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    seen: list[float] = []
    for number in range(200):
        output = text_step(model, batch, number, config=silent, clip=Colours())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        seen.append(float(output.metrics["iou/0"].total) / 2)
    assert np.mean(seen[:10]) < 0.4
    assert np.mean(seen[-10:]) > 0.8
