"""The default model: small enough for a browser, trained on a few thousand images.

    segloop train compact --data DIR -o RUN [--input-size 320 --steps 20000]

Departs from the paper where little data and a small model ask for it: ImageNet start, augmentation, fewer rounds, boxes and
rough masks among the first prompts, predicted IoU trained on all outputs, a running mean of the weights. What each
brought is in docs/default-model.md.
"""

from __future__ import annotations

from segloop.data.augment import Augmentation
from segloop.train.config import DataConfig, InteractionConfig, OptimConfig, TrainConfig

# Share of the images drawn from each set; the many masks of clothes and facades would drown the rest otherwise.
MIXTURE = {
    "coco": 0.32,
    "people": 0.2,
    "clothes": 0.14,
    "salient": 0.18,
    "car_parts": 0.08,
    "facades": 0.08,
}


def compact(
    *,
    input_size: int = 512,
    num_steps: int = 40_000,
    batch_size: int = 4,
    learning_rate: float = 4e-4,
    frozen: tuple[str, ...] = (),
) -> TrainConfig:
    """The recipe at an input size; parameters whose names start with one of `frozen` stay as they are."""
    return TrainConfig(
        recipe="compact",
        model="compact",
        input_size=input_size,
        num_steps=num_steps,
        data=DataConfig(
            batch_size=batch_size,
            max_masks=6,
            repeats=2,
            augmentation=Augmentation(zoom=0.5, flip=0.5, color=0.5),
            weights=MIXTURE,
        ),
        interaction=InteractionConfig(
            num_clicks=2,
            num_mask_only=0,
            first_box=0.35,
            first_mask=0.1,
            all_iou=True,
            focal_alpha=0.5,
        ),
        optim=OptimConfig(
            learning_rate=learning_rate,
            weight_decay=0.05,
            layer_decay=0.9,
            warmup_steps=200,
            milestones=(),
            clip_norm=1.0,
            frozen=frozen,
            ema=0.999,
        ),
        precision="bfloat16",
    )
