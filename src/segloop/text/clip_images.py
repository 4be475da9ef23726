"""The image half of a CLIP, looking at one object: its vector stands in for words in training (paper §7.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segloop.errors import InputError
from segloop.text.clip import PAPER_CLIP, hash_weights

if TYPE_CHECKING:
    from torch import Tensor

# What every published CLIP subtracts from and divides colours in 0..1 by.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipImageVectors:
    """Vectors of a CLIP image model and its projection, by the name at Hugging Face or the folder it lies in.

    They lie in the space of the same CLIP's text vectors. Raises InputError where the model cannot be had.
    """

    def __init__(self, name: str = PAPER_CLIP, device: str = "cpu") -> None:
        """Load the model."""
        self._model = _load(name, device)
        self._identity = hash_weights(self._model)

    @property
    def identity(self) -> str:
        """Hash of the weights."""
        return self._identity

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self._model.config.projection_dim)

    @property
    def side(self) -> int:
        """Side of the crops that the model looks at, in pixels."""
        return int(self._model.config.image_size)

    def vectors(self, crops: Tensor, masks: Tensor) -> Tensor:
        """Vectors (N, width) of length 1 for crops (N, 3, side, side) of colours in 0..1 and masks (N, side, side).

        In the last layer the output token looks only at itself and at places that the mask touches.
        """
        import torch
        from torch.nn import functional as F

        patch = int(self._model.config.patch_size)
        touched = F.max_pool2d(masks.float()[:, None], patch).flatten(1) > 0
        sees = torch.cat([torch.ones_like(touched[:, :1]), touched], dim=1)
        bias = torch.zeros(len(masks), 1, sees.shape[1], sees.shape[1], device=crops.device)
        bias[:, 0, 0].masked_fill_(~sees, torch.finfo(bias.dtype).min)

        def look_at_mask(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (args[0], bias.to(args[0].dtype), *args[2:])

        mean, std = (crops.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        last = self._model.vision_model.encoder.layers[-1]
        handle = last.register_forward_pre_hook(look_at_mask)
        try:
            with torch.no_grad():
                found = self._model(pixel_values=(crops - mean) / std).image_embeds
        finally:
            handle.remove()
        return F.normalize(found.float(), dim=-1)


def _load(name: str, device: str) -> Any:
    try:
        import transformers

        library: Any = transformers
        model, loading = library.CLIPVisionModelWithProjection.from_pretrained(
            name, output_loading_info=True
        )
    except ImportError as error:
        missing = error.name or str(error).strip().partition("\n")[0]
        raise InputError(
            f'CLIP {name} cannot be loaded ({missing}); it needs: pip install "segloop[torch,text]"'
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"CLIP {name} cannot be loaded: {reason}") from error
    if loading["missing_keys"]:
        lacking = min(loading["missing_keys"])
        raise InputError(f"{name} is no CLIP with an image model and its projection: no {lacking}")
    return model.to(device).eval().requires_grad_(False)
