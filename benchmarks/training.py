"""How fast a model trains on a GPU, and the share of the device's peak that its operations take (MFU).

Run: python -m benchmarks.training [--recipe vit_b] [--batch-size 4] [--masks 16]. Measures the encoder alone, there and
back, as written and translated by torch.compile; then whole updates as the recipe takes them. Without a CUDA
device it says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import medians, write_table
from segloop.geometry.frames import BoolArray
from segloop.model.sam import Sam
from segloop.train.config import TrainConfig
from segloop.train.devices import StepModule
from segloop.train.optim import build_optimizer, learning_rate, set_learning_rate
from segloop.train.recipes.sam import vit_b, vit_h, vit_l
from segloop.train.run import build_model
from segloop.train.sam_step import Batch, sam_step
from segloop.train.throughput import SamFlops, count_sam_flops, peak_flops

RECIPES: dict[str, Callable[[], TrainConfig]] = {"vit_b": vit_b, "vit_l": vit_l, "vit_h": vit_h}
TIMES = 20
WAYS = ("eager", "compiled")


@dataclass(frozen=True)
class Speed:
    """One thing measured: median seconds of a batch. mfu: None for a device whose peak is not known.

    memory_bytes: the most that was held on the GPU.
    """

    what: str
    seconds: float
    images_per_second: float
    mfu: float | None
    memory_bytes: int | None


def training_config(recipe: str, batch_size: int, num_masks: int) -> TrainConfig:
    """The recipe with batches of so many images of so many masks each, an update each."""
    config = RECIPES[recipe]()
    data = replace(config.data, batch_size=batch_size, max_masks=num_masks)
    return replace(config, data=data, global_batch=None)


def draw_batch(config: TrainConfig, logit_size: int) -> Batch:
    """Noise for images, ellipses of all sizes for objects, as many as the recipe has at most."""
    rng = np.random.default_rng(0)
    num_images, num_masks = config.data.batch_size, config.data.max_masks
    num_objects = num_images * num_masks
    shape = (num_images, 3, config.input_size, config.input_size)
    return Batch(
        images=torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)),
        truths=np.stack([draw_ellipse(rng, logit_size) for _ in range(num_objects)]),
        image_index=torch.arange(num_images).repeat_interleave(num_masks),
        seeds=np.arange(num_objects, dtype=np.int64),
        names=tuple(f"drawn_{number}" for number in range(num_images)),
    )


def draw_ellipse(rng: np.random.Generator, side: int) -> BoolArray:
    """A mask (side, side) that has at least a few pixels."""
    (x, y), (across, down) = rng.uniform(0.3, 0.7, 2) * side, rng.uniform(0.05, 0.3, 2) * side
    rows, columns = np.ogrid[:side, :side]
    inside = ((columns - x) / max(across, 1.5)) ** 2 + ((rows - y) / max(down, 1.5)) ** 2 < 1
    return np.asarray(inside, dtype=np.bool_)


def encoder_pass(
    model: Sam, batch: Batch, config: TrainConfig, device: torch.device
) -> Callable[[], Tensor]:
    """The encoder there and back over the batch's images, as a call."""
    images = batch.images.to(device)
    is_half = config.precision == "bfloat16"

    def call() -> Tensor:
        model.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
            features = model.encode(images)
        torch.autograd.backward(features, torch.ones_like(features))
        return features.detach()

    return call


def update(
    model: Sam, batch: Batch, config: TrainConfig, device: torch.device
) -> Callable[[], float]:
    """One update of the weights, its batch brought to the device each time as in a run; gives the loss of an object."""
    step = partial(sam_step, config=config.interaction, seed=config.seed)
    module = StepModule(model, step, config.precision)
    optimizer = build_optimizer(model, config.optim)
    set_learning_rate(optimizer, learning_rate(0, config.optim, config.num_steps))

    def call() -> float:
        optimizer.zero_grad()
        loss, _ = module(batch.to(device), 0)
        mean = loss / batch.count
        mean.backward()
        limit = config.optim.clip_norm or float("inf")
        torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        return float(mean.detach())

    return call


def measure(
    config: TrainConfig,
    device: torch.device,
    peak: float | None,
    times: int = TIMES,
    ways: Sequence[str] = WAYS,
) -> list[Speed]:
    """The encoder and whole updates in each way, on a model of their own. peak: operations a second."""
    found: list[Speed] = []
    for what, prepare in (("encoder, forward and backward", encoder_pass), ("update", update)):
        for way in ways:
            chosen = replace(config, compiles=way == "compiled")
            model = build_model(chosen, None).to(device).train()
            batch = draw_batch(chosen, model.config.logit_size)
            flops = flops_of(count_sam_flops(model), batch, chosen, is_whole=prepare is update)
            seconds, memory = timed(prepare(model, batch, chosen, device), device, times)
            mfu = None if peak is None else flops / seconds / peak
            rate = batch.num_images / seconds
            found.append(Speed(f"{what}, {way}", seconds, rate, mfu, memory))
            del model
    return found


def flops_of(counted: SamFlops, batch: Batch, config: TrainConfig, *, is_whole: bool) -> int:
    """Operations of an update, or of the encoder's part in it."""
    num_objects = batch.count if is_whole else 0
    return counted.of_step(batch.num_images, num_objects, config.interaction.num_steps)


def timed(call: Callable[[], object], device: torch.device, times: int) -> tuple[float, int | None]:
    """Median seconds of the call, after one to warm up, and on a GPU the most memory it held."""
    is_cuda = device.type == "cuda"

    def whole_call() -> None:
        call()
        if is_cuda:
            torch.cuda.synchronize(device)

    if is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    whole_call()  # with that of medians() two, since compiling may go on in the second
    seconds = medians({"call": whole_call}, times)["call"]
    return seconds, torch.cuda.max_memory_allocated(device) if is_cuda else None


def table_of(rows: Sequence[Speed]) -> list[str]:
    """The rows as Markdown."""
    return [
        "| what | median, ms | images/s | MFU | memory, MB |",
        "|---|--:|--:|--:|--:|",
        *(
            f"| {row.what} | {1000 * row.seconds:.1f} | {row.images_per_second:.2f} | "
            f"{'' if row.mfu is None else f'{row.mfu:.1%}'} | "
            f"{'' if row.memory_bytes is None else f'{row.memory_bytes / 1e6:.0f}'} |"
            for row in rows
        ),
    ]


def main() -> None:
    """Measure and write results/training.md."""
    parser = argparse.ArgumentParser(prog="benchmarks.training")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="vit_b")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--masks", type=int, default=16)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("training: no CUDA device here, nothing was measured")
        return
    device = torch.device("cuda")
    config = training_config(options.recipe, options.batch_size, options.masks)
    name = torch.cuda.get_device_name(device)
    rows = measure(config, device, peak_flops(name, config.precision))
    setting = (
        f"{config.model} at {config.input_size}, {config.precision}, batches of {options.batch_size} "
        f"images with {options.masks} masks each, {config.interaction.num_steps} rounds."
    )
    table = [setting, "", *table_of(rows)]
    threads = torch.get_num_threads()
    print(write_table("training", table, [asdict(row) for row in rows], threads, accelerator=name))


if __name__ == "__main__":
    main()
