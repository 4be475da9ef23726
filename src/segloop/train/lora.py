"""Low-rank updates (LoRA, Hu et al. 2021): a weight keeps its value, and a product of two thin matrices is learned on top.

What is added has few numbers, so it learns from few images and forgets little; merged into the weights it leaves an
ordinary model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from segloop.model.image_encoder import RelativeAttention
from segloop.model.layers import Attention
from segloop.model.sam import Sam

_BASE = ".parametrizations.weight.original"
_DOWN, _UP, _SCALE = (f".parametrizations.weight.0.{name}" for name in ("down", "up", "scale"))


@dataclass(frozen=True)
class LoraConfig:
    """rank: of each update, less where the weight has less. alpha: the update is multiplied by alpha / rank.

    parts: of the model that get updates, by the beginnings of their names.
    """

    rank: int = 8
    alpha: float = 16.0
    parts: tuple[str, ...] = ("image_encoder.", "mask_decoder.")


class LowRank(nn.Module):
    """The update of one weight, of any shape whose first axis is the outputs; it begins as nothing."""

    def __init__(self, weight: Tensor, config: LoraConfig) -> None:
        super().__init__()
        outputs, inputs = weight.shape[0], weight[0].numel()
        rank = min(config.rank, outputs, inputs)
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(config.alpha / config.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its update."""
        return _updated(weight, self.down, self.up, self.scale)


def add_lora(model: Sam, config: LoraConfig = LoraConfig()) -> Sam:
    """Put an update on the weights that lora_layers names in config.parts, in place, and let nothing else learn.

    Returns the model. Until it is trained it computes what it did. Its state names the updates as well, see merge_lora.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name, layer in lora_layers(model).items():
        if name.startswith(config.parts):
            weight = cast("Tensor", layer.weight)
            parametrize.register_parametrization(layer, "weight", LowRank(weight, config))
    return model


def lora_layers(model: Sam) -> dict[str, nn.Module]:
    """The layers that can get one, by name: projections of all attentions, and a compact encoder's 1x1 convolutions."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        parts: tuple[str, ...] = ()
        if isinstance(module, Attention):
            parts = ("q_proj", "k_proj", "v_proj", "out_proj")
        elif isinstance(module, RelativeAttention):
            parts = ("qkv", "out_proj")
        found |= {f"{name}.{part}": getattr(module, part) for part in parts}
        is_pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
        if is_pointwise and name.startswith("image_encoder."):
            found[name] = module
    return found


def base_names(model: Sam) -> tuple[str, ...]:
    """The parameters of a model with updates that are none of them: what stays as it was."""
    return tuple(name for name, _ in model.named_parameters() if not name.endswith((_DOWN, _UP)))


def merge_lora(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of an ordinary model from that of one with updates; other states come back as they are."""
    merged: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.endswith(_BASE):
            layer = name.removesuffix(_BASE)
            update = (weights[layer + part] for part in (_DOWN, _UP, _SCALE))
            merged[f"{layer}.weight"] = _updated(value, *update)
        elif not name.endswith((_DOWN, _UP, _SCALE)):
            merged[name] = value
    return merged


def _updated(weight: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
    return weight + scale * (up @ down).view_as(weight)
