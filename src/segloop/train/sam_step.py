"""One training step of the promptable model: a simulated conversation about every object (paper appendix A).

First a point, a box or a rough mask; then clicks where the prediction is wrong, each with the previous logits as mask
prompt; and rounds with nothing but those logits. Losses of all rounds are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segloop.data.loader import SampleStream, TrainingItem
from segloop.geometry.frames import BoolArray
from segloop.model.sam import Sam
from segloop.train.calibration import calibration_sums
from segloop.train.config import InteractionConfig
from segloop.train.conversation import (
    BOX,
    MASK,
    POINT,
    Conversation,
    error_clicks,
    first_prompts,
    schedule,
)
from segloop.train.losses import FOCAL_WEIGHT, dice_loss, focal_loss, true_iou
from segloop.train.step import Mean, StepOutput


@dataclass(frozen=True, eq=False)
class Batch:
    """images (B, 3, S, S); truths (N, L, L) in the logit frame; image_index (N,); seeds (N,) decide the prompts.

    names: of the images.
    """

    images: Tensor
    truths: BoolArray
    image_index: Tensor
    seeds: npt.NDArray[np.int64]
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Objects in all images."""
        return len(self.truths)

    @property
    def num_images(self) -> int:
        """Images."""
        return len(self.images)

    @property
    def scale(self) -> float:
        """Input pixels to a logit pixel."""
        return float(self.images.shape[-1] / self.truths.shape[-1])

    def to(self, device: torch.device) -> Batch:
        """The same with its tensors on a device; truths stay with the simulator, on the CPU."""
        return replace(self, images=self.images.to(device), image_index=self.image_index.to(device))


def collate(items: Sequence[TrainingItem]) -> Batch:
    """Put items side by side; objects of all images form one list."""
    counts = [len(item.truths) for item in items]
    seeds = [item.seed + offset for item in items for offset in range(len(item.truths))]
    return Batch(
        images=torch.from_numpy(np.stack([item.image for item in items])),
        truths=np.concatenate([item.truths for item in items]),
        image_index=torch.repeat_interleave(torch.arange(len(items)), torch.tensor(counts)),
        seeds=np.array(seeds, dtype=np.int64),
        names=tuple(item.name for item in items),
    )


@dataclass(frozen=True)
class SamItems:
    """A SampleStream as the loop draws from it; indices are the stream's own, looked up once."""

    stream: SampleStream
    indices: tuple[tuple[int, ...], ...]

    def item(self, number: int) -> TrainingItem:
        """One image and some of its objects."""
        return self.stream.item(number, self.indices)

    def collate(self, items: Sequence[TrainingItem]) -> Batch:
        """See segloop.train.sam_step.collate."""
        return collate(items)


def sam_items(stream: SampleStream) -> SamItems:
    """The stream for the loop."""
    return SamItems(stream, stream.indices())


def sam_step(
    model: Sam, batch: Batch, number: int, *, config: InteractionConfig, seed: int = 0
) -> StepOutput:
    """Encode once, then talk `config.num_steps` rounds; the loss is the sum over rounds and objects.

    Which rounds bring no new prompt is drawn from the run's seed and the step's number, for all objects alike.
    """
    rngs = [np.random.default_rng(int(seed)) for seed in batch.seeds]
    talk = first_prompts(
        batch.truths, rngs, config, batch.scale, fills_boxes=model.config.fills_boxes
    )
    turns = schedule(config, np.random.default_rng((seed, number)))
    return converse(model, batch, talk, rngs, turns, config)


