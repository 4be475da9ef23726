from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from segloop.data.loader import TrainingItem
from segloop.geometry.frames import BoolArray
from segloop.model.config import model_config
from segloop.model.sam import Sam
from segloop.prompts.prompt import MASK_MAGNITUDE
from segloop.train.config import InteractionConfig
from segloop.train.conversation import BOX, MASK, POINT, first_prompts
from segloop.train.losses import dice_loss, focal_loss, true_iou
from segloop.train.sam_step import (
    Batch,
    collate,
    output_loss,
    round_loss,
    sam_step,
)

SIDE = 32  # of the logit frame; the input of the toy model is 64
SCALE = 2.0


def random_truths(count: int, seed: int = 0) -> BoolArray:
    """Rectangles of many places and sizes."""
    rng = np.random.default_rng(seed)
    truths = np.zeros((count, SIDE, SIDE), dtype=np.bool_)
    for truth in truths:
        x, y = rng.integers(0, 18, 2)
        width, height = rng.integers(4, 13, 2)
        truth[y : y + height, x : x + width] = True
    return truths


def logit_pixels(coords: np.ndarray) -> np.ndarray:
    """Input pixels back to logit pixels, the other way than the code under test."""
    return (coords - 0.5) / 2.0


# --- collating ---


def test_objects_of_all_images_form_one_list() -> None:
    truths = random_truths(5)
    images = [np.full((3, 64, 64), value, dtype=np.float32) for value in (1, 2)]
    batch = collate(
        [
            TrainingItem("a", images[0], truths[:2], seed=100),
            TrainingItem("b", images[1], truths[2:], seed=200),
        ]
    )
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.images[1].eq(2).all()
    np.testing.assert_array_equal(batch.truths, truths)
    assert batch.image_index.tolist() == [0, 0, 1, 1, 1]
    assert batch.seeds.tolist() == [100, 101, 200, 201, 202]


# --- losses of a round ---


def outputs_for(truths: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(truths), 4, SIDE, SIDE, generator=generator)
    scores = torch.rand(len(truths), 4, generator=generator)
    return logits.requires_grad_(), scores.requires_grad_()


def losses_by_hand(logits: Tensor, scores: Tensor, truths: Tensor) -> tuple[Tensor, Tensor]:
    """Mask loss and squared IoU error (N, 4) of every output."""
    wide = truths[:, None].expand_as(logits)
    return 20 * focal_loss(logits, wide) + dice_loss(logits, wide), (
        scores - true_iou(logits, wide)
    ) ** 2


@pytest.mark.parametrize(
    ("kind", "supervised"), [(POINT, {1, 2, 3}), (BOX, {0, 1, 2, 3}), (MASK, {0})]
)
def test_which_outputs_the_first_round_teaches(kind: int, supervised: set[int]) -> None:
    truths = torch.from_numpy(random_truths(3)).float()
    logits, scores = outputs_for(truths)
    kinds = np.full(3, kind)
    outcome = round_loss(logits, scores, truths, kinds, is_first=True, config=InteractionConfig())
    outcome.losses.total.sum().backward()

    masks, quality = losses_by_hand(logits, scores, truths)
    best = 1 + masks[:, 1:].argmin(dim=1)
    assert logits.grad is not None
    assert scores.grad is not None
    for row in range(3):
        taught = set(logits.grad[row].flatten(1).abs().sum(dim=1).nonzero().flatten().tolist())
        expected = ({0} & supervised) | ({int(best[row])} if 1 in supervised else set())
        assert taught == expected
        assert set(scores.grad[row].nonzero().flatten().tolist()) == expected
    total = torch.zeros(3)
    if 0 in supervised:
        total = total + masks[:, 0] + quality[:, 0]
    if 1 in supervised:
        rows = torch.arange(3)
        total = total + masks[rows, best] + quality[rows, best]
    torch.testing.assert_close(outcome.losses.total, total)


