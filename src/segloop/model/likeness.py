"""How near and how like to the prompt each place of the image is: maps that a compact model adds to its dense prompt.

Attention can learn both from the tokens alone, as the official model does, but a small model trained on little data does not
get there (docs/default-model.md). All maps lie between 0 and 1. Shape letters: N prompts, T tokens, P image positions in row
order, C channels, J groups of channels, K maps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_GROUPS = 4
# Standard deviations in cells: of the patch a click stands for, and of the maps of nearness.
PATCH_SPREAD = 0.7
SPREADS = (1.5, 5.0, 15.0)
NUM_CLICK_MAPS = len(SPREADS) + 2 * NUM_GROUPS
_FIRST_SHARPNESS = 4.0


class ClickMaps(nn.Module):
    """Maps of the background clicks, then of the foreground clicks, and a vector for each to paint it with.

    Of each kind: nearness at three scales, likeness to the clicked patch in each group of channels, and that likeness faded
    with distance. Where several clicks are near or alike, the most counts.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(2 * NUM_CLICK_MAPS, width)
        self.sharpness = nn.Parameter(torch.full((NUM_GROUPS,), _FIRST_SHARPNESS))

    def forward(self, features: Tensor, coords: Tensor, labels: Tensor, stride: int) -> Tensor:
        """Maps (N, K, P) of clicks at coords (N, T, 2) in input pixels; only labels (N, T) 0 and 1 count.

        features: (N or 1, C, G, G), a cell of which is stride input pixels wide.
        """
        size = features.shape[-1]
        cells = torch.arange(size, device=coords.device, dtype=coords.dtype) + 0.5
        squares = ((coords[..., None] + 0.5) / stride - cells) ** 2  # (N, T, 2, G)
        patch, *near = (_bump(squares, spread) for spread in (PATCH_SPREAD, *SPREADS))
        patch = patch / patch.sum(dim=-1, keepdim=True).clamp(min=1e-6)
        own = patch @ features.flatten(2).transpose(1, 2)  # (N, T, C)
        own = F.normalize(own.unflatten(-1, (NUM_GROUPS, -1)), dim=-1).transpose(1, 2)
        alike = _likeness(own, *_groups(features), self.sharpness)  # (N, J, T, P)
        maps = torch.cat([torch.stack(near, dim=1), alike, alike * near[-1][:, None]], dim=1)
        return torch.cat([_most(maps, labels == kind) for kind in (0, 1)], dim=1)


class RegionMaps(nn.Module):
    """Maps of likeness to what a mask prompt holds and to what it leaves out, and a vector for each to paint it with."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(2 * NUM_GROUPS, width)
        self.sharpness = nn.Parameter(torch.full((NUM_GROUPS,), _FIRST_SHARPNESS))

    def forward(self, features: Tensor, mask_logits: Tensor) -> Tensor:
        """Maps (N, K, P) of mask logits (N, 1, 4G, 4G) over features (N or 1, C, G, G)."""
        keys, inverse_lengths = _groups(features)
        inside = F.avg_pool2d(torch.sigmoid(mask_logits), 4).flatten(1)
        weights = torch.stack([inside, 1.0 - inside], dim=1)  # (N, 2, P)
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-3)
        sums = (weights[:, None] * inverse_lengths) @ keys.transpose(-1, -2)  # (N, J, 2, C/J)
        means = F.normalize(sums, dim=-1)
        return _likeness(means, keys, inverse_lengths, self.sharpness).flatten(1, 2)


def _bump(squares: Tensor, spread: float) -> Tensor:
    """Gaussians (N, T, P) from squared distances (N, T, 2, G) along x and y in cells."""
    x, y = torch.exp(squares * (-0.5 / spread**2)).unbind(dim=2)
    return (y[..., :, None] * x[..., None, :]).flatten(2)


def _groups(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, C, G, G) as (N, J, C/J, P), and one over their length in each group (N, J, 1, P).

    Apart, because lengths are cheaper put on what few samples give than on all features; the sum is a product, because
    runtimes are slow to reduce an axis that is not the last.
    """
    groups = features.flatten(2).unflatten(1, (NUM_GROUPS, -1))
    ones = groups.new_ones(1, groups.shape[2])
    return groups, (ones @ groups.square()).clamp(min=1e-24).rsqrt()


def _likeness(samples: Tensor, keys: Tensor, inverse_lengths: Tensor, sharpness: Tensor) -> Tensor:
    """(N, J, S, P), from unit samples (N, J, S, C/J) and groups of features: 1 at an angle of 0, falling off with it."""
    cosines = (samples @ keys) * inverse_lengths
    return torch.exp((cosines - 1.0) * sharpness[:, None, None])


def _most(maps: Tensor, chosen: Tensor) -> Tensor:
    """The largest over the chosen tokens (N, T) of maps (N, K, T, P), none of which is below 0: (N, K, P)."""
    masked = maps * chosen[:, None, :, None].to(maps.dtype)
    nothing = masked.new_zeros(*masked.shape[:2], 1, masked.shape[-1])  # for prompts without tokens
    return torch.cat([masked, nothing], dim=2).amax(dim=2)
