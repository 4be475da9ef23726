"""segloop: the whole of Segment Anything in one install.

The names below are the public surface; they are loaded on first use so that `import segloop` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.backends.base import Backend as Backend
    from segloop.backends.base import Embedding as Embedding
    from segloop.data.image import load_image as load_image
    from segloop.errors import ImageError as ImageError
    from segloop.errors import InputError as InputError
    from segloop.errors import WeightsError as WeightsError
    from segloop.geometry.encoded import EncodedMasks as EncodedMasks
    from segloop.geometry.frames import Frame as Frame
    from segloop.geometry.masks import MaskBatch as MaskBatch
    from segloop.predict.automatic import AutomaticConfig as AutomaticConfig
    from segloop.predict.automatic import generate as generate
    from segloop.predict.predictor import Predictor as Predictor
    from segloop.predict.predictor import load as load
    from segloop.prompts.prompt import Prompt as Prompt

__version__ = "0.1.0"

_HOMES = {
    "AutomaticConfig": "segloop.predict.automatic",
    "Backend": "segloop.backends.base",
    "Embedding": "segloop.backends.base",
    "EncodedMasks": "segloop.geometry.encoded",
    "Frame": "segloop.geometry.frames",
    "ImageError": "segloop.errors",
    "InputError": "segloop.errors",
    "MaskBatch": "segloop.geometry.masks",
    "Predictor": "segloop.predict.predictor",
    "Prompt": "segloop.prompts.prompt",
    "WeightsError": "segloop.errors",
    "generate": "segloop.predict.automatic",
    "load": "segloop.predict.predictor",
    "load_image": "segloop.data.image",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segloop' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