def test_alpha_reaches_the_losses_of_a_round() -> None:
    truths = torch.from_numpy(random_truths(2)).float()
    logits, scores = outputs_for(truths)
    losses = {}
    for alpha in (0.25, 0.5):
        config = InteractionConfig(focal_alpha=alpha)
        outcome = round_loss(logits, scores, truths, np.full(2, MASK), is_first=True, config=config)
        losses[alpha] = outcome.losses.total.sum()
        quality = losses_by_hand(logits, scores, truths)[1][:, 0]
        masks = 20 * focal_loss(logits[:, 0], truths, alpha) + dice_loss(logits[:, 0], truths)
        torch.testing.assert_close(outcome.losses.total, masks + quality)
    assert losses[0.25] != losses[0.5]


def test_the_weights_of_dice_and_of_predicted_iou_reach_the_loss() -> None:
    truths = torch.from_numpy(random_truths(2)).float()
    logits, scores = outputs_for(truths)
    masks, quality = (values[:, 0] for values in losses_by_hand(logits, scores, truths))
    outcome = round_loss(
        logits,
        scores,
        truths,
        np.full(2, MASK),
        is_first=True,
        config=InteractionConfig(dice_weight=5.0, iou_weight=4.0),
    )
    expected = masks + 4.0 * dice_loss(logits[:, 0], truths) + 4.0 * quality
    torch.testing.assert_close(outcome.losses.total, expected)


@pytest.mark.parametrize("kind", [POINT, BOX, MASK])
def test_later_rounds_teach_the_single_output(kind: int) -> None:
    truths = torch.from_numpy(random_truths(2)).float()
    logits, scores = outputs_for(truths)
    outcome = round_loss(
        logits, scores, truths, np.full(2, kind), is_first=False, config=InteractionConfig()
    )
    masks, quality = losses_by_hand(logits, scores, truths)
    torch.testing.assert_close(outcome.losses.total, masks[:, 0] + quality[:, 0])
    torch.testing.assert_close(outcome.chosen_logits, logits[:, 0].detach())


def test_the_best_predicted_mask_is_shown_not_the_one_of_least_loss() -> None:
    truths = torch.from_numpy(random_truths(2)).float()
    logits, scores = outputs_for(truths)
    with torch.no_grad():
        logits[:, 1] = 8 * (2 * truths - 1)  # perfect, and said to be poor
        scores[:] = torch.tensor([0.99, 0.1, 0.2, 0.3])
    outcome = round_loss(
        logits, scores, truths, np.array([POINT, BOX]), is_first=True, config=InteractionConfig()
    )
    torch.testing.assert_close(outcome.chosen_logits[0], logits[0, 3].detach())
    torch.testing.assert_close(outcome.chosen_logits[1], logits[1, 0].detach())
    assert not outcome.chosen_logits.requires_grad
    expected = true_iou(torch.stack([logits[0, 3], logits[1, 0]]), truths)
    torch.testing.assert_close(outcome.iou, expected)
    assert outcome.predicted_iou.tolist() == pytest.approx([0.3, 0.99])


def test_all_iou_teaches_every_score_and_still_one_mask() -> None:
    truths = torch.from_numpy(random_truths(2)).float()
    logits, scores = outputs_for(truths)
    config = InteractionConfig(all_iou=True)
    loss = output_loss(logits[:, 1:], scores[:, 1:], truths, config)
    masks, quality = losses_by_hand(logits, scores, truths)
    expected = masks[:, 1:].min(dim=1).values + quality[:, 1:].mean(dim=1)
    torch.testing.assert_close(loss.total, expected)
    loss.total.sum().backward()
    assert logits.grad is not None
    assert scores.grad is not None
    assert (scores.grad[:, 1:] != 0).all()
    assert (logits.grad.flatten(2).abs().sum(dim=2) > 0).sum(dim=1).tolist() == [1, 1]


# --- the whole step ---


@dataclass
class Round:
    """What went into the decoder and what came out."""

    coords: Tensor
    labels: Tensor
    mask_logits: Tensor | None
    has_mask: Tensor | None
    logits: Tensor
    scores: Tensor


@dataclass
class Ear:
    rounds: list[Round] = field(default_factory=list)


