"""Masked autoencoders from and to files, and what a Sam takes from one (paper appendix A).

Read: the official .pth files, with or without their decoder, and our own .safetensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from segloop.errors import WeightsError
from segloop.model.config import ViTConfig
from segloop.model.image_encoder import ImageEncoder
from segloop.model.mae import MaeConfig, MaskedAutoencoder
from segloop.model.sam import Sam
from segloop.weights.load import read_tensors, write_safetensors
from segloop.weights.names import NameTable

_CONFIG_KEY = "segloop_mae_config"
# The official code has width / 64 heads, but in its largest model.
_HEADS_BY_WIDTH = {1280: 16}
_DECODER = ("decoder_", "hidden_token", "prediction")

MAE_NAMES = NameTable(
    (
        ("class_token", "cls_token"),
        ("positions", "pos_embed"),
        ("patch_embedding", "patch_embed.proj"),
        ("blocks.#.norm1", "blocks.#.norm1"),
        ("blocks.#.attention.qkv", "blocks.#.attn.qkv"),
        ("blocks.#.attention.out_proj", "blocks.#.attn.proj"),
        ("blocks.#.norm2", "blocks.#.norm2"),
        ("blocks.#.mlp.0", "blocks.#.mlp.fc1"),
        ("blocks.#.mlp.2", "blocks.#.mlp.fc2"),
        ("norm", "norm"),
        ("decoder_embedding", "decoder_embed"),
        ("hidden_token", "mask_token"),
        ("decoder_positions", "decoder_pos_embed"),
        ("decoder_blocks.#.norm1", "decoder_blocks.#.norm1"),
        ("decoder_blocks.#.attention.qkv", "decoder_blocks.#.attn.qkv"),
        ("decoder_blocks.#.attention.out_proj", "decoder_blocks.#.attn.proj"),
        ("decoder_blocks.#.norm2", "decoder_blocks.#.norm2"),
        ("decoder_blocks.#.mlp.0", "decoder_blocks.#.mlp.fc1"),
        ("decoder_blocks.#.mlp.2", "decoder_blocks.#.mlp.fc2"),
        ("decoder_norm", "decoder_norm"),
        ("prediction", "decoder_pred"),
    ),
    {},
)


def is_mae(path: str | Path) -> bool:
    """Whether a weights file holds a masked autoencoder; WeightsError for a file that cannot be read."""
    names = read_tensors(path)[0]
    return {"cls_token", "pos_embed"} <= names.keys() or {
        "class_token",
        "positions",
    } <= names.keys()


def load_mae(path: str | Path) -> MaskedAutoencoder:
    """The autoencoder in a file, in evaluation mode; a decoder that the file lacks is drawn at random.

    Raises WeightsError for a file that is missing, damaged, or of something else.
    """
    state, config, _ = _read(path)
    model = MaskedAutoencoder(config)
    loaded = {name: value.float() for name, value in state.items()}
    model.load_state_dict({**model.state_dict(), **loaded})
    return model.eval()


def save_mae(config: MaeConfig, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Write an autoencoder to a .safetensors file, whole or not at all."""
    state = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_safetensors(state, Path(path), {_CONFIG_KEY: json.dumps(asdict(config))})


def load_mae_encoder(path: str | Path, sam: Sam) -> None:
    """Fill the image encoder of a Sam from an autoencoder, in place (paper appendix A).

    The class token and the final norm are dropped. The position code is resized bicubically to the Sam's grid, and so are
    patches of another size (official ViT-H: 14 pixels for 16). Relative positions and the neck stay as they were. Raises
    WeightsError for a file that load_mae would not take, and where the sizes do not fit.
    """
    state, config, is_inferred = _read(path)
    encoder = sam.image_encoder
    if not isinstance(encoder, ImageEncoder) or not isinstance(sam.config.encoder, ViTConfig):
        raise WeightsError(
            f"{path}: a masked autoencoder starts a ViT, this model is a compact one"
        )
    found, wanted = config.encoder, sam.config.encoder
    if (found.width, found.depth) != (wanted.width, wanted.depth):
        raise WeightsError(
            f"{path}: a ViT {found.width} wide and {found.depth} deep, this model is {wanted.width} "
            f"wide and {wanted.depth} deep"
        )
    if not is_inferred and found.num_heads != wanted.num_heads:
        raise WeightsError(
            f"{path}: a ViT of {found.num_heads} heads, this model has {wanted.num_heads}"
        )
    own = encoder.state_dict()
    blocks = {name: value for name, value in state.items() if name.startswith("blocks.")}
    _check_shapes(blocks, own, path)
    own.update({name: value.float() for name, value in blocks.items()})
    own["patch_embedding.bias"] = state["patch_embedding.bias"].float()
    own["patch_embedding.weight"] = _resized(state["patch_embedding.weight"], wanted.patch_size)
    table = state["positions"][:, 1:]
    grid = round(table.shape[1] ** 0.5)
    square = table.reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    own["position_table"] = _resized(square, sam.config.grid_size).permute(0, 2, 3, 1)
    encoder.load_state_dict(own)


