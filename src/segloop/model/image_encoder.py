"""The heavy image encoder: a plain ViT adapted to 1024 pixels as in ViTDet (paper appendix A).

Most blocks attend within windows, a few over the whole grid. Shape letters: B images, G side of the grid of patches,
D width, S side of an attended square (a window or the grid), H heads, E width of a head.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segloop.model.config import ViTConfig
from segloop.model.layers import LayerNorm2d


class ImageEncoder(nn.Module):
    """Image embedding (B, out_channels, G, G) of prepared inputs (B, 3, input_size, input_size).

    There is no class token and no final norm. drop_path is the chance that the last block's residual branches are
    skipped in training, growing linearly from 0 at the first. Set `checkpointing` to recompute blocks in the backward
    pass instead of keeping their activations.
    """

    def __init__(
        self, config: ViTConfig, input_size: int, out_channels: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if input_size % config.patch_size:
            raise ValueError(f"patches of {config.patch_size} do not tile an input of {input_size}")
        width, grid_size = config.width, input_size // config.patch_size
        self.checkpointing = False
        self.patch_embedding = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.position_table = nn.Parameter(torch.zeros(1, grid_size, grid_size, width))
        self.blocks = nn.ModuleList(
            Block(config, grid_size, is_global=index in config.global_blocks)
            for index in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )
        nn.init.trunc_normal_(self.position_table, std=0.02)
        self.set_drop_path(drop_path)

    def set_drop_path(self, maximum: float) -> None:
        """Let each block skip its branches with a chance from 0 (first) to maximum (last) while training."""
        last = max(1, len(self.blocks) - 1)
        for index, block in enumerate(self.blocks):
            cast("Block", block).drop_path = maximum * index / last

    def forward(self, images: Tensor) -> Tensor:
        """Encode."""
        x = self.patch_embedding(images).permute(0, 2, 3, 1)  # (B, G, G, D)
        x = x + self.position_table
        recompute = self.checkpointing and self.training
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        return self.neck(x.permute(0, 3, 1, 2))


class Block(nn.Module):
    """Attention and an MLP, each after a norm and with a residual; the attention is in windows unless global."""

    def __init__(self, config: ViTConfig, grid_size: int, is_global: bool) -> None:
        super().__init__()
        width = config.width
        inner = int(width * config.mlp_ratio)
        self.window_size = None if is_global else config.window_size
        self.drop_path = 0.0
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = RelativeAttention(width, config.num_heads, self.window_size or grid_size)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Renew the grid (B, G, G, D)."""
        x = x + self._drop(self._attend(self.norm1(x)))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        if self.window_size is None:
            return self.attention(x)
        windows = split_windows(x, self.window_size)
        return join_windows(self.attention(windows), x.shape[1])

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return branch
        kept = 1.0 - self.drop_path
        keep = torch.rand(len(branch), 1, 1, 1, device=branch.device) < kept
        return branch * keep.to(branch.dtype) / kept


class RelativeAttention(nn.Module):
    """Multi-head attention over an S x S square, with learned relative positions split into height and width.

    A query adds to each key's score its own dot product with the vectors of the two distances; the query is not scaled
    there, unlike in its product with the key.
    """

    def __init__(self, width: int, num_heads: int, size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.size = size
        self.qkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.relative_height = nn.Parameter(torch.zeros(2 * size - 1, width // num_heads))
        self.relative_width = nn.Parameter(torch.zeros(2 * size - 1, width // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each square of (B, S, S, D)."""
        places = self.size * self.size
        qkv = self.qkv(x).reshape(len(x), places, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # each (B, H, S*S, E)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=self.position_bias(q))
        # A true copy: how the attention lays out its result differs between eager and export, and a view would not trace.
        joined = attended.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        return self.out_proj(joined.reshape(x.shape))

    def position_bias(self, q: Tensor) -> Tensor:
        """What relative position adds to the scores (B, H, S*S, S*S) of queries (B, H, S*S, E)."""
        steps = torch.arange(self.size, device=q.device)
        distance = steps[:, None] - steps[None, :] + self.size - 1
        square = q.reshape(*q.shape[:2], self.size, self.size, -1)
        rows = torch.einsum("bnyxe,yke->bnyxk", square, self.relative_height[distance])
        columns = torch.einsum("bnyxe,xke->bnyxk", square, self.relative_width[distance])
        return (rows[..., :, None] + columns[..., None, :]).flatten(4, 5).flatten(2, 3)


def split_windows(x: Tensor, size: int) -> Tensor:
    """Cut (B, G, G, D) into windows (B * number, size, size, D), padded with zeros at the bottom and right.

    The zeros take part in the attention like any other place (official code).
    """
    grid_size, width = x.shape[1], x.shape[3]
    pad = -grid_size % size
    count = (grid_size + pad) // size
    padded = F.pad(x, (0, 0, 0, pad, 0, pad))
    cut = padded.reshape(-1, count, size, count, size, width).transpose(2, 3)
    return cut.reshape(-1, size, size, width)


def join_windows(windows: Tensor, grid_size: int) -> Tensor:
    """Undo split_windows, dropping the padding."""
    size, width = windows.shape[1], windows.shape[3]
    count = -(-grid_size // size)
    padded = windows.reshape(-1, count, count, size, size, width).transpose(2, 3)
    return padded.reshape(-1, count * size, count * size, width)[:, :grid_size, :grid_size]
