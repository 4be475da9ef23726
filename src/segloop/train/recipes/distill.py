"""A smaller encoder from a larger one, with nothing but images.

segloop train distill --teacher vit_b --data PHOTOS --keep EMBEDDINGS -o STUDENT
segloop train compact --data SHARDS --start STUDENT/model.safetensors -o RUN
segloop train distill --recipe distill_swap --teacher vit_b --data PHOTOS --keep EMBEDDINGS -o SWAPPED
"""

from __future__ import annotations

from dataclasses import replace

from segloop.data.augment import Augmentation
from segloop.train.config import DataConfig, OptimConfig
from segloop.train.distill_step import DistillConfig


def distill() -> DistillConfig:
    """The compact encoder for the compact decoder, which then learns masks by the recipe `compact`."""
    return DistillConfig(
        recipe="distill",
        model="compact",
        input_size=512,
        num_steps=40_000,
        data=DataConfig(batch_size=8, num_workers=4, augmentation=Augmentation(flip=0.5)),
        optim=OptimConfig(
            learning_rate=1e-3,
            weight_decay=0.05,
            layer_decay=1.0,
            warmup_steps=250,
            schedule="cosine",
            clip_norm=1.0,
            ema=0.999,
        ),
        precision="bfloat16",
        validate_every=2000,
    )


def distill_swap() -> DistillConfig:
    """The compact encoder in the place of the teacher's, for the teacher's own decoder, as MobileSAM has it."""
    return replace(distill(), recipe="distill_swap", decoder="teacher")


def distill_toy() -> DistillConfig:
    """A ViT of 86,000 weights as student, to see it work on a laptop."""
    config = distill()
    return replace(
        config,
        recipe="distill_toy",
        model="toy",
        input_size=64,
        num_steps=500,
        data=replace(config.data, batch_size=4, num_workers=1),
        optim=replace(config.optim, learning_rate=3e-3, warmup_steps=20, ema=0.99),
        precision="float32",
        validate_every=250,
    )
