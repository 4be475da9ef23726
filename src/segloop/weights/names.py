"""What other code bases call our tensors: reversible tables, a row per module, `#` for any index.

A name is a row's prefix and a tail such as `.weight` that stays as it is. No row's prefix continues another's, so at most
one row fits a name, in either direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Naming = Literal["native", "official", "huggingface"]

_OFFICIAL_ROWS = (
    ("image_encoder.patch_embedding", "image_encoder.patch_embed.proj"),
    ("image_encoder.position_table", "image_encoder.pos_embed"),
    ("image_encoder.blocks.#.norm1", "image_encoder.blocks.#.norm1"),
    ("image_encoder.blocks.#.attention.qkv", "image_encoder.blocks.#.attn.qkv"),
    ("image_encoder.blocks.#.attention.out_proj", "image_encoder.blocks.#.attn.proj"),
    ("image_encoder.blocks.#.attention.relative_height", "image_encoder.blocks.#.attn.rel_pos_h"),
    ("image_encoder.blocks.#.attention.relative_width", "image_encoder.blocks.#.attn.rel_pos_w"),
    ("image_encoder.blocks.#.norm2", "image_encoder.blocks.#.norm2"),
    ("image_encoder.blocks.#.mlp.0", "image_encoder.blocks.#.mlp.lin1"),
    ("image_encoder.blocks.#.mlp.2", "image_encoder.blocks.#.mlp.lin2"),
    ("image_encoder.neck", "image_encoder.neck"),
    (
        "prompt_encoder.position_code.matrix",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    ("prompt_encoder.label_vectors.#", "prompt_encoder.point_embeddings.#"),
    ("prompt_encoder.padding_vector", "prompt_encoder.not_a_point_embed"),
    ("prompt_encoder.no_mask_vector", "prompt_encoder.no_mask_embed"),
    ("prompt_encoder.mask_layers", "prompt_encoder.mask_downscaling"),
    ("mask_decoder.iou_token", "mask_decoder.iou_token"),
    ("mask_decoder.mask_tokens", "mask_decoder.mask_tokens"),
    ("mask_decoder.layers.#.self_attention", "mask_decoder.transformer.layers.#.self_attn"),
    (
        "mask_decoder.layers.#.token_to_image",
        "mask_decoder.transformer.layers.#.cross_attn_token_to_image",
    ),
    ("mask_decoder.layers.#.mlp.layers.0", "mask_decoder.transformer.layers.#.mlp.lin1"),
    ("mask_decoder.layers.#.mlp.layers.1", "mask_decoder.transformer.layers.#.mlp.lin2"),
    (
        "mask_decoder.layers.#.image_to_token",
        "mask_decoder.transformer.layers.#.cross_attn_image_to_token",
    ),
    ("mask_decoder.layers.#.norm1", "mask_decoder.transformer.layers.#.norm1"),
    ("mask_decoder.layers.#.norm2", "mask_decoder.transformer.layers.#.norm2"),
    ("mask_decoder.layers.#.norm3", "mask_decoder.transformer.layers.#.norm3"),
    ("mask_decoder.layers.#.norm4", "mask_decoder.transformer.layers.#.norm4"),
    ("mask_decoder.final_attention", "mask_decoder.transformer.final_attn_token_to_image"),
    ("mask_decoder.final_norm", "mask_decoder.transformer.norm_final_attn"),
    ("mask_decoder.upscale1", "mask_decoder.output_upscaling.0"),
    ("mask_decoder.upscale_norm", "mask_decoder.output_upscaling.1"),
    ("mask_decoder.upscale2", "mask_decoder.output_upscaling.3"),
    ("mask_decoder.mask_heads.#", "mask_decoder.output_hypernetworks_mlps.#"),
    ("mask_decoder.iou_head", "mask_decoder.iou_prediction_head"),
)

# Hugging Face numbers only the middle layers of its MLPs, so its table fits heads of three layers, which every
# published model has.
_HUGGINGFACE_ROWS = (
    ("image_encoder.patch_embedding", "vision_encoder.patch_embed.projection"),
    ("image_encoder.position_table", "vision_encoder.pos_embed"),
    ("image_encoder.blocks.#.norm1", "vision_encoder.layers.#.layer_norm1"),
    ("image_encoder.blocks.#.attention.qkv", "vision_encoder.layers.#.attn.qkv"),
    ("image_encoder.blocks.#.attention.out_proj", "vision_encoder.layers.#.attn.proj"),
    ("image_encoder.blocks.#.attention.relative_height", "vision_encoder.layers.#.attn.rel_pos_h"),
    ("image_encoder.blocks.#.attention.relative_width", "vision_encoder.layers.#.attn.rel_pos_w"),
    ("image_encoder.blocks.#.norm2", "vision_encoder.layers.#.layer_norm2"),
    ("image_encoder.blocks.#.mlp.0", "vision_encoder.layers.#.mlp.lin1"),
    ("image_encoder.blocks.#.mlp.2", "vision_encoder.layers.#.mlp.lin2"),
    ("image_encoder.neck.0", "vision_encoder.neck.conv1"),
    ("image_encoder.neck.1", "vision_encoder.neck.layer_norm1"),
    ("image_encoder.neck.2", "vision_encoder.neck.conv2"),
    ("image_encoder.neck.3", "vision_encoder.neck.layer_norm2"),
    ("prompt_encoder.position_code.matrix", "shared_image_embedding.positional_embedding"),
    ("prompt_encoder.label_vectors.#", "prompt_encoder.point_embed.#"),
    ("prompt_encoder.padding_vector", "prompt_encoder.not_a_point_embed"),
    ("prompt_encoder.no_mask_vector", "prompt_encoder.no_mask_embed"),
    ("prompt_encoder.mask_layers.0", "prompt_encoder.mask_embed.conv1"),
    ("prompt_encoder.mask_layers.1", "prompt_encoder.mask_embed.layer_norm1"),
    ("prompt_encoder.mask_layers.3", "prompt_encoder.mask_embed.conv2"),
    ("prompt_encoder.mask_layers.4", "prompt_encoder.mask_embed.layer_norm2"),
    ("prompt_encoder.mask_layers.6", "prompt_encoder.mask_embed.conv3"),
    ("mask_decoder.iou_token", "mask_decoder.iou_token"),
    ("mask_decoder.mask_tokens", "mask_decoder.mask_tokens"),
    ("mask_decoder.layers.#.self_attention", "mask_decoder.transformer.layers.#.self_attn"),
    (
        "mask_decoder.layers.#.token_to_image",
        "mask_decoder.transformer.layers.#.cross_attn_token_to_image",
    ),
    ("mask_decoder.layers.#.mlp.layers.0", "mask_decoder.transformer.layers.#.mlp.lin1"),
    ("mask_decoder.layers.#.mlp.layers.1", "mask_decoder.transformer.layers.#.mlp.lin2"),
    (
        "mask_decoder.layers.#.image_to_token",
        "mask_decoder.transformer.layers.#.cross_attn_image_to_token",
    ),
    ("mask_decoder.layers.#.norm1", "mask_decoder.transformer.layers.#.layer_norm1"),
    ("mask_decoder.layers.#.norm2", "mask_decoder.transformer.layers.#.layer_norm2"),
    ("mask_decoder.layers.#.norm3", "mask_decoder.transformer.layers.#.layer_norm3"),
    ("mask_decoder.layers.#.norm4", "mask_decoder.transformer.layers.#.layer_norm4"),
    ("mask_decoder.final_attention", "mask_decoder.transformer.final_attn_token_to_image"),
    ("mask_decoder.final_norm", "mask_decoder.transformer.layer_norm_final_attn"),
    ("mask_decoder.upscale1", "mask_decoder.upscale_conv1"),
    ("mask_decoder.upscale_norm", "mask_decoder.upscale_layer_norm"),
    ("mask_decoder.upscale2", "mask_decoder.upscale_conv2"),
    ("mask_decoder.mask_heads.#.layers.0", "mask_decoder.output_hypernetworks_mlps.#.proj_in"),
    ("mask_decoder.mask_heads.#.layers.1", "mask_decoder.output_hypernetworks_mlps.#.layers.0"),
    ("mask_decoder.mask_heads.#.layers.2", "mask_decoder.output_hypernetworks_mlps.#.proj_out"),
    ("mask_decoder.iou_head.layers.0", "mask_decoder.iou_prediction_head.proj_in"),
    ("mask_decoder.iou_head.layers.1", "mask_decoder.iou_prediction_head.layers.0"),
    ("mask_decoder.iou_head.layers.2", "mask_decoder.iou_prediction_head.proj_out"),
)

# Hugging Face states hold the position code twice; files hold it once or twice, as the version that wrote them did.
_HUGGINGFACE_COPIES = {
    "prompt_encoder.shared_embedding.positional_embedding": "shared_image_embedding.positional_embedding"
}

_SIGNS: dict[Naming, tuple[str, ...]] = {
    "native": ("image_encoder.patch_embedding.weight", "image_encoder.trunk.stem.weight"),
    "official": ("image_encoder.patch_embed.proj.weight",),
    "huggingface": ("vision_encoder.patch_embed.projection.weight",),
}


class NameTable:
    """One foreign naming and ours. copies are foreign names of tensors that another foreign name holds as well."""

    def __init__(self, rows: Iterable[tuple[str, str]], copies: dict[str, str]) -> None:
        pairs = tuple(rows)
        self.copies = copies
        self._to_native = [(_pattern(foreign), _template(native)) for native, foreign in pairs]
        self._to_foreign = [(_pattern(native), _template(foreign)) for native, foreign in pairs]

    def to_native(self, name: str) -> str | None:
        """Our name for a foreign one; None where the table has no row for it."""
        return _rename(self.copies.get(name, name), self._to_native)

    def to_foreign(self, name: str) -> str | None:
        """The foreign name for ours; None where that code base has no such tensor."""
        return _rename(name, self._to_foreign)


def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(re.escape(prefix).replace(r"\#", r"(\d+)") + r"(?P<tail>(\.\w+)*)")


def _template(prefix: str) -> str:
    return prefix.replace("#", "{}")


def _rename(name: str, rows: list[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, template in rows:
        match = pattern.fullmatch(name)
        if match:
            return template.format(*match.groups()) + match["tail"]
    return None


OFFICIAL = NameTable(_OFFICIAL_ROWS, {})
HUGGINGFACE = NameTable(_HUGGINGFACE_ROWS, _HUGGINGFACE_COPIES)


def detect_naming(names: Iterable[str]) -> Naming | None:
    """Which code base wrote tensors of these names; None where it is none that we know."""
    present = set(names)
    for naming, signs in _SIGNS.items():
        if present.intersection(signs):
            return naming
    return None


def table_of(naming: Naming) -> NameTable | None:
    """The table of a foreign naming; None for our own, which needs none."""
    return {"official": OFFICIAL, "huggingface": HUGGINGFACE}.get(naming)
