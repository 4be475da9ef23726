"""The light decoder: tokens and image look at each other twice, then tokens draw the masks (paper appendix A, figure 14)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segloop.model.config import DecoderConfig
from segloop.model.layers import MLP, Attention, Blur, Paint, RowNorm

NUM_OUTPUTS = 4


class TwoWayLayer(nn.Module):
    """Tokens to tokens, tokens to image, an MLP on tokens, image to tokens; a residual and a norm after each.

    The first layer's self-attention has neither positions nor a residual: its output replaces the tokens.
    """

    def __init__(self, width: int, config: DecoderConfig, is_first: bool) -> None:
        super().__init__()
        heads, inner = config.num_heads, config.attention_width
        self.is_first = is_first
        self.self_attention = Attention(width, width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.token_to_image = Attention(width, inner, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, config.mlp_width, width)
        self.norm3 = nn.LayerNorm(width)
        self.image_to_token = Attention(width, inner, heads)
        self.norm4 = RowNorm(width)
        self.dropout = nn.Dropout(0.0)  # MaskDecoder.set_dropout

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        prompt: Tensor,
        places: Tensor,
        *,
        is_shared: bool = False,
        paint: Paint | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Renew tokens (N, T, D) and image (N or 1, P, D); prompt and places are added to queries and keys.

        is_shared: take the form of attention for one image (1, P, D) that many prompts share but for their paint.
        """
        if self.is_first:
            tokens = self.dropout(self.self_attention(tokens, tokens, tokens))
        else:
            queries = tokens + prompt
            tokens = tokens + self.dropout(self.self_attention(queries, queries, tokens))
        tokens = self.norm1(tokens)

        placed = image + places
        if is_shared:
            looked = self.token_to_image.tokens_to_shared(tokens + prompt, placed, image, paint)
        else:
            looked = look_at_image(self.token_to_image, tokens + prompt, placed, image)
        tokens = self.norm2(tokens + self.dropout(looked))
        tokens = self.norm3(tokens + self.dropout(self.mlp(tokens)))

        if is_shared:
            looked = self.image_to_token.shared_to_tokens(placed, tokens + prompt, tokens, paint)
        else:
            looked = look_at_tokens(self.image_to_token, placed, tokens + prompt, tokens)
        return tokens, self.norm4(image + self.dropout(looked))


