"""Small layers shared by the encoders and the decoder.

Shape letters: N prompts, T tokens, P image positions, D model width, H heads, I inner width of an attention,
E width of a head.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RowNorm(nn.LayerNorm):
    """LayerNorm of tens of thousands of rows, which runtimes take twice as long for as for its parts: exported in parts."""

    def forward(self, x: Tensor) -> Tensor:
        """Rows (..., D) of mean 0 and variance 1, scaled."""
        if not torch.compiler.is_exporting():
            return super().forward(x)
        mean = x.mean(dim=-1, keepdim=True)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        variance = length * length / x.shape[-1] - mean * mean
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


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


class Blur(nn.Module):
    """A Gaussian over images, whose edges are repeated outwards; sigma in pixels."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.reach = math.ceil(2 * sigma)
        weights = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-self.reach, self.reach + 1)]
        self.taps = [weight / sum(weights) for weight in weights]

    def forward(self, unfolded: Tensor) -> Tensor:
        """Images (K, H, W), blurred along one axis and then along the other."""
        wide = F.pad(unfolded[:, None], [self.reach] * 4, mode="replicate")[:, 0]
        height, width = unfolded.shape[1:]
        # Sums of shifted images: PyTorch's convolution of one channel takes ten times as long.
        rows = [wide[:, at : at + height] * tap for at, tap in enumerate(self.taps)]
        tall = functools.reduce(torch.add, rows)
        columns = [tall[:, :, at : at + width] * tap for at, tap in enumerate(self.taps)]
        return functools.reduce(torch.add, columns)


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


@dataclass(frozen=True)
class Paint:
    """What each prompt adds to an image that all share: near (N, K, P) is how much of each of vectors (K, D) lies where."""

    near: Tensor
    vectors: Tensor

    def spread(self) -> Tensor:
        """The painted image (N, P, D)."""
        return self.near.transpose(1, 2) @ self.vectors


class Attention(nn.Module):
    """Multi-head attention whose projections may be narrower than the model (paper appendix A).

    forward() is the plain form. Between a few tokens and thousands of image positions two others are cheaper, and exact:

    - folded: by associativity each projection of the image can be folded into the tokens. The key bias then drops out of
      the softmax and the value bias passes through it, since weights sum to one. Cheaper while T x H stays below about
      half of D.
    - shared: where prompts look at one image, it is projected once for all of them, and what they painted on it, being
      a few vectors, is projected as such. Cheaper from a few prompts on.

    Weights run over image positions last in both, so that every pass over them is a pass over long rows.
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

    def tokens_to_shared(
        self, queries: Tensor, keys: Tensor, values: Tensor, paint: Paint | None
    ) -> Tensor:
        """forward() for token queries (N, T, D) and one image's keys and values (1, P, D), each prompt's paint on both."""
        q = self._split_rows(self.q_proj(queries)) * self.scale  # (H, N*T, E)
        v = self._split_rows(self.v_proj(values))
        weights = torch.softmax(self._shared_logits(q, queries, keys, self.k_proj, paint), dim=-1)
        attended = weights.flatten(1, 2) @ v
        if paint is not None:
            seen = (weights @ paint.near.transpose(1, 2)).flatten(1, 2)  # (H, N*T, K)
            attended = attended + seen @ self._project_paint(paint, self.v_proj)
        return self.out_proj(attended.transpose(0, 1).reshape(*queries.shape[:2], -1))

    def image_to_tokens(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """forward() for image queries (N or 1, P, D) and token keys and values (N, T, D), folded."""
        width = keys.shape[-1]
        k = self._split(self.k_proj(keys)) * self.scale
        query_weight = self.q_proj.weight.view(self.num_heads, -1, width)
        query_bias = self.q_proj.bias.view(self.num_heads, -1, 1)
        folded_keys = (k @ query_weight).flatten(1, 2)  # (N, H*T, D)
        offsets = (k @ query_bias).flatten(1, 2)  # (N, H*T, 1)
        logits = _matmul_shared(folded_keys, queries.transpose(-1, -2)) + offsets
        weights = softmax_over_rows(logits.unflatten(1, (self.num_heads, -1))).flatten(1, 2)
        return weights.transpose(1, 2) @ self._folded_values(values)

    def shared_to_tokens(
        self, queries: Tensor, keys: Tensor, values: Tensor, paint: Paint | None
    ) -> Tensor:
        """forward() for one image's queries (1, P, D), each prompt's paint on them, and token keys and values (N, T, D).

        The paint itself is added to the result (N, P, D): both are sums of few vectors, so one product makes them.
        """
        k = self._split_rows(self.k_proj(keys)) * self.scale  # (H, N*T, E)
        logits = self._shared_logits(k, keys, queries, self.q_proj, paint)  # (H, N, T, P)
        weights = softmax_over_rows(logits).transpose(0, 1).flatten(1, 2)
        folded_values = self._folded_values(values)
        if paint is not None:
            weights = torch.cat([weights, paint.near], dim=1)
            vectors = paint.vectors.expand(keys.shape[0], -1, -1)
            folded_values = torch.cat([folded_values, vectors], dim=1)
        return weights.transpose(1, 2) @ folded_values

    def _shared_logits(
        self,
        projected: Tensor,
        tokens: Tensor,
        image: Tensor,
        projection: nn.Linear,
        paint: Paint | None,
    ) -> Tensor:
        """Products (H, N, T, P) of projected tokens (H, N*T, E) with the projected image (1, P, D) and its paint."""
        sizes = tokens.shape[:2]
        places = self._split_rows(projection(image))
        logits = (projected @ places.transpose(1, 2)).unflatten(1, sizes)
        if paint is None:
            return logits
        vectors = self._project_paint(paint, projection)
        return logits + (projected @ vectors.transpose(1, 2)).unflatten(1, sizes) @ paint.near

    def _project_paint(self, paint: Paint, projection: nn.Linear) -> Tensor:
        return self._split_rows(F.linear(paint.vectors, projection.weight))  # (H, K, E)

    def _folded_values(self, values: Tensor) -> Tensor:
        """Output vectors (N, H*T, D) of the values (N, T, D), the output bias shared out among the heads."""
        v = self._split(self.v_proj(values))
        out_weight = self.out_proj.weight.unflatten(1, (self.num_heads, -1)).permute(1, 2, 0)
        return (v @ out_weight).flatten(1, 2) + self.out_proj.bias / self.num_heads

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (N, H, T, I/H)

    def _split_rows(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.num_heads, x.shape[-1] // self.num_heads)
        return rows.transpose(0, 1)  # (H, rows, I/H)


def softmax_over_rows(logits: Tensor) -> Tensor:
    """Softmax over the last axis but one, spelled out: ONNX Runtime would transpose there and back."""
    powers = (logits - logits.amax(dim=-2, keepdim=True)).exp()
    return powers / powers.sum(dim=-2, keepdim=True)


def _matmul_shared(left: Tensor, right: Tensor) -> Tensor:
    """Product of left (N, A, B) and right (N or 1, B, C); one product where the right side is shared."""
    return left @ (right[0] if right.shape[0] == 1 else right)
