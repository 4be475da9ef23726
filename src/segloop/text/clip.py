"""The text half of a CLIP that transformers can load; the paper's is ViT-L/14 at 336 pixels (§7.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from segloop.errors import InputError
from segloop.geometry.frames import FloatArray
from segloop.text.vectors import unit_vectors

PAPER_CLIP = "openai/clip-vit-large-patch14-336"
_BATCH_SIZE = 64


class ClipVectors:
    """The vectors of a CLIP text model and its projection, by the name at Hugging Face or the folder it lies in.

    Raises InputError where it cannot be had.
    """

    def __init__(self, name: str = PAPER_CLIP, device: str = "cpu") -> None:
        """Load model and tokenizer."""
        self._name = name
        self._model, self._tokenizer = _load(name, device)
        self._identity = hash_weights(self._model)

    @property
    def identity(self) -> str:
        """Hash of the weights."""
        return self._identity

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self._model.config.projection_dim)

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Vectors (N, width) of N texts, each of length 1; InputError for a text longer than the model reads."""
        parts = [
            self._encode(list(texts[start : start + _BATCH_SIZE]))
            for start in range(0, len(texts), _BATCH_SIZE)
        ]
        return np.concatenate([np.zeros((0, self.width), dtype=np.float32), *parts])

    def _encode(self, texts: list[str]) -> FloatArray:
        import torch

        tokens = self._tokenizer(texts, padding=True, return_tensors="pt")
        longest = int(self._model.config.max_position_embeddings)
        for text, length in zip(texts, tokens["attention_mask"].sum(dim=1).tolist(), strict=True):
            if length > longest:
                raise InputError(f"{self._name} reads {longest} tokens, {text!r} has {length}")
        with torch.inference_mode():
            found = self._model(
                input_ids=tokens["input_ids"].to(self._model.device),
                attention_mask=tokens["attention_mask"].to(self._model.device),
            )
        return unit_vectors(found.text_embeds.float().cpu().numpy(), texts, self._name)


def _load(name: str, device: str) -> tuple[Any, Any]:
    try:
        import transformers

        library: Any = transformers
        tokenizer = library.AutoTokenizer.from_pretrained(name)
        model, loading = library.CLIPTextModelWithProjection.from_pretrained(
            name, output_loading_info=True
        )
        model = model.to(device).eval()
    except ImportError as error:
        missing = error.name or str(error).strip().partition("\n")[0]
        raise InputError(
            f'CLIP {name} cannot be loaded ({missing}); it needs: pip install "segloop[torch,text]"'
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"CLIP {name} cannot be loaded: {reason}") from error
    if loading["missing_keys"]:
        # Transformers would draw them at random, and go on.
        lacking = min(loading["missing_keys"])
        raise InputError(f"{name} is no CLIP with a text model and its projection: no {lacking}")
    return model, tokenizer


def hash_weights(model: Any) -> str:
    """Tells a model's weights from any others."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy())
    return digest.hexdigest()[:16]
