"""One training step of the promptable model: a simulated conversation about every object (paper appendix A).

First a point, a box or a rough mask; then clicks where the prediction is wrong, each with the previous logits as mask
prompt; and rounds with nothing but those logits. Losses of all rounds are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segloop.data.loader import TrainingItem
from segloop.geometry.frames import BoolArray
from segloop.model.sam import Sam
from segloop.train.config import InteractionConfig
from segloop.train.conversation import (
    BOX,
    MASK,
    POINT,
    error_clicks,
    first_prompts,
    schedule,
)
from segloop.train.losses import mask_loss, true_iou


@dataclass(frozen=True, eq=False)
class Batch:
    """images (B, 3, S, S); truths (N, L, L) in the logit frame; image_index (N,); seeds (N,) decide the prompts."""

    images: Tensor
    truths: BoolArray
    image_index: Tensor
    seeds: npt.NDArray[np.int64]

    def to(self, device: str) -> Batch:
        """The same with its tensors on a device; truths stay with the simulator, on the CPU."""
        return replace(self, images=self.images.to(device), image_index=self.image_index.to(device))


@dataclass(frozen=True)
class StepOutput:
    """The loss to minimise, and numbers to watch."""

    loss: Tensor
    metrics: dict[str, float] = field(default_factory=dict)


def collate(items: Sequence[TrainingItem]) -> Batch:
    """Put items side by side; objects of all images form one list."""
    counts = [len(item.truths) for item in items]
    seeds = [item.seed + offset for item in items for offset in range(len(item.truths))]
    return Batch(
        images=torch.from_numpy(np.stack([item.image for item in items])),
        truths=np.concatenate([item.truths for item in items]),
        image_index=torch.repeat_interleave(torch.arange(len(items)), torch.tensor(counts)),
        seeds=np.array(seeds, dtype=np.int64),
    )


def sam_step(model: Sam, batch: Batch, config: InteractionConfig) -> StepOutput:
    """Encode once, then talk `config.num_steps` rounds; the loss is summed over rounds, the mean over objects."""
    device = batch.images.device
    rngs = [np.random.default_rng(int(seed)) for seed in batch.seeds]
    truths = torch.from_numpy(batch.truths).to(device, torch.float32)
    scale = batch.images.shape[-1] / batch.truths.shape[-1]
    features = model.encode(batch.images)[batch.image_index]

    talk = first_prompts(batch.truths, rngs, config, scale, fills_boxes=model.config.fills_boxes)
    previous = None if talk.mask_logits is None else torch.from_numpy(talk.mask_logits).to(device)
    has_mask = torch.from_numpy(talk.has_mask).to(device)
    losses: list[Tensor] = []
    metrics: dict[str, float] = {}
    for number, asks in enumerate(schedule(config, rngs[0])):
        if asks and number > 0:
            assert previous is not None
            talk.add_clicks(
                *error_clicks(batch.truths, (previous[:, 0] > 0).cpu().numpy(), rngs, scale)
            )
        logits, scores = model.decode(
            features,
            torch.from_numpy(talk.coords).to(device),
            torch.from_numpy(talk.labels).to(device),
            previous,
            has_mask if number == 0 and previous is not None else None,
        )
        outcome = round_loss(
            logits, scores, truths, talk.kinds, is_first=number == 0, config=config
        )
        losses.append(outcome.loss)
        metrics[f"iou/{number}"] = float(outcome.iou.mean())
        if number == 0:
            metrics |= first_round_metrics(outcome.iou, talk.kinds)
            metrics["calibration"] = float(outcome.score_error)
        previous = outcome.chosen_logits[:, None]
    loss = torch.stack(losses).sum()
    return StepOutput(loss, {"loss": float(loss.detach()), **metrics})


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """loss is a scalar; chosen_logits (N, L, L) and iou (N,) are those of the output that would be shown."""

    loss: Tensor
    chosen_logits: Tensor
    iou: Tensor
    score_error: Tensor


def round_loss(
    logits: Tensor,
    scores: Tensor,
    truths: Tensor,
    kinds: npt.NDArray[np.int64],
    *,
    is_first: bool,
    config: InteractionConfig,
) -> RoundOutcome:
    """Losses of one round for logits (N, 4, L, L), predicted IoU (N, 4) and truths (N, L, L).

    A lone point answers with outputs 1 to 3: the one of least loss learns, the one of highest predicted IoU is shown.
    Everything else answers with output 0; a lone box teaches both.
    """
    logits, scores = logits.float(), scores.float()
    rows = torch.arange(len(logits), device=logits.device)
    kind = torch.from_numpy(kinds).to(logits.device)
    ambiguous = (kind == POINT) if is_first else torch.zeros_like(kind, dtype=torch.bool)
    takes_three = ambiguous | ((kind == BOX) if is_first else ambiguous)

    per_object = logits.new_zeros(len(logits))
    single = rows[~ambiguous]
    if len(single):
        per_object = per_object.index_add(
            0, single, output_loss(logits[single, :1], scores[single, :1], truths[single], config)
        )
    several = rows[takes_three]
    if len(several):
        per_object = per_object.index_add(
            0,
            several,
            output_loss(logits[several, 1:], scores[several, 1:], truths[several], config),
        )
    shown = torch.where(ambiguous, 1 + scores[:, 1:].argmax(dim=1), torch.zeros_like(kind))
    chosen = logits[rows, shown].detach()
    iou = true_iou(chosen, truths)
    error = (scores[rows, shown].detach() - iou).abs().mean()
    return RoundOutcome(per_object.mean(), chosen, iou, error)


def output_loss(
    logits: Tensor, scores: Tensor, truths: Tensor, config: InteractionConfig
) -> Tensor:
    """Loss (N,) of K alternative outputs (N, K, L, L): the least mask loss counts, and the error of predicted IoU."""
    wide = truths[:, None].expand_as(logits)
    masks = mask_loss(logits, wide, config.focal_alpha)
    least, which = masks.min(dim=1)
    squared = (scores - true_iou(logits, wide)) ** 2
    quality = squared.mean(dim=1) if config.all_iou else squared.gather(1, which[:, None])[:, 0]
    return least + config.iou_weight * quality


def first_round_metrics(iou: Tensor, kinds: npt.NDArray[np.int64]) -> dict[str, float]:
    """Mean IoU after a first point, box or mask, where there was one."""
    names = {POINT: "iou/point", BOX: "iou/box", MASK: "iou/mask"}
    values = iou.cpu().numpy()
    return {
        name: float(values[kinds == kind].mean())
        for kind, name in names.items()
        if (kinds == kind).any()
    }
