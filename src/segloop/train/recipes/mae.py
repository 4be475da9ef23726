"""Masked autoencoding of our encoders on photographs without masks (He et al. 2022, as the official code has it).

    torchrun --nnodes 8 --nproc-per-node 8 -m segloop train mae --recipe mae_vit_b --data IMAGENET --device cuda -o MAE
    segloop train vit_b --data SHARDS --start MAE/model.safetensors -o RUN

800 rounds through ImageNet's 1.28 million images in batches of 4096. The official code took 42 hours of 64 V100 for ViT-L;
scaled by operations, ViT-B would take 20 hours of them and ViT-H 75 (estimates). After 1600 rounds and fine-tuning, the
official weights have 83.6, 85.9 and 86.9% on ImageNet (B, L, H); SAM starts from such weights, which --start takes as they
are. The large runs were not run here.

mae_toy is for a laptop, minutes rather than hours of one core (an estimate). As the start of the toy it gained .018 in IoU
for a click and nothing else that can be told from chance (docs/guide/train.md).
"""

from __future__ import annotations

from segloop.train.config import DataConfig, OptimConfig
from segloop.train.mae_step import MaeRunConfig

_UPDATES_A_ROUND = 1_281_167 // 4096


def mae_vit_b() -> MaeRunConfig:
    """ViT-B, all numbers the official ones."""
    return _official("mae_vit_b", "vit_b", batch_size=64)


def mae_vit_l() -> MaeRunConfig:
    """ViT-L, the same."""
    return _official("mae_vit_l", "vit_l", batch_size=64)


def mae_vit_h() -> MaeRunConfig:
    """ViT-H, the same, but for patches of 16 pixels as SAM has them; the official ViT-H has 14."""
    return _official("mae_vit_h", "vit_h", batch_size=32)


def mae_toy() -> MaeRunConfig:
    """A ViT of 86,000 weights at 64 pixels."""
    return MaeRunConfig(
        recipe="mae_toy",
        model="toy",
        input_size=64,
        num_steps=4000,
        data=DataConfig(batch_size=32),
        optim=OptimConfig(
            learning_rate=2e-3,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            layer_decay=1.0,
            warmup_steps=200,
            schedule="cosine",
        ),
        validate_every=1000,
    )


def _official(recipe: str, model: str, batch_size: int) -> MaeRunConfig:
    return MaeRunConfig(
        recipe=recipe,
        model=model,
        input_size=224,
        num_steps=800 * _UPDATES_A_ROUND,
        data=DataConfig(batch_size=batch_size, num_workers=8),
        optim=OptimConfig(
            learning_rate=1.5e-4 * 4096 / 256,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            layer_decay=1.0,
            warmup_steps=40 * _UPDATES_A_ROUND,
            schedule="cosine",
        ),
        precision="bfloat16",
        global_batch=4096,
        checkpoint_every=1000,
        validate_every=10_000,
    )
