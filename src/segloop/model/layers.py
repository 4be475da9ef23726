"""Small layers shared by the encoders and the decoder.

Shape letters: N prompts, T tokens, P image positions, D model width, H heads, I inner width of an attention.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, H, W); eps 1e-6 as in the official code."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position over its channels."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers of the given widths with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(before, after) for before, after in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis from the first width to the last."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Attention(nn.Module):
    """Multi-head attention whose projections may be narrower than the model (paper appendix A).

    Between a few tokens and thousands of image positions the image side needs no projection of its own: by associativity
    each can be folded into the tokens. The key bias then drops out of the softmax and the value bias passes through it,
    since weights sum to one. The folded forms are exact and cheaper while T x H stays below about half of D.
    """

    def __init__(self, width: int, inner_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, inner_width)
        self.k_proj = nn.Linear(width, inner_width)
        self.v_proj = nn.Linear(width, inner_width)
        self.out_proj = nn.Linear(inner_width, width)

    @property
    def scale(self) -> float:
        """Factor on the dot products: one over the root of a head's width."""
        return float(self.q_proj.out_features // self.num_heads) ** -0.5

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from (N, Q, D) to keys and values (N, K, D); a batch of 1 on either side is broadcast."""
        q, k, v = (
            self._split(self.q_proj(queries)),
            self._split(self.k_proj(keys)),
            self._split(self.v_proj(values)),
        )
        weights = torch.softmax(q * self.scale @ k.transpose(-1, -2), dim=-1)
        attended = (weights @ v).transpose(1, 2)
        return self.out_proj(attended.flatten(2))

    def tokens_to_image(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """forward() for token queries (N, T, D) and image keys and values (N or 1, P, D), folded."""
        num_prompts, num_tokens, width = queries.shape
        q = self._split(self.q_proj(queries)) * self.scale
        key_weight = self.k_proj.weight.view(self.num_heads, -1, width)
        folded = (q @ key_weight).flatten(1, 2)  # (N, H*T, D)
        weights = torch.softmax(_matmul_shared(folded, keys.transpose(-1, -2)), dim=-1)
        gathered = _matmul_shared(weights, values).view(
            num_prompts, self.num_heads, num_tokens, width
        )
        value_weight = self.v_proj.weight.view(self.num_heads, -1, width)
        attended = (gathered @ value_weight.transpose(-1, -2)).transpose(1, 2).flatten(2)
        return self.out_proj(attended + self.v_proj.bias)

    def image_to_tokens(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """forward() for image queries (N or 1, P, D) and token keys and values (N, T, D), folded."""
        width = keys.shape[-1]
        k = self._split(self.k_proj(keys)) * self.scale
        v = self._split(self.v_proj(values))
        query_weight = self.q_proj.weight.view(self.num_heads, -1, width)
        query_bias = self.q_proj.bias.view(self.num_heads, -1, 1)
        folded_keys = (k @ query_weight).flatten(1, 2)  # (N, H*T, D)
        offsets = (k @ query_bias).flatten(1)[:, None]  # (N, 1, H*T)
        logits = queries @ folded_keys.transpose(-1, -2) + offsets
        weights = torch.softmax(logits.unflatten(-1, (self.num_heads, -1)), dim=-1).flatten(-2)
        out_weight = self.out_proj.weight.view(width, self.num_heads, -1).permute(1, 2, 0)
        folded_values = (v @ out_weight).flatten(1, 2)  # (N, H*T, D)
        return weights @ folded_values + self.out_proj.bias

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (N, H, T, I/H)


def _matmul_shared(left: Tensor, right: Tensor) -> Tensor:
    """Product of left (N, A, B) and right (N or 1, B, C); one product where the right side is shared."""
    return left @ (right[0] if right.shape[0] == 1 else right)
