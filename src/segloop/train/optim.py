"""AdamW with a rate per layer, its schedule, and the running mean of the weights (paper appendix A)."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn

from segloop.model.config import ViTConfig
from segloop.model.sam import Sam
from segloop.train.config import OptimConfig

_NUM_COMPACT_LAYERS = 8


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over all parameters but the frozen ones; biases, norms and position tables are not decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    freeze(model, config)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = 0.0 if parameter.ndim < 2 or "position" in name else config.weight_decay
        scale = config.layer_decay ** layers_below_top(name, model)
        groups.setdefault((decay, scale), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "scale": scale, "lr": 0.0}
            for (decay, scale), parameters in groups.items()
        ],
        lr=0.0,
        betas=config.betas,
    )


def freeze(model: nn.Module, config: OptimConfig) -> None:
    """Let all parameters learn but the frozen ones."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(config.frozen) if config.frozen else True)


def layers_below_top(name: str, model: nn.Module) -> int:
    """How many layers lie between a parameter and the encoder's top; 0 outside the encoder's body.

    In a ViT the patch and position embeddings are the lowest layer, below block 0; in the compact encoder the stem is, and
    each stage of the trunk is a layer. Other models have no layers to tell apart.
    """
    if not isinstance(model, Sam):
        return 0
    if isinstance(model.config.encoder, ViTConfig):
        num_layers, pattern = model.config.encoder.depth + 1, r"image_encoder\.blocks\.(\d+)\."
        lowest: tuple[str, ...] = ("image_encoder.patch", "image_encoder.position")
    else:
        num_layers, pattern = _NUM_COMPACT_LAYERS, r"image_encoder\.trunk\.stages\.(\d+)\."
        lowest = ("image_encoder.trunk.stem",)
    if name.startswith(lowest):
        return num_layers
    found = re.match(pattern, name)
    return num_layers - 1 - int(found.group(1)) if found else 0


def learning_rate(step: int, config: OptimConfig, num_steps: int) -> float:
    """Rate at a step, counted from 0: linear warm-up, then a tenth of it after each milestone or half a cosine to 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        done = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
        return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    cuts = sum(step >= milestone for milestone in config.milestones)
    return float(config.learning_rate * 0.1**cuts)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def update_mean(mean: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """Move the running mean of the weights, in place; early steps count more, so that the start is forgotten."""
    keep = min(decay, (1.0 + step) / (10.0 + step))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                mean[name].lerp_(value, 1.0 - keep)
            else:
                mean[name].copy_(value)
