"""A smaller encoder from a larger one, with nothing but images.

    segloop train distill --teacher vit_b --data PHOTOS --keep EMBEDDINGS -o STUDENT
    segloop train compact --data SHARDS --start STUDENT/model.safetensors -o RUN
    segloop train distill --recipe distill_swap --teacher vit_b --data PHOTOS --keep EMBEDDINGS -o SWAPPED

An image costs the compact student 17 GFLOP there and back, and its teacher, once, 972 (vit_b), 2986 (vit_l) or 5961
(vit_h); a kept embedding of theirs takes 2 MB. The whole recipe was not run here: it wants an accelerator, an A100 for one
hour with vit_b as teacher, or six with vit_h, if each of its 320,000 images is another and a third of the peak is reached
(estimates).

What to expect early: 180 steps of `distill_swap`, 4 images each out of 2300 photographs, in float32 with the default model
as teacher, took 28 minutes on a third of one core. From ImageNet weights the relative error on 16 held-out images fell to
.118 after 60 steps, .077 after 120 and .067 after 180. On 368 masks of 40 other COCO images the teacher's decoder found, as
IoU after one click, after three and for a box: .17, .19, .21 with the untaught encoder; .28, .46, .56 with the taught one;
.35, .51, .58 with its own.
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
