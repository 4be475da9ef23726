"""The paper's own models on SA-1B (paper appendix A): ViT-H, ViT-L, ViT-B, and the model that made SA-1B.

    torchrun --nnodes N --nproc-per-node 8 -m segloop train vit_b --data s3://BUCKET/sa_0000*.tar \
        --start mae_pretrain_vit_base.pth --device cuda -o RUN

| recipe | images an update | updates | A100 | hours | SAM's mean IoU over 23 sets, 1 / 5 clicks |
|---|---|---|---|---|---|
| vit_h | 256 | 90,000 | 256 | 68 | 58.1 / 81.3 |
| vit_l | 128 | 180,000 | 128 | 83 | none published |
| vit_b | 128 | 180,000 | 128 | 48 | 55.9 / 80.9 |
| generator | 256 | 177,656 | 256 | 125 | none: its masks are SA-1B |
| all_stages | 256 | 90,000 | 256 | 68 | about half a point more than vit_h |

The hours of vit_h are the paper's; the others are estimates, scaled from them by images and operations (23.0 TFLOP an image
of 64 masks there and back, against 14.1 for vit_l, 8.0 for vit_b and 21.4 for generator).

Every process encodes one image at a time; with fewer processes than images an update, batches are accumulated. The paper is
silent on precision (here bfloat16), clipping (none), and on when ViT-B and ViT-L cut the rate (here at the same share of the
run as ViT-H). Two departures: masks under 12 pixels of the logits are left out, which the model cannot draw; and a first
box, which has one answer, teaches both output 0 and the best of the three. Not run here: that takes the data and the
machines.
"""

from __future__ import annotations

from dataclasses import replace

from segloop.data.augment import LARGE_SCALE_JITTER
from segloop.train.config import DataConfig, InteractionConfig, OptimConfig, TrainConfig


def vit_h() -> TrainConfig:
    """Paper appendix A, word for word."""
    return TrainConfig(
        recipe="vit_h",
        model="vit_h",
        input_size=1024,
        num_steps=90_000,
        data=DataConfig(batch_size=1, max_masks=64, num_workers=8),
        interaction=InteractionConfig(),
        optim=OptimConfig(
            learning_rate=8e-4,
            betas=(0.9, 0.999),
            weight_decay=0.1,
            layer_decay=0.8,
            warmup_steps=250,
            milestones=(60_000, 86_666),
        ),
        drop_path=0.4,
        dropout=0.1,
        precision="bfloat16",
        global_batch=256,
        recompute=True,
        checkpoint_every=1000,
        validate_every=5000,
    )


def vit_l() -> TrainConfig:
    """Half the rate and the batch of ViT-H, twice its updates."""
    config = vit_h()
    return replace(
        config,
        recipe="vit_l",
        model="vit_l",
        num_steps=180_000,
        optim=replace(config.optim, learning_rate=4e-4, milestones=(120_000, 173_332)),
        global_batch=128,
    )


def vit_b() -> TrainConfig:
    """Half the batch of ViT-H, twice its updates; a steeper decay over layers, more blocks skipped."""
    config = vit_h()
    return replace(
        config,
        recipe="vit_b",
        model="vit_b",
        num_steps=180_000,
        optim=replace(config.optim, layer_decay=0.6, milestones=(120_000, 173_332)),
        drop_path=0.6,
        global_batch=128,
        recompute=False,
    )


def generator() -> TrainConfig:
    """The model that made SA-1B (paper appendix B): three decoder layers, large-scale jitter, no boxes, four points a mask.

    It saw the masks of the first two stages of the data engine alone; where it cut its rate is not said.
    """
    config = vit_h()
    return replace(
        config,
        recipe="generator",
        model="vit_h_generator",
        num_steps=177_656,
        data=replace(config.data, augmentation=LARGE_SCALE_JITTER),
        interaction=replace(config.interaction, num_clicks=3, first_box=0.0),
        optim=replace(config.optim, milestones=(118_437, 171_075)),
    )


def all_stages() -> TrainConfig:
    """ViT-H on the masks of all three stages (paper §7.6): an image made by hand, in part or in all, counts ten times.

    Those are the images of a tar or folder called manual* or semi_automatic*, or of a tar in such a folder.
    """
    config = vit_h()
    weights = {"manual*": 10.0, "semi_automatic*": 10.0}
    data = replace(config.data, weights=weights, weighs_images=True)
    return replace(config, recipe="all_stages", data=data)
