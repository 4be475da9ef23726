"""Prompts become tokens and a dense image-sized embedding (paper appendix A, figure 14)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from segloop.model.layers import LayerNorm2d, Paint
from segloop.model.likeness import ClickMaps, RegionMaps

NUM_LABELS = 4


class PositionCode(nn.Module):
    """Random Fourier features of a place in the image; the matrix is fixed, but must be saved with the model."""

    matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(2, width // 2))

    def forward(self, unit_xy: Tensor) -> Tensor:
        """Code (..., D) of points (..., 2) that run from 0 to 1 over the padded input square."""
        angles = (2.0 * unit_xy - 1.0) @ self.matrix * (2.0 * math.pi)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self, size: int) -> Tensor:
        """Code (1, P, D) of the centres of a size x size grid of cells, row by row."""
        axis = (torch.arange(size, device=self.matrix.device, dtype=self.matrix.dtype) + 0.5) / size
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        return self(torch.stack([x, y], dim=-1)).flatten(0, 1)[None]


class PromptEncoder(nn.Module):
    """Points, box corners, text vectors and masks in the language of the decoder.

    width is the embedding's number of channels; a projection for text exists only where text_width is given, and maps of
    what is near and like a prompt only where likeness_maps is set.
    """

    def __init__(
        self,
        width: int,
        mask_widths: tuple[int, int],
        text_width: int | None = None,
        *,
        likeness_maps: bool = False,
    ) -> None:
        super().__init__()
        self.position_code = PositionCode(width)
        self.label_vectors = nn.ModuleList(nn.Embedding(1, width) for _ in range(NUM_LABELS))
        self.padding_vector = nn.Embedding(1, width)
        self.no_mask_vector = nn.Embedding(1, width)
        first, second = mask_widths
        self.mask_layers = nn.Sequential(
            nn.Conv2d(1, first, 2, stride=2),
            LayerNorm2d(first),
            nn.GELU(),
            nn.Conv2d(first, second, 2, stride=2),
            LayerNorm2d(second),
            nn.GELU(),
            nn.Conv2d(second, width, 1),
        )
        self.click_maps = ClickMaps(width) if likeness_maps else None
        self.region_maps = RegionMaps(width) if likeness_maps else None
        self.text_projection = None if text_width is None else nn.Linear(text_width, width)

    def encode_points(self, coords: Tensor, labels: Tensor, input_size: int) -> Tensor:
        """Tokens (N, T, D) of points and box corners (N, T, 2) in input pixels.

        labels (N, T): -1 padding, 0 background, 1 foreground, 2 top left and 3 bottom right of a box. A pixel's
        place is its centre, half a pixel from its corner.
        """
        code = self.position_code((coords + 0.5) / input_size)
        code = code * (labels >= 0)[..., None]
        known = [label.get_parameter("weight") for label in self.label_vectors]
        vectors = torch.cat([self.padding_vector.weight, *known])
        return code + vectors[labels + 1]

    def encode_text(self, text: Tensor) -> Tensor:
        """One token (N, 1, D) for each text vector (N, C) (paper §7.5)."""
        if self.text_projection is None:
            raise ValueError("this model was built without a text projection")
        return self.text_projection(text)[:, None]

    def encode_masks(
        self, features: Tensor, mask_logits: Tensor | None, has_mask: Tensor | None
    ) -> Tensor:
        """Dense embedding (N, P, D) of mask logits (N, 1, 4G, 4G); "no mask" where has_mask (N,) is 0.

        features: (N or 1, C, G, G), which only likeness_maps look at. Without any mask it is (1, 1, D), the same for every
        prompt and place.
        """
        no_mask = self.no_mask_vector.weight[None]
        if mask_logits is None:
            return no_mask
        dense = self.mask_layers(mask_logits).flatten(2).transpose(1, 2)
        if self.region_maps is not None:
            maps = self.region_maps(features, mask_logits)
            dense = dense + Paint(maps, self.region_maps.vectors.weight).spread()
        if has_mask is None:
            return dense
        return torch.where(has_mask[:, None, None] > 0, dense, no_mask)

    def encode_clicks(
        self, features: Tensor, coords: Tensor, labels: Tensor, stride: int
    ) -> Paint | None:
        """What clicks paint on the dense embedding, or None where this model paints nothing.

        features: (N or 1, C, G, G), of stride input pixels a cell; other arguments as for encode_points.
        """
        if self.click_maps is None:
            return None
        maps = self.click_maps(features, coords, labels, stride)
        return Paint(maps, self.click_maps.vectors.weight)
