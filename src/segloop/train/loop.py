"""The one training loop, in view: draw a batch, take a step, update, log, validate, checkpoint.

What a step computes is passed in, and so is validation. A run killed at any moment goes on from its last checkpoint with
the same numbers it would have seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
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


class StreamDataset(Dataset[TrainingItem | InputError]):
    """A SampleStream as PyTorch wants it.

    What is wrong with the data comes back as a value: raised in a worker it would arrive wrapped in a traceback.
    """

    def __init__(self, stream: SampleStream) -> None:
        self.stream = stream
        self.indices = stream.indices()

    def __getitem__(self, number: int) -> TrainingItem | InputError:
        try:
            return self.stream.item(number, self.indices)
        except InputError as error:
            return error


def batches(stream: SampleStream, config: TrainConfig, first_step: int) -> Iterator[Batch]:
    """The run's batches from first_step on; batch k holds the same items however often it is resumed."""
    size = config.data.batch_size
    loader = DataLoader(
        StreamDataset(stream),
        batch_size=size,
        sampler=range(first_step * size, config.num_steps * size),
        num_workers=config.data.num_workers,
        collate_fn=_collate_or_error,
        # Its own generator: a resumed run makes a second loader, which must not draw from the model's random numbers.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


def _collate_or_error(items: Sequence[TrainingItem | InputError]) -> Batch | InputError:
    good: list[TrainingItem] = []
    for item in items:
        if isinstance(item, InputError):
            return item
        good.append(item)
    return collate(good)


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
) -> dict[str, Tensor]:
    """Run to config.num_steps, from the folder's checkpoint if it has one; returns the weights to deliver.

    Those are the running mean if config.optim.ema is set. Raises InputError when the loss or its gradient is not finite,
    WeightsError for a checkpoint that is damaged or of another run.
    """
    model.to(device).train()
    optimizer = build_optimizer(model, config.optim)
    mean = {name: value.detach().clone() for name, value in model.state_dict().items()}
    first_step = _resume(folder, config, model, optimizer, mean)
    kind = torch.device(device).type
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    with MetricWriter(folder, first_step) as writer:
        watch = _Watch(config, first_step, report)
        for number, batch in enumerate(batches(stream, config, first_step), start=first_step):
            set_learning_rate(optimizer, learning_rate(number, config.optim))
            with torch.autocast(kind, torch.bfloat16, enabled=config.precision == "bfloat16"):
                output = step(model, batch.to(device))
            optimizer.zero_grad()
            output.loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, config.optim.clip_norm or float("inf"))
            _check_finite(output.loss, norm, number)
            optimizer.step()
            if config.optim.ema:
                update_mean(mean, model, config.optim.ema, number)

            done, is_last = number + 1, number + 1 == config.num_steps
            if done % config.log_every == 0 or is_last:
                rate = watch.tick(done, output.metrics["loss"])
                speed = {"gradient_norm": float(norm), "images_per_second": rate}
                writer.write(done, {**output.metrics, **speed})
            # Before the checkpoint: killed in between, the resumed run validates again.
            if validate is not None and (done % config.validate_every == 0 or is_last):
                weights = mean if config.optim.ema else model.state_dict()
                writer.write(done, validate(with_weights(model, weights)))
            if done % config.checkpoint_every == 0 or is_last:
                save_checkpoint(folder, _state(done, model, mean, optimizer), config)
    return mean if config.optim.ema else model.state_dict()


def with_weights(model: Sam, weights: dict[str, Tensor]) -> Sam:
    """A copy of the model that holds these weights, ready to predict."""
    # Random initial weights, overwritten at once, must not use up the run's random numbers.
    with torch.random.fork_rng():
        twin = Sam(model.config)
    twin.to(next(iter(weights.values())).device).load_state_dict(weights)
    return twin.eval()


def _resume(
    folder: Path,
    config: TrainConfig,
    model: Sam,
    optimizer: torch.optim.Optimizer,
    mean: dict[str, Tensor],
) -> int:
    """Fill everything from the folder's checkpoint; returns the number of steps done, 0 without one."""
    state = load_checkpoint(folder, config)
    if state is None:
        return 0
    model.load_state_dict(state.model)
    optimizer.load_state_dict(state.optimizer)
    for name, value in state.mean.items():
        mean[name].copy_(value)
    torch.set_rng_state(state.random_state)
    return state.step


def _state(
    done: int, model: Sam, mean: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> TrainState:
    return TrainState(
        step=done,
        model={name: value.cpu() for name, value in model.state_dict().items()},
        mean={name: value.cpu() for name, value in mean.items()},
        optimizer=optimizer.state_dict(),
        random_state=torch.get_rng_state(),
    )


def _check_finite(loss: Tensor, gradient_norm: Tensor, number: int) -> None:
    for name, value in (("loss", loss), ("gradient", gradient_norm)):
        if not torch.isfinite(value):
            raise InputError(f"the {name} is not finite at step {number}; lower the learning rate")


class _Watch:
    """Measures speed between two logged steps, and tells whoever watches."""

    def __init__(
        self, config: TrainConfig, first_step: int, report: Callable[[Progress], None] | None
    ) -> None:
        self._config = config
        self._report = report
        self._done = first_step
        self._clock = time.perf_counter()

    def tick(self, done: int, loss: float) -> float:
        """Images per second since the last call."""
        now = time.perf_counter()
        seconds = (now - self._clock) / (done - self._done)
        self._clock, self._done = now, done
        rate = self._config.data.batch_size / seconds
        if self._report is not None:
            left = seconds * (self._config.num_steps - done)
            self._report(Progress(done, self._config.num_steps, loss, rate, left))
        return rate
