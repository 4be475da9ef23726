"""Average recall by hand, and against pycocotools' own."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segloop.data.sample import Sample
from segloop.errors import InputError
from segloop.evaluate.proposals import (
    ModelProposals,
    evaluate_proposals,
    rank_proposals,
    score_proposals,
    single_output_proposals,
    summarise_proposals,
)
from segloop.evaluate.recall import score_truths
from segloop.evaluate.run import Journal
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.masks import mask_boxes
from segloop.geometry.rle import encode_rle
from segloop.predict.automatic import AutomaticConfig
from segloop.predict.predictor import load

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

Rectangle = Callable[[tuple[int, int], slice, slice], np.ndarray]
IMAGE_HW = (120, 160)


def encoded(masks: list[np.ndarray], quality: list[float] | None = None) -> EncodedMasks:
    """Masks with these predicted IoUs and stability 0."""
    count, pixels = len(masks), np.array(masks, dtype=np.bool_).reshape(-1, *masks[0].shape)
    numbers = np.arange(count)
    scores = np.array(quality if quality is not None else [0.5] * count, dtype=np.float32)
    return EncodedMasks(
        image_hw=masks[0].shape[:2],
        rles=tuple(encode_rle(mask) for mask in masks),
        boxes_xyxy=mask_boxes(pixels),
        areas=pixels.sum(axis=(1, 2)),
        predicted_iou=scores,
        stability_score=np.zeros(count, dtype=np.float32),
        points_xy=np.zeros((count, 2), dtype=np.float32),
        crop_boxes_xyxy=np.zeros((count, 4), dtype=np.float32),
        prompt_index=numbers,
        output_index=1 + numbers % 3,
    )


def test_ranks_by_quality_and_leaves_empty_masks_out(rectangle: Rectangle) -> None:
    masks = [rectangle(IMAGE_HW, slice(0, rows), slice(0, 10)) for rows in (5, 0, 7, 9)]
    proposals = encoded(masks, [0.2, 0.9, 0.8, 0.4])
    assert rank_proposals(proposals).tolist() == [2, 3, 0]
    assert rank_proposals(proposals, 2).tolist() == [2, 3]


def test_stability_counts_as_much_as_predicted_iou(rectangle: Rectangle) -> None:
    proposals = encoded([rectangle(IMAGE_HW, slice(0, 5), slice(0, 5))] * 2, [0.5, 0.6])
    proposals.stability_score[:] = 0.9, 0.7
    assert rank_proposals(proposals).tolist() == [0, 1]


def test_a_random_rank_is_drawn_anew_for_every_image_and_hangs_on_the_seed_alone(
    samples: Any, rectangle: Rectangle
) -> None:
    masks = [rectangle(IMAGE_HW, slice(0, rows), slice(0, 10)) for rows in range(40)]
    proposals = encoded(masks, [0.5] * 40)
    drawn = rank_proposals(proposals, 10, np.random.default_rng(3)).tolist()
    assert drawn == rank_proposals(proposals, 10, np.random.default_rng(3)).tolist()
    assert drawn != rank_proposals(proposals, 10).tolist()
    assert 0 not in rank_proposals(proposals, 40, np.random.default_rng(3))
    assert len(set(drawn)) == 10
    # One of twenty squares is true: whether it is among ten drawn differs between images and seeds.
    squares = [rectangle(IMAGE_HW, slice(0, 5), slice(x, x + 5)) for x in range(0, 100, 5)]
    dataset = samples([squares[:1]] * 12)

    def found(seed: int) -> list[float]:
        scores = [
            score_proposals(
                lambda image: encoded(squares),
                dataset.read(index),
                max_proposals=10,
                ranking="random",
                seed=seed,
            )
            for index in range(12)
        ]
        return [one.scores[0].found for one in scores]

    assert found(0) == found(0) != found(1)
    assert set(found(0)) == {0.0, 1.0}


def test_a_quality_that_is_no_number_is_refused(rectangle: Rectangle) -> None:
    masks = [rectangle(IMAGE_HW, slice(0, rows), slice(0, 5)) for rows in (5, 5, 0)]
    unknown = float("nan")
    # The logits of a damaged model are no numbers either, so that its masks are without a pixel.
    for quality in ([0.5, unknown, 0.5], [0.5, 0.5, unknown]):
        for draw in (None, np.random.default_rng(0)):
            with pytest.raises(InputError, match="a predicted IoU is no number"):
                rank_proposals(encoded(masks, quality), draw=draw)
    proposals = encoded(masks)
    proposals.stability_score[2] = np.inf
    with pytest.raises(InputError, match="a stability is no number"):
        rank_proposals(proposals)


def test_a_mask_on_the_border_of_two_sizes_counts_in_both(
    samples: Any, rectangle: Rectangle
) -> None:
    border = rectangle(IMAGE_HW, slice(0, 32), slice(0, 32))
    small = rectangle(IMAGE_HW, slice(0, 29), slice(0, 29))
    result = evaluate_proposals(
        lambda image: encoded([small]), samples([[border, small]]), name="drawn", model="none"
    )
    by_size = [
        (one.num_masks, one.average_recall.mean) for one in summarise_proposals(result).sizes
    ]
    # The one proposal is the small mask itself; among the medium ones it finds the other, at .82.
    assert by_size[:2] == [(2, pytest.approx(0.5)), (1, pytest.approx(0.7))]
    assert by_size[2][0] == 0


def test_scores_of_a_scene_by_hand(samples: Any, rectangle: Rectangle) -> None:
    """A mask found exactly, one at IoU .8, one missed; a crowd and its proposal count for nothing."""
    exact = rectangle(IMAGE_HW, slice(0, 20), slice(0, 20))
    rough = rectangle(IMAGE_HW, slice(30, 80), slice(0, 50))
    missed = rectangle(IMAGE_HW, slice(0, 10), slice(100, 110))
    crowd = rectangle(IMAGE_HW, slice(90, 120), slice(0, 160))
    proposals = [exact, rectangle(IMAGE_HW, slice(30, 70), slice(0, 50)), crowd]
    dataset = samples([[exact, rough, missed, crowd]], crowds=frozenset([3]))
    result = evaluate_proposals(
        lambda image: encoded(proposals), dataset, name="drawn", model="none"
    )
    assert [score.found for score in result.scores] == pytest.approx([1.0, 0.7, 0.0])
    assert [score.best_iou for score in result.scores] == pytest.approx([1.0, 0.8, 0.0])
    assert (result.counts.num_masks, result.counts.num_crowds) == (3, 1)
    summary = summarise_proposals(result)
    assert summary.average_recall.mean == pytest.approx(1.7 / 3)
    by_size = {one.size: (one.num_masks, one.average_recall.mean) for one in summary.sizes}
    assert by_size["small"] == (2, pytest.approx(0.5))
    assert by_size["medium"] == (1, pytest.approx(0.7))
    assert by_size["large"][0] == 0
    assert np.isnan(by_size["large"][1])
    assert summary.mean_proposals == 3
    assert result.images[0].num_generated == 3


def test_no_more_proposals_count_than_are_allowed(samples: Any, rectangle: Rectangle) -> None:
    truth = rectangle(IMAGE_HW, slice(0, 20), slice(0, 20))
    other = rectangle(IMAGE_HW, slice(50, 60), slice(50, 60))
    for quality, found in (([0.1, 0.2], 0.0), ([0.3, 0.2], 1.0)):
        masks = encoded([truth, other], quality)
        result = evaluate_proposals(
            lambda image, masks=masks: masks,
            samples([[truth]]),
            name="drawn",
            model="none",
            max_proposals=1,
        )
        assert result.scores[0].found == found


def test_frequencies_are_scored_each_for_itself(rectangle: Rectangle, samples: Any) -> None:
    """One proposal fits a rare mask at .8 and a frequent one at 1: among all it is the frequent one's."""
    rare = rectangle(IMAGE_HW, slice(0, 50), slice(0, 50))
    frequent = rectangle(IMAGE_HW, slice(0, 40), slice(0, 50))
    sample = samples([[rare, frequent, rare[::-1]]]).read(0)
    names = ("rare", "frequent", None)
    annotations = tuple(
        dataclasses.replace(one, frequency=name)
        for one, name in zip(sample.annotations, names, strict=True)
    )
    scores = score_truths("a", annotations, encoded([frequent]))
    assert [one.found for one in scores] == [0, 1, 0]
    assert [one.found_in_frequency for one in scores] == [pytest.approx(0.7), 1, None]
    dataset = [Sample("a", sample.image, annotations)]
    summary = summarise_proposals(
        evaluate_proposals(lambda image: encoded([frequent]), Listed(dataset), name="a", model="b")
    )
    assert [(one.frequency, one.num_masks) for one in summary.frequencies] == [
        ("frequent", 1),
        ("common", 0),
        ("rare", 1),
    ]
    assert summary.frequencies[0].average_recall.mean == 1
    assert summary.frequencies[2].average_recall.mean == pytest.approx(0.7)


def test_a_set_without_frequencies_has_none(samples: Any, rectangle: Rectangle) -> None:
    truth = rectangle(IMAGE_HW, slice(0, 20), slice(0, 20))
    result = evaluate_proposals(
        lambda image: encoded([truth]), samples([[truth]]), name="drawn", model="none"
    )
    assert summarise_proposals(result).frequencies == ()
    assert summarise_proposals(result).average_recall.mean == 1


@dataclasses.dataclass
class Listed:
    samples: list[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Sample:
        return self.samples[index]


def test_what_was_scored_is_not_generated_again(
    samples: Any, rectangle: Rectangle, tmp_path: Path
) -> None:
    truth = rectangle(IMAGE_HW, slice(0, 20), slice(0, 20))
    calls: list[int] = []

    def generate(image: np.ndarray) -> EncodedMasks:
        calls.append(1)
        return encoded([truth])

    score = partial(
        evaluate_proposals, generate, samples([[truth]] * 3), name="drawn", model="none"
    )
    journal = Journal(tmp_path / "journal.jsonl", {"seed": 0})
    first, second = score(journal=journal), score(journal=journal)
    assert len(calls) == 3
    assert first == second
    assert len(first.scores) == 3


def test_a_model_goes_to_another_process_as_its_name(toy_export: ExportReport) -> None:
    config = AutomaticConfig(
        points_per_side=3, predicted_iou_threshold=0, stability_threshold=0, box_nms_threshold=1.0
    )
    here = ModelProposals(partial(load, toy_export.folder, threads=1), config)
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    masks = here(image)
    there = pickle.loads(pickle.dumps(here))
    assert "_predictor" not in vars(there)
    assert there(image).rles == masks.rles
    assert set(masks.output_index.tolist()) == {1, 2, 3}


def test_the_ablation_has_one_mask_of_a_point(toy_export: ExportReport) -> None:
    single = single_output_proposals(partial(load, toy_export.folder, threads=1))
    assert single.config.points_per_side == 128
    assert single.config.box_nms_threshold == 0.95
    few = dataclasses.replace(
        single, config=dataclasses.replace(single.config, points_per_side=3, box_nms_threshold=1.0)
    )
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    masks = few(image)
    assert set(masks.output_index.tolist()) == {0}
    assert len(set(masks.prompt_index.tolist())) == len(masks) <= 9


def test_nothing_generated_finds_nothing(samples: Any, rectangle: Rectangle) -> None:
    truth = rectangle(IMAGE_HW, slice(0, 20), slice(0, 20))
    result = evaluate_proposals(
        lambda image: EncodedMasks.none(IMAGE_HW), samples([[truth]]), name="drawn", model="none"
    )
    assert summarise_proposals(result).average_recall.mean == 0


def test_refuses_to_score_no_proposals(samples: Any) -> None:
    with pytest.raises(InputError, match="max_proposals"):
        evaluate_proposals(
            lambda image: EncodedMasks.none(IMAGE_HW),
            samples([]),
            name="a",
            model="b",
            max_proposals=0,
        )


@pytest.mark.parametrize("ranking", ["worst", ""])
def test_refuses_another_ranking(samples: Any, ranking: Any) -> None:
    with pytest.raises(InputError, match="ranking is one of quality, random"):
        evaluate_proposals(
            lambda image: EncodedMasks.none(IMAGE_HW),
            samples([]),
            name="a",
            model="b",
            ranking=ranking,
        )


def test_agrees_with_pycocotools(samples: Any) -> None:
    """COCOeval without classes, a thousand detections: overall and by size, on crowded random rectangles.

    Four of each image have an area that is the end of two ranges.
    """
    rng = np.random.default_rng(0)
    borders = [(32, 32), (16, 64), (96, 96), (64, 144)]
    truths = [
        [random_rectangle(rng, size_hw) for size_hw in (*borders, *[None] * 8)] for _ in range(3)
    ]
    proposals = [
        encoded(
            [jitter(mask, rng) for mask in masks for _ in range(4)]
            + [random_rectangle(rng) for _ in range(30)],
            rng.permutation(78).tolist(),
        )
        for masks in truths
    ]
    waiting = iter(proposals)
    dataset = samples(truths, crowds=frozenset([11]))
    result = evaluate_proposals(lambda image: next(waiting), dataset, name="drawn", model="none")
    summary = summarise_proposals(result)
    ours = [summary.average_recall.mean, *(one.average_recall.mean for one in summary.sizes)]
    expected = coco_average_recalls(truths, proposals)
    assert all(0.05 < recall < 0.95 for recall in expected)
    assert ours == pytest.approx(expected, abs=1e-12)


def random_rectangle(
    rng: np.random.Generator, size_hw: tuple[int, int] | None = None
) -> np.ndarray:
    mask = np.zeros((200, 240), dtype=np.bool_)
    height, width = size_hw or rng.integers(8, 150, size=2)
    y, x = rng.integers(0, 200 - height), rng.integers(0, 240 - width)
    mask[y : y + height, x : x + width] = True
    return mask


def jitter(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rectangle with its sides moved by up to an eighth."""
    x0, y0, x1, y1 = mask_boxes(mask[None])[0].astype(int)
    moved = np.zeros_like(mask)
    near_x, near_y = 1 + (x1 - x0) // 8, 1 + (y1 - y0) // 8
    top, bottom = y0 + rng.integers(0, near_y + 1), y1 - rng.integers(0, near_y + 1)
    left, right = x0 + rng.integers(0, near_x + 1), x1 - rng.integers(0, near_x + 1)
    moved[top : bottom + 1, left : right + 1] = True
    return moved


def coco_average_recalls(
    truths: list[list[np.ndarray]], proposals: list[EncodedMasks]
) -> list[float]:
    """AR@1000 of all, small, medium and large masks; the last mask of an image is a crowd."""
    annotations = [
        {
            "id": 100 * image + number + 1,
            "image_id": image,
            "category_id": 1 + number % 3,
            "segmentation": encode_rle(mask).to_json(),
            "area": int(mask.sum()),
            "iscrowd": int(number == 11),
        }
        for image, masks in enumerate(truths)
        for number, mask in enumerate(masks)
    ]
    detections = [
        {
            "image_id": image,
            "category_id": 1,
            "segmentation": rle.to_json(),
            "score": float(score),
        }
        for image, masks in enumerate(proposals)
        for rle, score in zip(masks.rles, masks.predicted_iou, strict=True)
    ]
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image, "height": 200, "width": 240} for image in range(len(truths))],
        "annotations": annotations,
        "categories": [{"id": number} for number in (1, 2, 3)],
        "info": {},
    }
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(detections), "segm")
    evaluation.params.useCats = 0
    evaluation.params.maxDets = [1000]
    evaluation.evaluate()
    evaluation.accumulate()
    return [float(np.mean(evaluation.eval["recall"][:, 0, area, 0])) for area in range(4)]
