"""The one training loop, in view: draw a batch, take a step, update, log, validate, checkpoint.

What a step computes is passed in, and so is validation. A run killed at any moment goes on from its last checkpoint with
the same numbers it would have seen; how many processes share it does not change them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segloop.errors import InputError
from segloop.train.calibration import fold_calibration
from segloop.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from segloop.train.config import RunConfig
from segloop.train.devices import (
    Devices,
    StepModule,
    copy_whole,
    distribute,
    model_of,
    random_states,
    reduce_means,
    restore_optimizer_state,
    restore_random_state,
    separate_random_numbers,
    start_devices,
    sum_over_processes,
    whole,
    whole_optimizer_state,
    whole_weights,
    without_exchange,
)
from segloop.train.failed_batch import save_failed_batch
from segloop.train.items import ItemSource, Share, batches
from segloop.train.metrics import MetricWriter, SkippedItems
from segloop.train.optim import build_optimizer, learning_rate, set_learning_rate, update_mean
from segloop.train.pictures import picture_path
from segloop.train.step import Mean, Step, TrainBatch
from segloop.train.throughput import StepClock, peak_flops
from segloop.weights.load import write_safetensors

BEST_NAME = "best.safetensors"
SCORE_NAME = "validation/score"

Weights = Mapping[str, Tensor]
Validate = Callable[[Weights, int], Mapping[str, float]]
Save = Callable[[Weights, Path], None]


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it; seconds_left is an estimate, num_skipped what could not be used so far."""

    step: int
    num_steps: int
    loss: float
    images_per_second: float
    seconds_left: float
    num_skipped: int = 0


