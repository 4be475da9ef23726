"""SAM with text prompts (paper §7.5, D.5): CLIP vectors of pictures in training, of words in use.

    torchrun --nnodes N --nproc-per-node 8 -m segloop train text --clip openai/clip-vit-large-patch14-336 \
        --data STAGES_1_AND_2 --start mae_pretrain_vit_huge.pth --device cuda -o RUN

120,000 updates of 128 images on the masks of the first two stages of the data engine, with large-scale jitter; the rest as
ViT-H. Not run here: it takes the data and the machines. By ViT-H's pace (segloop.train.recipes.sam), 45 hours of 256 A100
for the model, and about as much again for CLIP, which looks at each of up to 64 objects an image: an estimate. The paper
shows pictures and no numbers, and does not say how 768 numbers become a token: here by one linear layer.
"""

from __future__ import annotations

from dataclasses import fields, replace

from segloop.data.augment import LARGE_SCALE_JITTER, Augmentation
from segloop.train.config import TrainConfig
from segloop.train.recipes.compact import compact
from segloop.train.recipes.sam import vit_h
from segloop.train.recipes.toy import toy
from segloop.train.text_step import TextConfig


def text() -> TextConfig:
    """Paper D.5; where the rate is cut is not said, here at the same shares of the run as ViT-H."""
    config = with_text_step(vit_h())
    return replace(
        config,
        recipe="text",
        num_steps=120_000,
        global_batch=128,
        data=replace(config.data, augmentation=LARGE_SCALE_JITTER),
        optim=replace(config.optim, milestones=(80_000, 115_555)),
    )


def with_text_step(config: TrainConfig) -> TextConfig:
    """A recipe of the promptable model, its first prompts vectors of pictures."""
    return TextConfig(**{one.name: getattr(config, one.name) for one in fields(TrainConfig)})


def text_compact() -> TextConfig:
    """The default model, taught to take vectors too; begin from its weights."""
    config = with_text_step(compact())
    data = replace(config.data, augmentation=Augmentation(flip=0.5, color=0.5))
    return replace(config, recipe="text_compact", num_steps=10_000, data=data, min_side=32)


def text_toy() -> TextConfig:
    """A ViT of 86,000 weights, to see it work on a laptop; its objects are of 8 pixels squared and more."""
    return replace(with_text_step(toy()), recipe="text_toy", min_side=8)
