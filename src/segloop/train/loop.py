"""The one training loop, in view: draw a batch, take a step, update, log, checkpoint.

What a step computes is passed in, and so is validation. A run killed at any moment goes on from its last checkpoint with
the same numbers it would have seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from segloop.data.loader import SampleStream, TrainingItem
from segloop.errors import InputError
from segloop.model.sam import Sam
from segloop.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from segloop.train.config import TrainConfig
from segloop.train.metrics import MetricWriter
from segloop.train.optim import build_optimizer, learning_rate, set_learning_rate, update_mean
from segloop.train.sam_step import Batch, StepOutput, collate

Step = Callable[[Sam, Batch], StepOutput]
Validate = Callable[[Sam], dict[str, float]]


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it; seconds_left is an estimate."""

    step: int
    num_steps: int
    loss: float
    images_per_second: float
    seconds_left: float


class StreamDataset(Dataset[TrainingItem]):
    """A SampleStream as PyTorch wants it."""

    def __init__(self, stream: SampleStream) -> None:
        self.stream = stream
        self.indices = stream.indices()

    def __getitem__(self, number: int) -> TrainingItem:
        return self.stream.item(number, self.indices)


def batches(stream: SampleStream, config: TrainConfig, first_step: int) -> Iterator[Batch]:
    """The run's batches from first_step on; batch k holds the same items however often it is resumed."""
    size = config.data.batch_size
    loader = DataLoader(
        StreamDataset(stream),
        batch_size=size,
        sampler=range(first_step * size, config.num_steps * size),
        num_workers=config.data.num_workers,
        collate_fn=collate,
    )
    yield from loader


def train(
    model: Sam,
    step: Step,
    stream: SampleStream,
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "cpu",
    validate: Validate | None = None,
    report: Callable[[Progress], None] | None = None,
) -> dict[str, torch.Tensor]:
    """Run to config.num_steps, from the folder's checkpoint if it has one; returns the weights to deliver.

    Those are the running mean if config.optim.ema is set. Raises InputError when the loss is not finite.
    """
    model.to(device).train()
    optimizer = build_optimizer(model, config.optim)
    mean = {name: value.detach().clone() for name, value in model.state_dict().items()}
    state = load_checkpoint(folder, config)
    first_step = 0
    if state is not None:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        mean = {name: value.to(device) for name, value in state.mean.items()}
        torch.set_rng_state(state.random_state)
        first_step = state.step
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    with MetricWriter(folder, first_step) as writer:
        clock = time.perf_counter()
        logged_at = first_step
        for number, batch in enumerate(batches(stream, config, first_step), start=first_step):
            batch = Batch(
                batch.images.to(device), batch.truths, batch.image_index.to(device), batch.seeds
            )
            set_learning_rate(optimizer, learning_rate(number, config.optim))
            with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bfloat16"):
                output = step(model, batch)
            if not torch.isfinite(output.loss):
                raise InputError(
                    f"the loss is not finite at step {number}; lower the learning rate"
                )
            optimizer.zero_grad()
            output.loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(trained, config.optim.clip_norm or float("inf"))
            optimizer.step()
            if config.optim.ema:
                update_mean(mean, model, config.optim.ema, number)

            done = number + 1
            if done % config.log_every == 0 or done == config.num_steps:
                seconds = (time.perf_counter() - clock) / (done - logged_at)
                clock, logged_at = time.perf_counter(), done
                rate = config.data.batch_size / seconds
                writer.write(
                    done,
                    {**output.metrics, "gradient_norm": float(norm), "images_per_second": rate},
                )
                if report is not None:
                    left = seconds * (config.num_steps - done)
                    report(Progress(done, config.num_steps, output.metrics["loss"], rate, left))
            if done % config.checkpoint_every == 0 or done == config.num_steps:
                weights = {name: value.cpu() for name, value in model.state_dict().items()}
                averages = {name: value.cpu() for name, value in mean.items()}
                state = TrainState(
                    done, weights, averages, optimizer.state_dict(), torch.get_rng_state()
                )
                save_checkpoint(folder, state, config)
            if validate is not None and (
                done % config.validate_every == 0 or done == config.num_steps
            ):
                writer.write(
                    done, validate(with_weights(model, mean) if config.optim.ema else model)
                )
    return mean if config.optim.ema else model.state_dict()


def with_weights(model: Sam, weights: dict[str, torch.Tensor]) -> Sam:
    """A copy of the model that holds these weights."""
    twin = Sam(model.config).to(next(iter(weights.values())).device)
    twin.load_state_dict(weights)
    return twin.eval()
