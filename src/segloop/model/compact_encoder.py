"""A convolutional encoder for CPUs and browsers: an EfficientNet-Lite trunk and a feature pyramid down to stride 8.

The trunk (Tan and Le 2019, the Lite variants without squeeze-and-excitation and with ReLU6) has its batch norms folded into
the convolutions, as it is meant to start from pretrained weights (see segloop.weights.imagenet). Padding follows the
original: more at the bottom and right where a stride of 2 leaves a choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from segloop.model.config import CompactConfig
from segloop.model.layers import LayerNorm2d


@dataclass(frozen=True)
class Stage:
    """One row of the EfficientNet-B0 table: blocks of one width; only the first has the stride."""

    num_blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM_WIDTH = 32
# Width and depth multipliers of Lite0, Lite1, Lite2.
MULTIPLIERS = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))


class SameConv2d(nn.Conv2d):
    """A convolution padded so that the output is the input's size divided by the stride, as TensorFlow's SAME."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(width_in, width_out, kernel, stride, groups=groups)
        before = (kernel - stride) // 2
        self.pads = (before, kernel - stride - before) * 2
        if self.pads[0] == self.pads[1]:
            self.padding = (before, before)
            self.pads = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W) whose sides the stride divides."""
        return super().forward(F.pad(x, self.pads) if any(self.pads) else x)


class InvertedBottleneck(nn.Module):
    """Widen by a 1x1, filter each channel, narrow by a 1x1; a residual where the shape stays."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = width_in * expansion
        self.expand = SameConv2d(width_in, inner, 1) if expansion > 1 else nn.Identity()
        self.filter = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv2d(inner, width_out, 1)
        self.has_residual = stride == 1 and width_in == width_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        inner = x if isinstance(self.expand, nn.Identity) else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.filter(inner)))
        return x + out if self.has_residual else out


class Trunk(nn.Module):
    """EfficientNet-Lite without its classifier."""

    def __init__(self, variant: int) -> None:
        super().__init__()
        self.variant = variant
        width_factor, depth_factor = MULTIPLIERS[variant]
        self.stem = SameConv2d(3, STEM_WIDTH, 3, stride=2)
        self.stages = nn.ModuleList()
        self.widths: list[int] = []
        width_in = STEM_WIDTH
        for index, stage in enumerate(STAGES):
            is_end = index in (0, len(STAGES) - 1)
            num_blocks = stage.num_blocks if is_end else math.ceil(depth_factor * stage.num_blocks)
            width = round_width(stage.width * width_factor)
            strides = [stage.stride] + [1] * (num_blocks - 1)
            inputs = [width_in] + [width] * (num_blocks - 1)
            self.stages.append(
                nn.Sequential(
                    *(
                        InvertedBottleneck(before, width, stage.kernel, stride, stage.expansion)
                        for before, stride in zip(inputs, strides, strict=True)
                    )
                )
            )
            self.widths.append(width)
            width_in = width

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Feature maps of strides 4, 8, 16 and 32 for images (B, 3, S, S)."""
        x = F.relu6(self.stem(images))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1], maps[2], maps[4], maps[6]


class CompactEncoder(nn.Module):
    """Image embedding (B, C, G, G) of prepared inputs (B, 3, S, S), S a multiple of 32, G = S / 8."""

    def __init__(self, config: CompactConfig, out_channels: int) -> None:
        super().__init__()
        assert config.stride == 8, "the pyramid ends at stride 8"
        self.trunk = Trunk(config.variant)
        widths = self.trunk.widths
        width = config.pyramid_width
        self.lateral4 = nn.Conv2d(widths[1], width, 2, stride=2)
        self.lateral8 = nn.Conv2d(widths[2], width, 1)
        self.lateral16 = nn.Conv2d(widths[4], width, 1)
        self.lateral32 = nn.Conv2d(widths[6], width, 1)
        self.smooth32 = nn.Conv2d(width, width, 3, padding=1)
        self.smooth16 = nn.Conv2d(width, width, 3, padding=1)
        self.neck = nn.Sequential(
            LayerNorm2d(width),
            nn.Conv2d(width, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode; every level adds to the next finer one."""
        map4, map8, map16, map32 = self.trunk(images)
        top = F.relu(self.smooth32(self.lateral32(map32)))
        middle = F.relu(self.smooth16(self.lateral16(map16) + upsample(top)))
        fine = self.lateral8(map8) + self.lateral4(map4) + upsample(middle)
        return self.neck(fine)


def upsample(x: Tensor) -> Tensor:
    """Twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def round_width(width: float) -> int:
    """The nearest multiple of 8, but never a tenth narrower than asked (EfficientNet's rule)."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded
