"""The processes and devices of a run, through Accelerate: one laptop, or many nodes under torchrun.

Nothing else in training asks how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from segloop.backends.torch import find_device
from segloop.errors import InputError
from segloop.model.image_encoder import Block
from segloop.model.mae import PlainBlock
from segloop.model.mask_decoder import TwoWayLayer
from segloop.train.step import Mean, Step, TrainBatch

# What is put together for its own computation only, where each process holds a share of the weights.
_LAYERS = (Block, PlainBlock, TwoWayLayer)

# How long the processes wait for one another: one validates while the others do nothing, and NCCL gives up after 10 minutes.
_PATIENCE = timedelta(days=1)
_DEVICE_VARIABLE = "ACCELERATE_TORCH_DEVICE"

Sharding = Literal["replicate", "shard"]


@dataclass(frozen=True)
class Devices:
    """Where this process stands in the run. sharding: each holds all weights (DDP), or its share of them (FSDP)."""

    accelerator: Accelerator
    sharding: Sharding = "replicate"

    @property
    def is_sharded(self) -> bool:
        """Whether this process holds a share of the weights only."""
        return self.sharding == "shard" and self.accelerator.num_processes > 1


def start_devices(device: str = "cpu", sharding: Sharding = "replicate") -> Devices:
    """Join the processes that torchrun started, or be the only one.

    device: cpu, mps, cuda (each process takes its own GPU) or cuda:N. Raises InputError for a device that is not there.
    """
    name, _, index = device.partition(":")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "no CUDA device here; train with --device cpu, or install a CUDA build of torch"
        )
    find_device(device)
    # Accelerate keeps settings and device for the whole process, in part in its environment; a second run may have others.
    os.environ.pop(_DEVICE_VARIABLE, None)
    if index:
        os.environ[_DEVICE_VARIABLE] = device
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    # A step without a box, or without a mask prompt, leaves the vectors for it without gradient.
    ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
    group = InitProcessGroupKwargs(timeout=_PATIENCE)
    return Devices(Accelerator(cpu=name == "cpu", kwargs_handlers=[ddp, group]), sharding)


class StepModule(nn.Module):
    """A step as the forward pass of a module, which is what can be copied to, or shared by, several processes."""

    def __init__(self, model: nn.Module, step: Step[Any, Any], precision: str) -> None:
        super().__init__()
        self.model = model
        self.step = step
        self.is_half = precision == "bfloat16"

    def forward(self, batch: TrainBatch, number: int) -> tuple[Tensor, dict[str, Mean]]:
        """Take the step."""
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.is_half):
            output = self.step(self.model, batch, number)
        return output.loss, output.metrics


def distribute(devices: Devices, module: StepModule) -> nn.Module:
    """The module as this process is to call it; its weights are copied from the first process, or divided among all."""
    module = module.to(devices.accelerator.device)
    if devices.is_sharded:
        for layer in [one for one in module.modules() if isinstance(one, _LAYERS)]:
            fully_shard(layer)
        fully_shard(module)
        return module
    return devices.accelerator.prepare_model(module)


@contextmanager
def without_exchange(devices: Devices, module: nn.Module) -> Iterator[None]:
    """Within, backward passes add to this process's gradients and leave the exchange to a later one."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(False)
        yield
        module.set_requires_gradient_sync(True)
        return
    with devices.accelerator.no_sync(module):
        yield


def model_of(devices: Devices, module: nn.Module) -> nn.Module:
    """The model inside what distribute() gave."""
    inner = module if devices.is_sharded else devices.accelerator.unwrap_model(module)
    assert isinstance(inner, StepModule)
    return inner.model


def sum_over_processes(devices: Devices, values: Sequence[float]) -> list[float]:
    """Each value added up over all processes."""
    if devices.accelerator.num_processes == 1:
        return list(values)
    kind = torch.float32 if devices.accelerator.device.type == "mps" else torch.float64
    local = torch.tensor(values, dtype=kind, device=devices.accelerator.device)
    return [float(value) for value in devices.accelerator.reduce(local, "sum")]


def reduce_means(devices: Devices, parts: Sequence[Mapping[str, Mean]]) -> dict[str, float]:
    """The means over all batches of all processes; what nothing counted for is left out."""
    names = list(parts[0])
    flat = [
        sum(float(value) for value in values)
        for name in names
        for values in (
            [part[name].total for part in parts],
            [part[name].count for part in parts],
        )
    ]
    sums = sum_over_processes(devices, flat)
    return {
        name: sums[2 * at] / sums[2 * at + 1]
        for at, name in enumerate(names)
        if sums[2 * at + 1] > 0
    }


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or put together from the processes' shares of it; all processes must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights on the CPU, whole even where each process holds a share; all processes must call it."""
    return {name: whole(value).detach().cpu() for name, value in weights.items()}


def copy_whole(target: Tensor, value: Tensor) -> None:
    """Write a whole tensor into one of which each process may hold a share."""
    if isinstance(target, DTensor):
        value = distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    target.copy_(value)


def whole_optimizer_state(
    devices: Devices, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The optimizer's state, whole; all processes must call it."""
    if devices.is_sharded:
        return get_optimizer_state_dict(model, optimizer, options=_WHOLE)
    return optimizer.state_dict()


def restore_optimizer_state(
    devices: Devices,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Put back what whole_optimizer_state gave, but for the settings of the groups: those stay the optimizer's own."""
    settings = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    if devices.is_sharded:
        set_optimizer_state_dict(model, optimizer, state, options=_WHOLE)
    else:
        optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def separate_random_numbers(devices: Devices, seed: int) -> None:
    """Give each process random numbers of its own, which the seed and its place among them decide.

    The weights are made of the same numbers everywhere; what a step draws, skipped blocks and dropout, must not be.
    """
    words = np.random.SeedSequence((seed, devices.accelerator.process_index))
    torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def random_states(devices: Devices) -> Tensor:
    """The state of every process's generators for the CPU and for its device, one row a process."""
    accelerator = devices.accelerator
    states = [torch.get_rng_state()]
    if accelerator.device.type == "cuda":
        states.append(torch.cuda.get_rng_state(accelerator.device))
    elif accelerator.device.type == "mps":
        states.append(torch.mps.get_rng_state())
    own = torch.cat(states)[None]
    if accelerator.num_processes == 1:
        return own
    gathered: Tensor = accelerator.gather(own.to(accelerator.device))
    return gathered.cpu()


def restore_random_state(devices: Devices, states: Tensor) -> None:
    """Set this process's generators to what random_states saw."""
    own, device = states[devices.accelerator.process_index], devices.accelerator.device
    length = len(torch.get_rng_state())
    # Copies: a generator takes a view into other rows for something else.
    torch.set_rng_state(own[:length].clone())
    if device.type == "cuda" and len(own) > length:
        torch.cuda.set_rng_state(own[length:].clone(), device)
    elif device.type == "mps" and len(own) > length:
        torch.mps.set_rng_state(own[length:].clone())


# Not strict: what never had a gradient, such as the biases of keys, has no state.
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)