class Upscale(nn.Module):
    """A 2x2 transposed convolution of stride 2, computed cell by cell.

    The four pixels that a cell becomes stay side by side on a new axis, so no image is rearranged until the very end.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        convolution = nn.ConvTranspose2d(width_in, width_out, 2, stride=2)
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, cells: Tensor) -> Tensor:
        """Cells (rows, C) become (rows, 4 * C'): the pixels of each in row order."""
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        assert self.bias is not None
        return F.linear(cells, weight, self.bias.repeat(4))


class MaskDecoder(nn.Module):
    """Four masks and their predicted IoU from an image embedding and prompt tokens.

    Output 0 is the single mask, outputs 1 to 3 are for an ambiguous prompt (paper §3).
    """

    def __init__(self, width: int, config: DecoderConfig) -> None:
        super().__init__()
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(NUM_OUTPUTS, width)
        self.layers = nn.ModuleList(
            TwoWayLayer(width, config, index == 0) for index in range(config.depth)
        )
        self.final_attention = Attention(width, config.attention_width, config.num_heads)
        self.final_norm = nn.LayerNorm(width)
        first, second = config.upscale_widths
        self.gelu = "tanh" if config.fast_gelu else "none"
        self.upscale1 = Upscale(width, first)
        self.upscale_norm = RowNorm(first, eps=1e-6)
        self.upscale2 = Upscale(first, second)
        self.blur = Blur(config.blur) if config.blur else nn.Identity()
        self.mask_heads = nn.ModuleList(
            MLP(width, width, width, second) for _ in range(NUM_OUTPUTS)
        )
        self.iou_head = MLP(width, *[config.iou_width] * (config.iou_depth - 1), NUM_OUTPUTS)

    def set_dropout(self, probability: float) -> None:
        """Drop this share of what each layer adds, while training (paper appendix A: 0.1; the official code has none)."""
        for layer in self.layers:
            cast("TwoWayLayer", layer).dropout.p = probability

    def forward(
        self, image: Tensor, places: Tensor, prompt_tokens: Tensor, floors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (N, 4, 4G, 4G) and predicted IoU (N, 4); with floors (4,) see finish(). Inputs as for attend()."""
        image, drawing, predicted_iou = self.attend(image, places, prompt_tokens)
        return self.finish(image, drawing, predicted_iou, floors), predicted_iou

    def attend(
        self,
        image: Tensor,
        places: Tensor,
        prompt_tokens: Tensor,
        *,
        is_shared: bool = False,
        paint: Paint | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The image as each prompt sees it (N, P, D), what draws its masks (N, 4, C), and their predicted IoU (N, 4).

        The latter is raw: nothing bounds it to 0..1. image: (N or 1, P, D), the embedding with the dense prompt added.
        places: (1, P, D), the position code of the grid. prompt_tokens: (N, T, D). is_shared: the image is (1, P, D) and
        projected once for all prompts; paint is then what each adds to it. See sharing_pays.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None]
        prompt = torch.cat([own.expand(prompt_tokens.shape[0], -1, -1), prompt_tokens], dim=1)

        first, *others = self.layers
        tokens, image = first(prompt, image, prompt, places, is_shared=is_shared, paint=paint)
        for layer in others:
            tokens, image = layer(tokens, image, prompt, places)
        looked = look_at_image(self.final_attention, tokens + prompt, image + places, image)
        tokens = self.final_norm(tokens + looked)

        drawing = torch.stack(
            [head(tokens[:, 1 + i]) for i, head in enumerate(self.mask_heads)], dim=1
        )
        return image, drawing, self.iou_head(tokens[:, 0])

    def finish(
        self, image: Tensor, drawing: Tensor, predicted_iou: Tensor, floors: Tensor | None
    ) -> Tensor:
        """Mask logits (N, 4, 4G, 4G) of what attend() gave.

        With floors (4,), one an output, only the K masks predicted better are drawn and the logits are (K, 4G, 4G), by
        prompt and then by output.
        """
        if floors is None:
            logits = unfold_cells(self.draw(image, drawing))
            return self.blur(logits.flatten(0, 1)).unflatten(0, logits.shape[:2])
        is_drawn = ~(predicted_iou <= floors)
        wanted = is_drawn.any(dim=1)
        if not wanted.all():
            image, drawing, is_drawn = image[wanted], drawing[wanted], is_drawn[wanted]
        values = self.draw(image, drawing)
        return self.blur(unfold_cells(values[is_drawn]))

    def draw(self, image: Tensor, drawing: Tensor) -> Tensor:
        """Mask logits (N, 4, P*16), cell by cell, not yet blurred."""
        return drawing @ self._upscale(image).transpose(1, 2)

    def _upscale(self, image: Tensor) -> Tensor:
        """Pixels (N, P*16, C) of positions (N, P, D), those of one position side by side."""
        # Matrices of rows, because runtimes add a bias within a product of two matrices only.
        quarters = self.upscale1(image.flatten(0, 1)).reshape(-1, self.upscale_norm.weight.shape[0])
        quarters = F.gelu(self.upscale_norm(quarters), approximate=self.gelu)
        pixels = F.gelu(self.upscale2(quarters), approximate=self.gelu)
        width = pixels.shape[1] // 4
        return pixels.reshape(image.shape[0], 16 * image.shape[1], width)


def unfold_cells(values: Tensor) -> Tensor:
    """Lay out values (..., G*G*4*4), cell by cell, as images (..., 4G, 4G).

    The last axis runs over grid cells in row order, then the 2x2 of the first upscaling, then that of the second.
    """
    leading = values.shape[:-1]
    grid = int((values.shape[-1] // 16) ** 0.5)
    cells = values.reshape(-1, grid, grid, 2, 2, 2, 2)
    return cells.permute(0, 1, 3, 5, 2, 4, 6).reshape(*leading, 4 * grid, 4 * grid)


def look_at_image(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Tokens attend to image positions, folded while that is the cheaper form."""
    if _folding_pays(attention, queries):
        return attention.tokens_to_image(queries, keys, values)
    return attention.forward(queries, keys, values)


def look_at_tokens(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Image positions attend to tokens, folded while that is the cheaper form."""
    if _folding_pays(attention, keys):
        return attention.image_to_tokens(queries, keys, values)
    return attention.forward(queries, keys, values)


def _folding_pays(attention: Attention, tokens: Tensor) -> bool:
    return tokens.shape[1] * attention.num_heads <= attention.q_proj.in_features // 2


def sharing_pays(num_prompts: int, num_tokens: int, width: int, config: DecoderConfig) -> bool:
    """Whether projecting an image once for so many prompts is cheaper than folding; num_tokens is that of a prompt alone."""
    tokens = num_prompts * (1 + NUM_OUTPUTS + num_tokens)
    inner = config.attention_width
    return tokens * (config.num_heads * width - inner) > width * inner
