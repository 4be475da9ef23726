"""A masked autoencoder: the ViT sees a quarter of an image's patches, a small decoder guesses the rest (He et al. 2022).

The blocks carry the names of those in segloop.model.image_encoder, so that a trained encoder starts a Sam (paper appendix
A). Here they attend to all visible patches at once: no windows, no relative positions. Shape letters: B images, N patches
of an image, K visible ones, D width, P numbers in a patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segloop.model.config import ViTConfig, model_config


@dataclass(frozen=True)
class MaeConfig:
    """Sizes of the encoder, of its input square in pixels, and of the decoder."""

    encoder: ViTConfig
    input_size: int = 224
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16

    @property
    def grid_size(self) -> int:
        """Patches to a side."""
        return self.input_size // self.encoder.patch_size


def mae_config(model: str, input_size: int = 224) -> MaeConfig:
    """For the encoder of a row of segloop.model.config.MODELS; a toy has a toy decoder. ValueError for no ViT."""
    encoder = model_config(model).encoder
    if not isinstance(encoder, ViTConfig):
        raise ValueError(f"{model} has no ViT to pretrain")
    if encoder.width < 256:
        return MaeConfig(encoder, input_size, encoder.width, 2, encoder.num_heads)
    return MaeConfig(encoder, input_size)


class MaskedAutoencoder(nn.Module):
    """Predicts the hidden patches of images from the visible ones."""

    def __init__(self, config: MaeConfig) -> None:
        super().__init__()
        encoder, width, size = config.encoder, config.encoder.width, config.encoder.patch_size
        if config.input_size % size:
            raise ValueError(f"patches of {size} do not tile an input of {config.input_size}")
        self.config = config
        grid = config.grid_size
        self.patch_embedding = nn.Conv2d(3, width, size, stride=size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", sin_cos_positions(width, grid))
        inner = int(width * encoder.mlp_ratio)
        self.blocks = nn.ModuleList(
            PlainBlock(width, encoder.num_heads, inner) for _ in range(encoder.depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

        narrow = config.decoder_width
        self.decoder_embedding = nn.Linear(width, narrow)
        self.hidden_token = nn.Parameter(torch.zeros(1, 1, narrow))
        self.register_buffer("decoder_positions", sin_cos_positions(narrow, grid))
        self.decoder_blocks = nn.ModuleList(
            PlainBlock(narrow, config.decoder_heads, 4 * narrow)
            for _ in range(config.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(narrow, eps=1e-6)
        self.prediction = nn.Linear(narrow, 3 * size * size)
        self._start()

    def _start(self) -> None:
        """Random weights as in the official code."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        nn.init.normal_(self.class_token, std=0.02)
        nn.init.normal_(self.hidden_token, std=0.02)

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """Class token and visible patches (B, 1 + K, D) of images (B, 3, S, S); visible (B, K) are their numbers."""
        positions = self.get_buffer("positions")
        patches = self.patch_embedding(images).flatten(2).transpose(1, 2) + positions[:, 1:]
        shown = patches.gather(1, visible[..., None].expand(-1, -1, patches.shape[2]))
        first = (self.class_token + positions[:, :1]).expand(len(images), -1, -1)
        x = torch.cat([first, shown], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def decode(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """All patches (B, N, P), guessed from what encode() gave."""
        narrow = self.decoder_embedding(encoded)
        positions = self.get_buffer("decoder_positions")
        hidden = self.hidden_token.to(narrow.dtype)
        whole = hidden.expand(len(narrow), positions.shape[1] - 1, -1)
        whole = whole.scatter(1, visible[..., None].expand_as(narrow[:, 1:]), narrow[:, 1:])
        x = torch.cat([narrow[:, :1], whole], dim=1) + positions
        for block in self.decoder_blocks:
            x = block(x)
        return self.prediction(self.decoder_norm(x))[:, 1:]

    def forward(self, images: Tensor, visible: Tensor) -> Tensor:
        """All patches (B, N, P) of images (B, 3, S, S), of which those numbered in visible (B, K) were seen."""
        return self.decode(self.encode(images, visible), visible)


class PlainBlock(nn.Module):
    """Attention among all tokens and an MLP, each after a norm and with a residual."""

    def __init__(self, width: int, num_heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = PlainAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Renew tokens (B, T, D)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PlainAttention(nn.Module):
    """Multi-head attention without positions of its own."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among tokens (B, T, D)."""
        count, length, width = x.shape
        qkv = self.qkv(x).reshape(count, length, 3, self.num_heads, -1)
        attended = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4).unbind())
        return self.out_proj(attended.transpose(1, 2).reshape(count, length, width))


def sin_cos_positions(width: int, grid_size: int) -> Tensor:
    """The fixed position code (1, 1 + N, width): zeros for the class token, then x and y as sines and cosines.

    Half of the numbers are for the column, half for the row; of each half the sines come first.
    """
    quarter = width // 4
    rates = 1.0 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    steps = torch.arange(grid_size, dtype=torch.float64)
    angles = steps[:, None] * rates
    code = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = code[None].expand(grid_size, -1, -1)
    rows = code[:, None].expand(-1, grid_size, -1)
    table = torch.cat([columns, rows], dim=2).flatten(0, 1).float()
    return torch.cat([torch.zeros(1, width), table])[None]


def to_patches(images: Tensor, size: int) -> Tensor:
    """Images (B, 3, S, S) as patches (B, N, size * size * 3), pixel by pixel, the three colours of each together."""
    count, colours, height, width = images.shape
    cut = images.reshape(count, colours, height // size, size, width // size, size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, size * size * colours)


def from_patches(patches: Tensor, size: int) -> Tensor:
    """The images (B, 3, S, S) of square grids of patches, as to_patches cut them."""
    count, number, _ = patches.shape
    grid = round(number**0.5)
    laid = patches.reshape(count, grid, grid, size, size, 3).permute(0, 5, 1, 3, 2, 4)
    return laid.reshape(count, 3, grid * size, grid * size)


def patch_targets(patches: Tensor) -> Tensor:
    """What is to be predicted of patches (B, N, P): each less its mean, over its standard deviation."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()
