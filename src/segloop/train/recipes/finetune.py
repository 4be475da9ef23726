"""Fine-tuning on a user's own masks, in three strengths.

    segloop train finetune --data MASKS -o OUT --method lora

320 steps on 60 pictures of nuclei take 0.2 hours of one core; what that gained on 60 others is in docs/guide/finetune.md.

lora: low-rank updates of the image encoder (attention projections of a ViT, 1x1 convolutions of the compact one), of which
the delivered model takes a good third; forgets least. Updates of the decoder gained as much and forgot three times as much.
decoder: prompt encoder and mask decoder, with the image encoder as it was, so that embeddings made before still fit. full:
everything, the lower a layer of the encoder the slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from segloop.data.augment import Augmentation
from segloop.errors import InputError
from segloop.model.config import CompactConfig, ModelConfig
from segloop.train.config import DataConfig, InteractionConfig, OptimConfig
from segloop.train.finetune import FineTuneConfig
from segloop.train.lora import LoraConfig
from segloop.train.recipes.compact import compact


def finetune_recipe(
    method: str,
    config: ModelConfig,
    *,
    start: str,
    num_steps: int = 200,
    strength: float | None = None,
    seed: int = 0,
) -> FineTuneConfig:
    """The recipe of a method for start weights of this configuration.

    start: what the start weights are called. strength: see FineTuneConfig; by default the method's own. Raises InputError
    for an unknown method, and for a strength that is not between 0 and 1.
    """
    if method not in _METHODS:
        raise InputError(f"no method {method!r}; there are {', '.join(_METHODS)}")
    recipe = _METHODS[method](config, start, num_steps)
    strength = recipe.strength if strength is None else strength
    if not 0.0 <= strength <= 1.0:
        raise InputError(f"the strength lies between 0 and 1, got {strength:g}")
    return replace(recipe, strength=strength, seed=seed)


def finetune_lora(config: ModelConfig, start: str, num_steps: int) -> FineTuneConfig:
    """Low-rank updates."""
    common = _common(config, start, num_steps)
    return replace(
        common,
        recipe="finetune_lora",
        lora=LoraConfig(rank=8, alpha=8.0, parts=("image_encoder.",)),
        strength=0.35,
        optim=replace(common.optim, learning_rate=2e-4, weight_decay=0.01),
    )


def finetune_decoder(config: ModelConfig, start: str, num_steps: int) -> FineTuneConfig:
    """Prompt encoder and mask decoder; the image encoder stays."""
    common = _common(config, start, num_steps)
    return replace(
        common,
        recipe="finetune_decoder",
        optim=replace(common.optim, learning_rate=2e-4, frozen=("image_encoder",)),
    )


def finetune_full(config: ModelConfig, start: str, num_steps: int) -> FineTuneConfig:
    """Every weight; each layer of the encoder learns more slowly than the one above it."""
    common = _common(config, start, num_steps)
    return replace(
        common,
        recipe="finetune_full",
        optim=replace(common.optim, learning_rate=2e-4, layer_decay=0.8),
    )


_METHODS: dict[str, Callable[[ModelConfig, str, int], FineTuneConfig]] = {
    "lora": finetune_lora,
    "decoder": finetune_decoder,
    "full": finetune_full,
}


def _common(config: ModelConfig, start: str, num_steps: int) -> FineTuneConfig:
    is_compact = isinstance(config.encoder, CompactConfig)
    trained = compact().interaction if is_compact else InteractionConfig()
    return FineTuneConfig(
        recipe="finetune",
        model=start,
        input_size=config.input_size,
        num_steps=num_steps,
        data=DataConfig(
            batch_size=2,
            max_masks=4,
            augmentation=Augmentation(flip=0.5, color=0.3),
        ),
        # The compact model was trained with its own departures from the paper; each goes on as it was.
        interaction=replace(trained, num_clicks=1, num_mask_only=0, first_box=0.35),
        optim=OptimConfig(
            learning_rate=2e-4,
            weight_decay=0.05,
            layer_decay=1.0,
            warmup_steps=10,
            schedule="cosine",
            clip_norm=1.0,
        ),
        log_every=10,
        checkpoint_every=50,
        validate_every=1_000_000,
    )
