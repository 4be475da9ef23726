"""Every model's sizes in one table, a toy among them.

Two kinds of encoder share one prompt encoder and one decoder: a ViT as in paper appendix A, and a compact
convolutional one for CPUs and browsers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ViTConfig:
    """A plain ViT with windowed attention and a few global blocks (paper appendix A)."""

    width: int
    depth: int
    num_heads: int
    global_blocks: tuple[int, ...]
    patch_size: int = 16
    window_size: int = 14
    mlp_ratio: float = 4.0

    @property
    def stride(self) -> int:
        """Input pixels per embedding cell."""
        return self.patch_size


@dataclass(frozen=True)
class CompactConfig:
    """An EfficientNet-Lite trunk and a feature pyramid down to one grid.

    variant 0, 1 or 2 is the EfficientNet-Lite size; stride is the grid's, in input pixels.
    """

    variant: int
    pyramid_width: int = 128
    stride: int = 8


@dataclass(frozen=True)
class DecoderConfig:
    """The two-way mask decoder (paper appendix A).

    attention_width is the inner width of the attentions between tokens and image; upscale_widths the channels after each
    of the two upscalings. fast_gelu: masks are drawn with the tanh form of GELU, which is within .0005 and takes half the
    time in a browser. blur: a Gaussian of this many logit pixels smooths the masks, for nothing else in the decoder makes
    neighbouring cells agree.
    """

    num_heads: int = 8
    depth: int = 2
    mlp_width: int = 2048
    attention_width: int = 128
    upscale_widths: tuple[int, int] = (64, 32)
    iou_width: int = 256
    iou_depth: int = 3
    fast_gelu: bool = False
    blur: float = 0.0


@dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build a Sam; width is the embedding's number of channels.

    fills_boxes: a box brings its filled rectangle along as a mask prompt (see segloop.prompts.prompt.pack).
    likeness_maps: what is near and like clicks and masks is painted on the dense prompt (see segloop.model.likeness).
    """

    encoder: ViTConfig | CompactConfig
    decoder: DecoderConfig = DecoderConfig()
    input_size: int = 1024
    width: int = 256
    mask_widths: tuple[int, int] = (4, 16)
    text_width: int | None = None
    fills_boxes: bool = False
    likeness_maps: bool = False

    @property
    def grid_size(self) -> int:
        """Side of the embedding in cells."""
        return self.input_size // self.encoder.stride

    @property
    def logit_size(self) -> int:
        """Side of the low-resolution mask logits: four to an embedding cell."""
        return 4 * self.grid_size


COMPACT_BLUR = 1.0

_COMPACT_DECODER = DecoderConfig(
    num_heads=2,
    mlp_width=512,
    attention_width=64,
    upscale_widths=(32, 16),
    iou_width=128,
    fast_gelu=True,
    blur=COMPACT_BLUR,
)

MODELS: dict[str, ModelConfig] = {
    "vit_h": ModelConfig(ViTConfig(1280, 32, 16, (7, 15, 23, 31))),
    "vit_l": ModelConfig(ViTConfig(1024, 24, 16, (5, 11, 17, 23))),
    "vit_b": ModelConfig(ViTConfig(768, 12, 12, (2, 5, 8, 11))),
    # The one that made SA-1B (paper appendix B).
    "vit_h_generator": ModelConfig(
        ViTConfig(1280, 32, 16, (7, 15, 23, 31)), DecoderConfig(depth=3)
    ),
    "compact": ModelConfig(
        CompactConfig(variant=0),
        _COMPACT_DECODER,
        input_size=512,
        width=128,
        fills_boxes=True,
        likeness_maps=True,
    ),
    # The configuration of the official outputs in tests/golden.
    "tiny": ModelConfig(
        ViTConfig(48, 4, 3, (1, 3), window_size=7),
        DecoderConfig(4, 2, 64, 16, (8, 4), 32),
        input_size=256,
        width=32,
    ),
    "toy": ModelConfig(
        ViTConfig(32, 2, 2, (1,), patch_size=8, window_size=4),
        DecoderConfig(2, 2, 64, 16, (8, 4), 32),
        input_size=64,
        width=32,
    ),
}


def model_config(name: str) -> ModelConfig:
    """The row of the table; ValueError names the rows there are."""
    if name not in MODELS:
        raise ValueError(f"no model size {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name]


def with_text(config: ModelConfig, text_width: int) -> ModelConfig:
    """The same model taking a text vector of text_width numbers as one more sparse token (paper §7.5)."""
    return replace(config, text_width=text_width)