def _resized(squares: Tensor, side: int) -> Tensor:
    if squares.shape[-1] == side:
        return squares.float()
    return F.interpolate(squares.float(), (side, side), mode="bicubic", align_corners=False)


def _has_decoder(state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("decoder_blocks.") for name in state)


def _read(path: str | Path) -> tuple[dict[str, Tensor], MaeConfig, bool]:
    """Tensors under our names, all that the configuration asks for, and whether it had to be inferred from them."""
    state, stored = _read_native(path)
    config = stored or _infer_config(state, str(path))
    try:
        with torch.device("meta"):
            own = MaskedAutoencoder(config).state_dict()
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise WeightsError(f"{path}: no masked autoencoder has the sizes in it") from error
    optional = () if _has_decoder(state) else _DECODER
    missing = [name for name in own if name not in state and not name.startswith(optional)]
    extra = [name for name in state if name not in own]
    if missing or extra:
        some = ", ".join((missing + extra)[:3])
        raise WeightsError(
            f"{path}: no masked autoencoder of these sizes: {len(missing)} tensors missing, "
            f"{len(extra)} unknown, such as {some}"
        )
    _check_shapes(state, own, path)
    return state, config, stored is None


def _check_shapes(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path
) -> None:
    """Raise WeightsError for the first tensor of another shape than the wanted one of its name."""
    for name, value in found.items():
        if value.shape != wanted[name].shape:
            raise WeightsError(
                f"{path}: expected {name} of shape {tuple(wanted[name].shape)}, "
                f"found {tuple(value.shape)}"
            )


def _read_native(path: str | Path) -> tuple[dict[str, Tensor], MaeConfig | None]:
    """Tensors under our names, and the configuration if the file holds ours."""
    tensors, _ = read_tensors(path)
    if "class_token" in tensors:
        try:
            with safe_open(Path(path), framework="pt") as stored:
                text = (stored.metadata() or {}).get(_CONFIG_KEY)
        except SafetensorError:  # our names in a file of PyTorch's
            text = None
        return tensors, None if text is None else _config_from_json(text, str(path))
    state = {}
    for name, value in tensors.items():
        native = MAE_NAMES.to_native(name)
        if native is None:
            raise WeightsError(f"{path}: expected a masked autoencoder, found the tensor {name!r}")
        state[native] = value
    return state, None


def _config_from_json(text: str, path: str) -> MaeConfig:
    try:
        fields: dict[str, Any] = json.loads(text)
        encoder = fields.pop("encoder")
        encoder["global_blocks"] = tuple(encoder["global_blocks"])
        return MaeConfig(encoder=ViTConfig(**encoder), **fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: the configuration in the file is damaged or of a later version"
        ) from error


def _infer_config(state: Mapping[str, Tensor], path: str) -> MaeConfig:
    """What the shapes say; a decoder that is not there is the official one."""
    try:
        width, _, patch_size, _ = state["patch_embedding.weight"].shape
        inner = state["blocks.0.mlp.0.weight"].shape[0]
        grid = math.isqrt(state["positions"].shape[1] - 1)
        encoder = ViTConfig(
            width=width,
            depth=_depth(state, "blocks"),
            num_heads=_HEADS_BY_WIDTH.get(width, max(1, width // 64)),
            global_blocks=(),
            patch_size=patch_size,
            mlp_ratio=inner / width,
        )
        if not _has_decoder(state):
            return MaeConfig(encoder, grid * patch_size)
        narrow = state["decoder_embedding.weight"].shape[0]
        depth, heads = _depth(state, "decoder_blocks"), max(1, narrow // 32)
        return MaeConfig(encoder, grid * patch_size, narrow, depth, heads)
    except (LookupError, ValueError, ArithmeticError) as error:
        raise WeightsError(f"{path}: expected a masked autoencoder, found none") from error


def _depth(state: Mapping[str, Tensor], part: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in state if name.startswith(f"{part}."))