def train(
    model: nn.Module,
    step: Step[Any, Any],
    source: ItemSource[Any, Any],
    config: RunConfig,
    folder: Path,
    *,
    devices: Devices | None = None,
    validate: Validate | None = None,
    save: Save = lambda weights, path: write_safetensors(weights, path, {}),
    flops: Callable[[Any], int] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> dict[str, Tensor]:
    """Run to config.num_steps, from the folder's checkpoint if it has one; returns the weights to deliver.

    Those are the running mean if config.optim.ema is set. validate is given them and the number of steps done; where it
    answers with a "validation/score", the weights of the highest are kept in folder/best.safetensors, written by save.
    flops: floating point operations of a batch, for the share of the device's peak (MFU) among the metrics. Every process of
    the run calls this; the first of them validates, saves and reports. Raises InputError when the loss or its gradient is
    not finite, having left the batch in folder/failed_batch.pt, and WeightsError for a checkpoint that is damaged or of
    another run.
    """
    devices = devices or start_devices()
    accelerator = devices.accelerator
    run = _Run(model.train(), step, config, folder, devices)
    first_step = run.resume()
    share = Share(accelerator.process_index, accelerator.num_processes)
    is_first = accelerator.is_main_process
    with MetricWriter(folder if is_first else None, first_step) as writer:
        skipped = SkippedItems(folder)
        watch = _Watch(config, devices, flops, report if is_first else None, skipped)
        steps = watch.clock.timed(batches(source, config, first_step, share, skipped.add))
        for number, parts in enumerate(steps, start=first_step):
            metrics, norm = run.update(parts, number)
            watch.add(parts)

            done, is_last = number + 1, number + 1 == config.num_steps
            if done % config.log_every == 0 or is_last:
                means = fold_calibration(reduce_means(devices, metrics))
                speed = watch.tick(done, means["loss"])
                writer.write(done, {**means, "gradient_norm": norm, **speed})
            # Before the checkpoint: killed in between, the resumed run validates again.
            if validate is not None and (done % config.validate_every == 0 or is_last):
                with watch.clock.paused():
                    weights = run.weights()
                    if is_first:
                        with torch.random.fork_rng(devices=[]):
                            found = validate(weights, done)
                        writer.write(done, found)
                        writer.show(done, picture_path(folder, done))
                        run.keep_best(weights, found, save)
                    accelerator.wait_for_everyone()
            if done % config.checkpoint_every == 0 or is_last:
                with watch.clock.paused():
                    run.save(done)
    return run.weights()


class _Run:
    """The moving parts of a run: the model, its optimizer, the running mean, and the processes that share them."""

    def __init__(
        self,
        model: nn.Module,
        step: Step[Any, Any],
        config: RunConfig,
        folder: Path,
        devices: Devices,
    ) -> None:
        self.config, self.folder, self.devices = config, folder, devices
        self._whole = StepModule(model, step, config.precision)
        self._mean: dict[str, Tensor] = {}
        self._best_score: float | None = None

    def resume(self) -> int:
        """Fill everything from the folder's checkpoint; returns the number of steps done, 0 without one."""
        devices = self.devices
        state = load_checkpoint(self.folder, self.config, devices.accelerator.num_processes)
        if state is not None:
            self._whole.model.load_state_dict(state.model)
        self._module = distribute(devices, self._whole)
        self._model = model_of(devices, self._module)
        self._optimizer = build_optimizer(self._model, self.config.optim)
        if self.config.optim.ema:
            self._mean = {
                name: value.detach().clone() for name, value in self._model.state_dict().items()
            }
        separate_random_numbers(devices, self.config.seed)
        if state is None:
            return 0
        restore_optimizer_state(devices, self._model, self._optimizer, state.optimizer)
        for name, value in state.mean.items():
            if name in self._mean:
                copy_whole(self._mean[name], value)
        restore_random_state(devices, state.random_states)
        self._best_score = state.best_score
        return state.step

    def update(
        self, parts: Sequence[TrainBatch], number: int
    ) -> tuple[list[dict[str, Mean]], float]:
        """One step over this process's batches; returns what was seen in each, and the norm of the gradient."""
        config, devices, accelerator = self.config, self.devices, self.devices.accelerator
        set_learning_rate(self._optimizer, learning_rate(number, config.optim, config.num_steps))
        (total,) = sum_over_processes(devices, [sum(part.count for part in parts)])
        metrics: list[dict[str, Mean]] = []
        self._optimizer.zero_grad()
        for at, part in enumerate(parts):
            waits = at + 1 < len(parts)  # gradients are exchanged once, after the last batch
            with without_exchange(devices, self._module) if waits else nullcontext():
                loss, seen = self._module(part.to(accelerator.device), number)
                # Processes' gradients are averaged, so each counts as often as there are processes.
                accelerator.backward(loss * (accelerator.num_processes / total))
            metrics.append({"loss": Mean(loss.detach(), part.count), **seen})
        trained = [one for group in self._optimizer.param_groups for one in group["params"]]
        total_norm = torch.nn.utils.clip_grad_norm_(trained, config.optim.clip_norm or float("inf"))
        norm = float(whole(total_norm))
        self._check_finite(parts, metrics, norm, number)
        self._optimizer.step()
        if config.optim.ema:
            update_mean(self._mean, self._model, config.optim.ema, number)
        return metrics, norm

    def weights(self) -> dict[str, Tensor]:
        """The weights to deliver, whole; all processes must call it."""
        return whole_weights(self._mean if self.config.optim.ema else self._model.state_dict())

    def keep_best(self, weights: Weights, found: Mapping[str, float], save: Save) -> None:
        """Write the weights if none before had as high a score; one that is not finite does not count."""
        score = found.get(SCORE_NAME, math.nan)
        best = -math.inf if self._best_score is None else self._best_score
        if math.isfinite(score) and score > best:
            self._best_score = score
            save(weights, self.folder / BEST_NAME)

    def save(self, done: int) -> None:
        """Write a checkpoint; all processes must call it."""
        state = TrainState(
            step=done,
            model=whole_weights(self._model.state_dict()),
            mean=whole_weights(self._mean),
            optimizer=whole_optimizer_state(self.devices, self._model, self._optimizer),
            random_states=random_states(self.devices),
            best_score=self._best_score,
        )
        if self.devices.accelerator.is_main_process:
            save_checkpoint(self.folder, state, self.config)
        self.devices.accelerator.wait_for_everyone()

    def _check_finite(
        self,
        parts: Sequence[TrainBatch],
        metrics: Sequence[Mapping[str, Mean]],
        norm: float,
        number: int,
    ) -> None:
        loss = sum(float(one["loss"].total) for one in metrics)
        for name, value in (("loss", loss), ("gradient", norm)):
            if not math.isfinite(value):
                reason = f"the {name} is not finite"
                # The gradient is that of all processes, so all come here; one copy of the weights is enough.
                weights = whole_weights(self._model.state_dict())
                rank = self.devices.accelerator.process_index
                path = save_failed_batch(
                    self.folder,
                    parts,
                    {} if rank else weights,
                    step=number,
                    reason=reason,
                    rank=rank,
                )
                raise InputError(
                    f"{reason} at step {number}; lower the learning rate (the batch is in {path})"
                )


class _Watch:
    """Measures speed between two logged steps, and tells whoever watches."""

    def __init__(
        self,
        config: RunConfig,
        devices: Devices,
        flops: Callable[[Any], int] | None,
        report: Callable[[Progress], None] | None,
        skipped: SkippedItems,
    ) -> None:
        self.clock = StepClock()
        self._devices = devices
        self._skipped = skipped
        self._num_steps = config.num_steps
        self._num_processes = devices.accelerator.num_processes
        self._flops = flops
        self._report = report
        self._steps, self._images, self._operations = 0, 0, 0
        device = devices.accelerator.device
        is_cuda = device.type == "cuda"
        self._peak = (
            peak_flops(torch.cuda.get_device_name(device), config.precision) if is_cuda else None
        )

    def add(self, parts: Sequence[TrainBatch]) -> None:
        """Count a step's batches."""
        self._steps += 1
        self._images += sum(part.num_images for part in parts)
        if self._flops is not None:
            self._operations += sum(map(self._flops, parts))

    def tick(self, done: int, loss: float) -> dict[str, float]:
        """Speed since the last call, as metrics; images of all processes."""
        elapsed = self.clock.read()
        operations = None if self._flops is None else self._operations
        speed = elapsed.speed(self._images, operations, self._peak)
        speed["images_per_second"] *= self._num_processes
        num_skipped = int(sum_over_processes(self._devices, [self._skipped.count])[0])
        speed["skipped"] = num_skipped
        if self._report is not None:
            left = elapsed.seconds / self._steps * (self._num_steps - done)
            rate = speed["images_per_second"]
            self._report(Progress(done, self._num_steps, loss, rate, left, num_skipped))
        self._steps, self._images, self._operations = 0, 0, 0
        return speed