def converse(
    model: Sam,
    batch: Batch,
    talk: Conversation,
    rngs: Sequence[np.random.Generator],
    turns: Sequence[bool],
    config: InteractionConfig,
    text: Tensor | None = None,
) -> StepOutput:
    """Talk on from the first prompts; turns say which rounds bring a click, text (N, C) is in all of them."""
    device = batch.images.device
    truths = torch.from_numpy(batch.truths).to(device, torch.float32)
    features = model.encode(batch.images)[batch.image_index]
    previous = None if talk.mask_logits is None else torch.from_numpy(talk.mask_logits).to(device)
    has_mask = torch.from_numpy(talk.has_mask).to(device)
    outcomes: list[RoundOutcome] = []
    for turn, asks in enumerate(turns):
        if asks and turn > 0:
            assert previous is not None
            predictions = (previous[:, 0] > 0).cpu().numpy()
            talk.add_clicks(*error_clicks(batch.truths, predictions, rngs, batch.scale))
        logits, scores = model.decode(
            features,
            torch.from_numpy(talk.coords).to(device),
            torch.from_numpy(talk.labels).to(device),
            previous,
            has_mask if turn == 0 and previous is not None else None,
            text,
        )
        outcome = round_loss(logits, scores, truths, talk.kinds, is_first=turn == 0, config=config)
        outcomes.append(outcome)
        previous = outcome.chosen_logits[:, None]
    return StepOutput(
        torch.stack([outcome.losses.total.sum() for outcome in outcomes]).sum(),
        watched(outcomes, talk.kinds),
    )


@dataclass(frozen=True, eq=False)
class Losses:
    """Loss of each of N objects (N,), and of what it is made, unweighted and without gradient."""

    total: Tensor
    focal: Tensor
    dice: Tensor
    quality: Tensor


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """chosen_logits (N, L, L), predicted IoU (N,) and true IoU (N,) are those of the output that would be shown."""

    losses: Losses
    chosen_logits: Tensor
    predicted_iou: Tensor
    iou: Tensor


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

    sums = [logits.new_zeros(len(logits)) for _ in fields(Losses)]
    for chosen, outputs in ((rows[~ambiguous], slice(0, 1)), (rows[takes_three], slice(1, None))):
        if len(chosen):
            part = output_loss(
                logits[chosen, outputs], scores[chosen, outputs], truths[chosen], config
            )
            sums = [
                total.index_add(0, chosen, getattr(part, one.name))
                for total, one in zip(sums, fields(Losses), strict=True)
            ]
    shown = torch.where(ambiguous, 1 + scores[:, 1:].argmax(dim=1), torch.zeros_like(kind))
    shown_logits = logits[rows, shown].detach()
    return RoundOutcome(
        Losses(*sums), shown_logits, scores[rows, shown].detach(), true_iou(shown_logits, truths)
    )


def output_loss(
    logits: Tensor, scores: Tensor, truths: Tensor, config: InteractionConfig
) -> Losses:
    """Losses of K alternative outputs (N, K, L, L): the least mask loss counts, and the error of predicted IoU."""
    wide = truths[:, None].expand_as(logits)
    focal, dice = focal_loss(logits, wide, config.focal_alpha), dice_loss(logits, wide)
    of_masks = FOCAL_WEIGHT * focal + config.dice_weight * dice
    least, which = of_masks.min(dim=1)
    teaches_all = config.ambiguity == "mean"
    squared = (scores - true_iou(logits, wide)) ** 2
    averaged = config.all_iou or teaches_all
    quality = squared.mean(dim=1) if averaged else squared.gather(1, which[:, None])[:, 0]
    return Losses(
        total=(of_masks.mean(dim=1) if teaches_all else least) + config.iou_weight * quality,
        focal=focal.detach().gather(1, which[:, None])[:, 0],
        dice=dice.detach().gather(1, which[:, None])[:, 0],
        quality=quality.detach(),
    )


def watched(outcomes: Sequence[RoundOutcome], kinds: npt.NDArray[np.int64]) -> dict[str, Mean]:
    """The parts of the loss, IoU after each round, after a first point, box or mask, and how predicted IoU errs there."""
    first, count = outcomes[0], len(kinds)
    metrics = {
        f"loss/{name}": Mean(
            torch.stack([getattr(outcome.losses, name).sum() for outcome in outcomes]).sum(), count
        )
        for name in ("focal", "dice", "quality")
    }
    metrics |= {
        f"iou/{turn}": Mean(outcome.iou.sum(), count) for turn, outcome in enumerate(outcomes)
    }
    for name, kind in (("point", POINT), ("box", BOX), ("mask", MASK)):
        is_kind = torch.from_numpy(kinds == kind).to(first.iou.device)
        metrics[f"iou/{name}"] = Mean((first.iou * is_kind).sum(), is_kind.sum())
    return {**metrics, **calibration_sums(first.predicted_iou, first.iou)}
