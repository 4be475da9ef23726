"""The promptable model: an image encoder, a prompt encoder and a mask decoder (paper §3, figure 4).

Tensors in, tensors out: no image files, no thresholds, no losses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segloop.model.compact_encoder import CompactEncoder
from segloop.model.config import CompactConfig, ModelConfig
from segloop.model.image_encoder import ImageEncoder
from segloop.model.mask_decoder import MaskDecoder, sharing_pays
from segloop.model.prompt_encoder import PromptEncoder


class Sam(nn.Module):
    """Segment Anything with the sizes of `config`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = build_image_encoder(config)
        self.prompt_encoder = PromptEncoder(
            config.width, config.mask_widths, config.text_width, likeness_maps=config.likeness_maps
        )
        self.mask_decoder = MaskDecoder(config.width, config.decoder)

    def encode(self, images: Tensor) -> Tensor:
        """Embeddings (B, C, G, G) of prepared inputs (B, 3, S, S)."""
        return self.image_encoder(images)

    def decode(
        self,
        features: Tensor,
        coords: Tensor,
        labels: Tensor,
        mask_logits: Tensor | None = None,
        has_mask: Tensor | None = None,
        text: Tensor | None = None,
        floors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (N, 4, 4G, 4G) and predicted IoU (N, 4) for N prompts; with floors (4,) see MaskDecoder.finish.

        features: (N or 1, C, G, G), the prompts' images or the one they share. coords: (N, T, 2) input pixels.
        labels: (N, T), see PromptEncoder.encode_points. mask_logits: (N or 1, 1, 4G, 4G). has_mask: (N or 1,), 0 where a
        row of mask_logits is to be ignored. text: (N, text_width).
        """
        image, drawing, predicted_iou = self.attend(
            features, coords, labels, mask_logits, has_mask, text
        )
        return self.mask_decoder.finish(image, drawing, predicted_iou, floors), predicted_iou

    def attend(
        self,
        features: Tensor,
        coords: Tensor,
        labels: Tensor,
        mask_logits: Tensor | None = None,
        has_mask: Tensor | None = None,
        text: Tensor | None = None,
        is_shared: bool | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The part of decode() before masks are drawn, see MaskDecoder.attend.

        is_shared: whether to project the image once for all prompts, which takes a single row of features and of
        mask_logits; by default where that is possible and cheaper.
        """
        grid_size = features.shape[-1]
        tokens = self.prompt_encoder.encode_points(
            coords, labels, grid_size * self.config.encoder.stride
        )
        if text is not None:
            tokens = torch.cat([self.prompt_encoder.encode_text(text), tokens], dim=1)
        dense = self.prompt_encoder.encode_masks(features, mask_logits, has_mask)
        paint = self.prompt_encoder.encode_clicks(
            features, coords, labels, self.config.encoder.stride
        )
        image = features.flatten(2).transpose(1, 2).contiguous() + dense
        if is_shared is None:
            is_shared = image.shape[0] == 1 and sharing_pays(
                tokens.shape[0], tokens.shape[1], self.config.width, self.config.decoder
            )
        if paint is not None and not is_shared:
            image, paint = image + paint.spread(), None
        places = self.prompt_encoder.position_code.grid(grid_size)
        return self.mask_decoder.attend(image, places, tokens, is_shared=is_shared, paint=paint)


def build_image_encoder(config: ModelConfig) -> nn.Module:
    """The encoder that the configuration names."""
    if isinstance(config.encoder, CompactConfig):
        return CompactEncoder(config.encoder, config.width)
    return ImageEncoder(config.encoder, config.input_size, config.width)
