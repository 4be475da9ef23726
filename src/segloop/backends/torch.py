"""Runs a Sam in PyTorch, on a CPU or an accelerator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segloop.backends.base import COMPACT_THRESHOLDS, DRAW_ALL, Backend, BackendSpec
from segloop.errors import InputError
from segloop.geometry.frames import FloatArray
from segloop.model.config import CompactConfig
from segloop.model.sam import Sam
from segloop.prompts.prompt import PackedPrompts

# Larger arrays come fresh from the system each time with glibc, and zeroing their pages takes as long as half the decoding.
_HEAP_BYTES = 24 << 20


class TorchBackend(Backend):
    """A Sam as a Backend; the model moves to the device and into evaluation mode.

    identity tells the embeddings of these weights apart. automatic_thresholds: see BackendSpec, by default what suits the
    family.
    Raises InputError for a device that is not there.
    """

    def __init__(
        self,
        model: Sam,
        name: str,
        identity: str,
        device: str = "cpu",
        *,
        automatic_thresholds: tuple[float, float] | None = None,
    ) -> None:
        self._device = find_device(device)
        self._model = model.to(self._device).eval()
        config = model.config
        is_compact = isinstance(config.encoder, CompactConfig)
        self._spec = BackendSpec(
            name=name,
            identity=identity,
            input_size=config.input_size,
            logit_size=config.logit_size,
            num_channels=config.width,
            grid_size=config.grid_size,
            text_width=config.text_width,
            fills_boxes=config.fills_boxes,
            looks_closer=is_compact,
            tidies=is_compact,
            sharpens=is_compact,
            automatic_thresholds=automatic_thresholds
            or (COMPACT_THRESHOLDS if is_compact else None),
        )

    @property
    def spec(self) -> BackendSpec:
        """The model's name and sizes."""
        return self._spec

    @property
    def batch_size(self) -> int:
        """Prompts to decode together."""
        if self._device.type != "cpu":
            return super().batch_size
        config = self._model.config
        pixel_bytes = 4 * config.logit_size**2 * config.decoder.upscale_widths[1]
        return max(1, min(super().batch_size, _HEAP_BYTES // pixel_bytes))

    def encode(self, image_chw: FloatArray) -> FloatArray:
        """Image embedding (C, G, G) of a prepared input (3, S, S)."""
        with torch.inference_mode():
            return _to_numpy(self._model.encode(self._send(image_chw)[None])[0])

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        """Mask logits (K, L, L) of the masks predicted better than floors (4,), and predicted IoU (N, 4)."""
        has_mask = prompts.mask_logits is not None
        with torch.inference_mode():
            logits, predicted_iou = self._model.decode(
                self._send(features)[None],
                self._send(prompts.coords),
                torch.tensor(prompts.labels, device=self._device),
                self._send(prompts.mask_logits) if prompts.mask_logits is not None else None,
                self._send(prompts.has_mask) if has_mask else None,
                self._send(prompts.text) if prompts.text is not None else None,
                floors=self._send(floors),
            )
            return _to_numpy(logits), _to_numpy(predicted_iou)

    def _send(self, array: FloatArray) -> Tensor:
        # torch.tensor copies: an embedding's array is read-only, which torch.from_numpy warns of.
        return torch.tensor(array, dtype=torch.float32, device=self._device)


def find_device(name: str) -> torch.device:
    """The device of that name ("cpu", "cuda", "cuda:1", "mps"); InputError where it is unknown or absent."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"no device {name!r}; there are cpu, cuda, cuda:1, ... and mps") from error
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 0)
    if (device.index or 0) >= count:
        raise InputError(f"device {name!r} is not available on this machine; use device 'cpu'")
    return device


def _to_numpy(tensor: Tensor) -> FloatArray:
    return np.ascontiguousarray(tensor.float().cpu().numpy())
