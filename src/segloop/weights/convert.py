"""From any known checkpoint's tensors to ours and back, with the model's sizes read off the tensors' shapes.

Nothing is guessed silently: an unknown name, a missing tensor or a shape that does not fit raises WeightsError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from segloop.errors import WeightsError
from segloop.model.compact_encoder import MULTIPLIERS, Trunk
from segloop.model.config import (
    COMPACT_BLUR,
    MODELS,
    CompactConfig,
    DecoderConfig,
    ModelConfig,
    ViTConfig,
)
from segloop.model.sam import Sam
from segloop.weights.names import Naming, detect_naming, table_of

State = Mapping[str, Tensor]

DEFAULT_NUM_HEADS = 8
# Some forks save the normalisation of images as tensors; ours is fixed (segloop.data.transforms).
_IGNORED = frozenset({"pixel_mean", "pixel_std"})


def to_native(state: State) -> dict[str, Tensor]:
    """The same tensors under our names, whichever known naming they came in."""
    naming = detect_naming(state)
    if naming is None:
        raise WeightsError(
            "expected the tensors of a Segment Anything model (official, Hugging Face or segloop names), "
            f"found {len(state)} tensors{_such_as(list(state))}"
        )
    table = table_of(naming)
    if table is None:
        return dict(state)
    native: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        ours = table.to_native(name)
        if name in _IGNORED:
            continue
        if ours is None:
            unknown.append(name)
        elif ours in native and not torch.equal(native[ours], tensor):
            raise WeightsError(f"two copies of {ours} differ")
        else:
            native[ours] = tensor
    if unknown:
        raise WeightsError(
            f"expected only tensors of Segment Anything, found {len(unknown)} others{_such_as(unknown)}"
        )
    return native


def from_native(state: State, naming: Naming) -> dict[str, Tensor]:
    """Our tensors under the names of another code base; WeightsError where it has no name for one."""
    table = table_of(naming)
    if table is None:
        return dict(state)
    foreign: dict[str, Tensor] = {}
    for name, tensor in state.items():
        theirs = table.to_foreign(name)
        if theirs is None:
            raise WeightsError(
                f"there is no {naming} name for {name}: only ViT models without text have one"
            )
        foreign[theirs] = tensor
    for copy, original in table.copies.items():
        foreign[copy] = foreign[original].clone()
    return foreign


def infer_config(state: State, num_heads: int | None = None) -> ModelConfig:
    """The sizes of the model that these tensors (our names) belong to.

    One size leaves no trace in any shape: the decoder's number of heads. Where num_heads does not give it, it is that of
    the row of MODELS which agrees in all else, otherwise 8 as in the paper. Compact models are taken to fill boxes and to
    have the fast form of GELU and blurred masks.
    """
    encoder, input_size = _infer_encoder(state)
    width = _shape(state, "prompt_encoder.no_mask_vector.weight", 2)[1]
    is_compact = isinstance(encoder, CompactConfig)
    text = state.get("prompt_encoder.text_projection.weight")
    config = ModelConfig(
        encoder=encoder,
        decoder=replace(
            _infer_decoder(state), fast_gelu=is_compact, blur=COMPACT_BLUR if is_compact else 0.0
        ),
        input_size=input_size,
        width=width,
        mask_widths=(
            _shape(state, "prompt_encoder.mask_layers.0.weight", 4)[0],
            _shape(state, "prompt_encoder.mask_layers.3.weight", 4)[0],
        ),
        text_width=None if text is None else text.shape[1],
        fills_boxes=is_compact,
        likeness_maps="prompt_encoder.click_maps.vectors.weight" in state,
    )
    heads = num_heads or _tabled_num_heads(config) or DEFAULT_NUM_HEADS
    if width % heads or config.decoder.attention_width % heads:
        raise WeightsError(f"a decoder {width} wide cannot have {heads} heads; give num_heads")
    return replace(config, decoder=replace(config.decoder, num_heads=heads))


def resize_positions(
    state: State, config: ModelConfig, input_size: int
) -> tuple[dict[str, Tensor], ModelConfig]:
    """The same ViT (our names) for another input size: its position tables interpolated to the new grid.

    Absolute positions are resized bicubically, relative ones of global blocks linearly; windows keep theirs. Input sizes
    other than the trained one cost accuracy unless the model is trained further.
    """
    resized, target = dict(state), replace(config, input_size=input_size)
    if input_size == config.input_size:
        return resized, target
    if not isinstance(config.encoder, ViTConfig):
        raise WeightsError(
            "only a ViT has position tables to resize; a compact model takes its own input size"
        )
    if input_size % config.encoder.patch_size:
        raise WeightsError(
            f"an input of {input_size} is not a multiple of {config.encoder.patch_size}"
        )
    grid_size = target.grid_size
    name = "image_encoder.position_table"
    table = state[name].permute(0, 3, 1, 2)
    table = F.interpolate(table, (grid_size, grid_size), mode="bicubic", align_corners=False)
    resized[name] = table.permute(0, 2, 3, 1).contiguous()
    for index in config.encoder.global_blocks:
        for side in ("height", "width"):
            name = f"image_encoder.blocks.{index}.attention.relative_{side}"
            rows = F.interpolate(
                state[name].T[None], 2 * grid_size - 1, mode="linear", align_corners=False
            )
            resized[name] = rows[0].T.contiguous()
    return resized, target


def check_state(state: State, config: ModelConfig) -> None:
    """Raise WeightsError, in one line, unless these are the tensors of a Sam of this configuration, every one."""
    with torch.device("meta"):
        expected = Sam(config).state_dict()
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    if missing or extra:
        raise WeightsError(
            f"expected {len(expected)} tensors, found {len(state)}: {len(missing)} missing{_such_as(missing)}, "
            f"{len(extra)} unknown{_such_as(extra)}"
        )
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise WeightsError(
                f"expected {name} of shape {tuple(tensor.shape)}, found {tuple(state[name].shape)}"
            )


def _infer_encoder(state: State) -> tuple[ViTConfig | CompactConfig, int]:
    if "image_encoder.trunk.stem.weight" in state:
        return _infer_compact(state), MODELS["compact"].input_size
    prefix = "image_encoder.blocks"
    width, _, patch_size, _ = _shape(state, "image_encoder.patch_embedding.weight", 4)
    grid_size = _shape(state, "image_encoder.position_table", 4)[1]
    depth = _count(state, f"{prefix}.#.attention.qkv.weight")
    tables = [_shape(state, f"{prefix}.{i}.attention.relative_height", 2) for i in range(depth)]
    if not tables:
        raise WeightsError("expected the blocks of a ViT, found none")
    sizes = [(rows + 1) // 2 for rows, _ in tables]
    windows = sorted(set(sizes) - {grid_size})
    if len(windows) > 1:
        raise WeightsError(
            f"expected windows of one size and a grid of {grid_size}, found {windows}"
        )
    vit = ViTConfig(
        width=width,
        depth=depth,
        num_heads=width // tables[0][1],
        global_blocks=tuple(index for index, size in enumerate(sizes) if size == grid_size),
        patch_size=patch_size,
        window_size=windows[0] if windows else ViTConfig.window_size,
        mlp_ratio=_shape(state, f"{prefix}.0.mlp.0.weight", 2)[0] / width,
    )
    return vit, grid_size * patch_size


def _infer_compact(state: State) -> CompactConfig:
    """The variant whose trunk has these shapes; the input size leaves no trace and is the table's."""
    prefix = "image_encoder.trunk."
    found = {name[len(prefix) :]: t.shape for name, t in state.items() if name.startswith(prefix)}
    width = _shape(state, "image_encoder.lateral8.weight", 4)[0]
    for variant in range(len(MULTIPLIERS)):
        with torch.device("meta"):
            trunk = Trunk(variant).state_dict()
        if found == {name: tensor.shape for name, tensor in trunk.items()}:
            return CompactConfig(variant, pyramid_width=width)
    raise WeightsError("expected the trunk of an EfficientNet-Lite 0, 1 or 2, found another")


