"""The processes and devices of a run, through Accelerate: one laptop, or many nodes under torchrun.

Nothing else in training asks how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
)
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from segloop.errors import InputError
from segloop.train.step import Mean, Step, TrainBatch

Sharding = Literal["replicate", "shard"]
_SHARDED_LAYERS = ["Block", "TwoWayLayer"]


def start_accelerator(
    device: str = "cpu", precision: str = "float32", sharding: Sharding = "replicate"
) -> Accelerator:
    """Join the processes that torchrun started, or be the only one.

    device: cpu, mps, cuda (each process takes its own GPU) or cuda:N. sharding: every process holds all weights (DDP), or
    its share of them (FSDP). Raises InputError for a device that is not there.
    """
    name, _, index = device.partition(":")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "no CUDA device here; train with --device cpu, or install a CUDA build of torch"
        )
    if index:
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    # Accelerate keeps its settings for the whole process; a second run may have others.
    AcceleratorState._reset_state()
    plugin = None
    if sharding == "shard":
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=_SHARDED_LAYERS,
        )
    return Accelerator(
        cpu=name == "cpu",
        mixed_precision="bf16" if precision == "bfloat16" else "no",
        fsdp_plugin=plugin,
        # A step without a box, or without a mask prompt, leaves the vectors for it without gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


class StepModule(nn.Module):
    """A step as the forward pass of a module, which is what can be copied to, or shared by, several processes."""

    def __init__(self, model: nn.Module, step: Step[Any, Any]) -> None:
        super().__init__()
        self.model = model
        self.step = step

    def forward(self, batch: TrainBatch, number: int) -> tuple[Tensor, dict[str, Mean]]:
        """Take the step."""
        output = self.step(self.model, batch, number)
        return output.loss, output.metrics


def sum_over_processes(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    """Each value added up over all processes."""
    if accelerator.num_processes == 1:
        return list(values)
    kind = torch.float32 if accelerator.device.type == "mps" else torch.float64
    local = torch.tensor(values, dtype=kind, device=accelerator.device)
    return [float(value) for value in accelerator.reduce(local, "sum")]


def reduce_means(accelerator: Accelerator, parts: Sequence[Mapping[str, Mean]]) -> dict[str, float]:
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
    sums = sum_over_processes(accelerator, flat)
    return {
        name: sums[2 * at] / sums[2 * at + 1]
        for at, name in enumerate(names)
        if sums[2 * at + 1] > 0
    }


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a share of the weights only."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def whole_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights on the CPU, whole even where each process holds a share; all processes must call it."""
    return {
        name: (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()
        for name, value in weights.items()
    }


def copy_whole(target: Tensor, value: Tensor) -> None:
    """Write a whole tensor into one of which each process may hold a share."""
    if isinstance(target, DTensor):
        value = distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    target.copy_(value)


def whole_optimizer_state(
    accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The optimizer's state, whole; all processes must call it."""
    if is_sharded(accelerator):
        return get_optimizer_state_dict(model, optimizer, options=_WHOLE)
    return optimizer.state_dict()


def restore_optimizer_state(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Put back what whole_optimizer_state gave."""
    if is_sharded(accelerator):
        set_optimizer_state_dict(model, optimizer, state, options=_WHOLE)
    else:
        optimizer.load_state_dict(state)


def random_states(accelerator: Accelerator) -> Tensor:
    """The state of every process's generators for the CPU and for its device, one row a process."""
    states = [torch.get_rng_state()]
    if accelerator.device.type == "cuda":
        states.append(torch.cuda.get_rng_state(accelerator.device))
    own = torch.cat(states)[None].to(accelerator.device)
    gathered: Tensor = accelerator.gather(own)
    return gathered.cpu()


def restore_random_state(accelerator: Accelerator, states: Tensor) -> None:
    """Set this process's generators to what random_states saw."""
    own = states[accelerator.process_index]
    length = len(torch.get_rng_state())
    # Copies: a generator takes a view into other rows for something else.
    torch.set_rng_state(own[:length].clone())
    if accelerator.device.type == "cuda" and len(own) > length:
        torch.cuda.set_rng_state(own[length:].clone(), accelerator.device)


_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