def listening_toy(ear: Ear) -> Sam:
    """The real toy model, whose decoder calls are written down."""
    torch.manual_seed(0)
    model = Sam(model_config("toy"))
    decode = model.decode

    def listen(
        features: Tensor,
        coords: Tensor,
        labels: Tensor,
        mask_logits: Tensor | None = None,
        has_mask: Tensor | None = None,
        text: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        assert text is None
        logits, scores = decode(features, coords, labels, mask_logits, has_mask)
        ear.rounds.append(Round(coords, labels, mask_logits, has_mask, logits, scores))
        return logits, scores

    model.decode = listen  # type: ignore[method-assign,assignment]
    return model


def batch_of(truths: BoolArray, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    image_index = torch.arange(len(truths)) % 2
    return Batch(images, truths, image_index, np.arange(len(truths), dtype=np.int64) + 10)


def test_all_outputs_may_learn_alike() -> None:
    truths = torch.from_numpy(random_truths(3)).float()
    logits, scores = outputs_for(truths)
    masks, errors = losses_by_hand(logits, scores, truths)
    config = InteractionConfig(ambiguity="mean", iou_weight=2.0)
    loss = output_loss(logits[:, 1:], scores[:, 1:], truths, config)
    expected = (masks + 2.0 * errors)[:, 1:].mean(dim=1)
    torch.testing.assert_close(loss.total, expected)


def test_a_conversation_from_a_point() -> None:
    ear, truths = Ear(), random_truths(4)
    config = InteractionConfig(first_box=0.0)
    output = sam_step(listening_toy(ear), batch_of(truths), 0, config=config)

    assert len(ear.rounds) == 11
    assert ear.rounds[0].mask_logits is None
    for number, (before, now) in enumerate(zip(ear.rounds, ear.rounds[1:], strict=False), start=1):
        shown = before.logits[:, 0]
        if number == 1:  # one point: the best predicted of three
            best = 1 + before.scores[:, 1:].argmax(dim=1)
            shown = before.logits[torch.arange(4), best]
        assert now.mask_logits is not None
        torch.testing.assert_close(now.mask_logits[:, 0], shown.detach())
        assert not now.mask_logits.requires_grad
        assert now.has_mask is None
        added = now.labels.shape[1] - before.labels.shape[1]
        torch.testing.assert_close(now.coords[:, : before.coords.shape[1]], before.coords)
        if added:
            assert added == 1
            x, y = logit_pixels(now.coords[:, -1].numpy()).astype(int).T
            wrong = truths ^ (shown.detach().numpy() > 0)
            assert wrong[np.arange(4), y, x].all()
            np.testing.assert_array_equal(now.labels[:, -1].numpy(), truths[np.arange(4), y, x])
    counts = [one.labels.shape[1] for one in ear.rounds]
    assert counts[0] == 2
    assert counts[-1] == counts[-2] == 10
    shown = ear.rounds[-1].logits[:, 0].detach()
    last = output.metrics["iou/10"]
    torch.testing.assert_close(last.total, true_iou(shown, torch.from_numpy(truths).float()).sum())
    assert last.count == 4


def test_the_loss_is_the_sum_over_rounds_and_objects() -> None:
    ear, truths = Ear(), random_truths(4)
    config = InteractionConfig(first_box=0.5, first_mask=0.2, num_clicks=2, num_mask_only=1)
    batch = batch_of(truths)
    output = sam_step(listening_toy(ear), batch, 0, config=config)
    kinds = first_prompts(
        truths, [np.random.default_rng(s) for s in batch.seeds], config, SCALE
    ).kinds
    target = torch.from_numpy(truths).float()
    losses = [
        round_loss(one.logits, one.scores, target, kinds, is_first=not number, config=config).losses
        for number, one in enumerate(ear.rounds)
    ]
    torch.testing.assert_close(output.loss, sum(one.total.sum() for one in losses))
    parts = {name: output.metrics[f"loss/{name}"].total for name in ("focal", "dice", "quality")}
    for name, value in parts.items():
        torch.testing.assert_close(value, sum(getattr(one, name).sum() for one in losses))
    assert {f"iou/{number}" for number in range(4)} <= set(output.metrics)


def test_the_names_of_metrics_do_not_hang_on_the_draw() -> None:
    """Processes add theirs up by place; what no object began with counts 0."""
    output = sam_step(
        Sam(model_config("toy")),
        batch_of(random_truths(3)),
        0,
        config=InteractionConfig(first_box=1.0),
    )
    assert {"iou/point", "iou/box", "iou/mask"} <= set(output.metrics)
    assert [float(output.metrics[f"iou/{kind}"].count) for kind in ("point", "box", "mask")] == [
        0,
        3,
        0,
    ]


def test_which_rounds_bring_a_click_hangs_on_the_step_and_not_on_the_batch() -> None:
    """Else two processes, which hold other objects, would talk in another order than one."""
    config = InteractionConfig(first_box=0.0, num_clicks=3, num_mask_only=2)

    def asks(number: int, count: int, seed: int = 0) -> list[int]:
        ear = Ear()
        sam_step(
            listening_toy(ear), batch_of(random_truths(count)), number, config=config, seed=seed
        )
        return [one.labels.shape[1] for one in ear.rounds]

    assert asks(5, 4) == asks(5, 2)
    assert len({tuple(asks(number, 2)) for number in range(12)}) > 1
    assert len({tuple(asks(0, 2, seed)) for seed in range(12)}) > 1


def test_only_objects_with_a_rough_mask_bring_one() -> None:
    ear, truths = Ear(), random_truths(12)
    config = InteractionConfig(first_box=0.3, first_mask=0.4, num_clicks=1, num_mask_only=0)
    output = sam_step(listening_toy(ear), batch_of(truths), 0, config=config)
    first = ear.rounds[0]
    assert first.has_mask is not None
    assert first.mask_logits is not None
    given = first.mask_logits.abs().amax(dim=(1, 2, 3))
    assert given.tolist() == [MASK_MAGNITUDE * value for value in first.has_mask.tolist()]
    assert 0 < first.has_mask.sum() < 12
    assert ear.rounds[1].has_mask is None  # from the second round on everyone has logits
    counts = [float(output.metrics[f"iou/{kind}"].count) for kind in ("point", "box", "mask")]
    assert min(counts) > 0
    assert sum(counts) == 12


def test_each_object_is_decoded_on_its_own_image() -> None:
    ear, truths = Ear(), random_truths(2)
    config = InteractionConfig(first_box=0.0, num_clicks=0, num_mask_only=0)
    model, batch = listening_toy(ear), batch_of(truths)
    sam_step(model, batch, 0, config=config)
    sam_step(model, replace(batch, images=batch.images.flip(0)), 0, config=config)
    sam_step(
        model,
        replace(batch, images=batch.images.flip(0), image_index=torch.tensor([1, 0])),
        0,
        config=config,
    )
    straight, swapped, back = (one.logits for one in ear.rounds)
    torch.testing.assert_close(straight, back)
    assert not torch.allclose(straight, swapped)


def test_a_step_repeats_exactly_and_hangs_on_its_seeds() -> None:
    truths = random_truths(4)
    model, batch = listening_toy(Ear()), batch_of(truths)
    first = sam_step(model, batch, 0, config=InteractionConfig()).loss.item()
    assert sam_step(model, batch, 0, config=InteractionConfig()).loss.item() == first
    other = replace(batch, seeds=batch.seeds + 1000)
    assert sam_step(model, other, 0, config=InteractionConfig()).loss.item() != first


def test_gradients_reach_every_part_of_the_model() -> None:
    model = listening_toy(Ear())
    config = InteractionConfig(first_box=0.4, first_mask=0.3, num_clicks=2, num_mask_only=1)
    sam_step(model, batch_of(random_truths(12)), 0, config=config).loss.backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # Relative positions along an axis that no window uses, and the background label, may rest for one step.
    assert not {name for name in without if "relative" not in name and "label_vectors" not in name}


def test_a_batch_moves_its_tensors_and_keeps_its_truths() -> None:
    batch = batch_of(random_truths(2)).to(torch.device("meta"))
    assert batch.images.device.type == "meta"
    assert batch.image_index.device.type == "meta"
    assert isinstance(batch.truths, np.ndarray)