def _infer_decoder(state: State) -> DecoderConfig:
    layer = "mask_decoder.layers.0"
    return DecoderConfig(
        depth=_count(state, "mask_decoder.layers.#.norm1.weight"),
        mlp_width=_shape(state, f"{layer}.mlp.layers.0.weight", 2)[0],
        attention_width=_shape(state, f"{layer}.token_to_image.q_proj.weight", 2)[0],
        upscale_widths=(
            _shape(state, "mask_decoder.upscale1.weight", 4)[1],
            _shape(state, "mask_decoder.upscale2.weight", 4)[1],
        ),
        iou_width=_shape(state, "mask_decoder.iou_head.layers.0.weight", 2)[0],
        iou_depth=_count(state, "mask_decoder.iou_head.layers.#.weight"),
    )


def _tabled_num_heads(config: ModelConfig) -> int | None:
    for row in MODELS.values():
        heads = row.decoder.num_heads
        same_heads = replace(config, decoder=replace(config.decoder, num_heads=heads))
        if replace(same_heads, text_width=None) == row:
            return heads
    return None


def _shape(state: State, name: str, num_axes: int) -> Sequence[int]:
    if name not in state:
        raise WeightsError(f"expected a tensor {name}, found none among {len(state)}")
    shape = tuple(state[name].shape)
    if len(shape) != num_axes or not math.prod(shape):
        raise WeightsError(f"expected {name} with {num_axes} axes, found shape {shape}")
    return shape


def _count(state: State, template: str) -> int:
    count = 0
    while template.replace("#", str(count)) in state:
        count += 1
    return count


def _such_as(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
