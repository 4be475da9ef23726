"""Boxes to instances: what the model is asked, and what is made of its answers."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from segloop.data.coco_instances import open_coco
from segloop.data.sample import Labelling, Sample
from segloop.errors import InputError
from segloop.evaluate.detections import Detection, FileBoxes, TruthBoxes, detect_truths
from segloop.evaluate.instances import (
    ImageInstances,
    InstancesProtocol,
    InstancesResult,
    InstancesTask,
    evaluate_instances,
    score_instances,
    summarise_instances,
)
from segloop.evaluate.run import Journal
from segloop.geometry.rle import encode_rle
from segloop.predict.predictor import load

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

Rectangle = Callable[[tuple[int, int], slice, slice], np.ndarray]
HW = (120, 160)
Answer = Callable[[Any, int], tuple[np.ndarray, float]]


def fill(prompt: Any, output: int) -> tuple[np.ndarray, float]:
    """The box itself, and its last pixels."""
    x0, y0, x1, y1 = (round(float(side)) for side in prompt._box)
    mask = np.zeros(HW, dtype=np.bool_)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask, 0.5


def nothing(prompt: Any, output: int) -> tuple[np.ndarray, float]:
    return np.zeros(HW, dtype=np.bool_), 0.5


def unsure(prompt: Any, output: int) -> tuple[np.ndarray, float]:
    """Output 2 is the most confident of three, and wrong; with logits the answer is right."""
    mask, _ = fill(prompt, output)
    if prompt.logits is None and output == 2:
        mask[60:] = True
    return mask, {0: 0.1, 1: 0.3, 2: 0.9, 3: 0.2}[output]


@pytest.fixture
def squares(rectangle: Rectangle, samples: Any) -> Any:
    first = rectangle(HW, slice(0, 20), slice(0, 20))
    second = rectangle(HW, slice(30, 80), slice(40, 90))
    return samples([[first, second], [second]])


def evaluate(
    answer: Answer, dataset: Any, scripted: Any, **protocol: Any
) -> tuple[InstancesResult, Any]:
    predictor = scripted(answer)
    result = evaluate_instances(
        lambda: predictor,
        dataset,
        TruthBoxes(),
        name="drawn",
        protocol=InstancesProtocol(**protocol),
    )
    return result, predictor


def test_perfect_masks_score_exactly_one(squares: Any, scripted: Any) -> None:
    result, _ = evaluate(fill, squares, scripted)
    (level,) = summarise_instances(result).levels
    assert (level.precision.ap, level.precision.ap75, level.iou.mean) == (1, 1, 1)
    assert (level.ap.mean, level.ap.low, level.ap.high) == (1, 1, 1)
    assert (result.model, result.counts.num_masks) == ("scripted", 3)
    assert summarise_instances(result).num_boxes == 3


def test_empty_masks_score_zero(squares: Any, scripted: Any) -> None:
    result, _ = evaluate(nothing, squares, scripted)
    (level,) = summarise_instances(result).levels
    assert (level.precision.ap, level.precision.ap50, level.iou.mean) == (0, 0, 0)


def test_the_most_confident_of_three_is_fed_back_with_the_box(squares: Any, scripted: Any) -> None:
    result, predictor = evaluate(unsure, squares, scripted)
    outputs, prompts = predictor.calls[0]
    assert (outputs, len(prompts)) == ("three", 2)
    assert [prompt._box.tolist() for prompt in prompts] == [[0, 0, 19, 19], [40, 30, 89, 79]]
    assert all(prompt.logits is None and not len(prompt._points) for prompt in prompts)
    outputs, again = predictor.calls[1]
    assert outputs == "single"
    assert [prompt._box.tolist() for prompt in again] == [[0, 0, 19, 19], [40, 30, 89, 79]]
    # The logits say that they are of the first call, output 2.
    assert [prompt.logits[0, 0] for prompt in again] == [12, 12]
    (level,) = summarise_instances(result).levels
    assert level.first_iou.mean < 0.5
    assert level.iou.mean == 1
    assert result.images[0].levels[0].scores[0].first_iou == pytest.approx(400 / 10000)


def test_the_scores_of_the_boxes_rank(squares: Any, scripted: Any) -> None:
    """A hit behind a miss has precision 1/2, whatever the model thinks of its masks."""

    def detect(sample: Sample) -> tuple[Detection, ...]:
        return (
            Detection(None, 0.6, (40, 30, 89, 79)),
            Detection(None, 0.8, (100, 0, 140, 40)),
        )

    score = score_instances(scripted(fill), squares.read(1), detect, protocol=InstancesProtocol())
    assert [mask.score for mask in score.levels[0].outcomes.masks] == [0.8, 0.6]
    assert score.levels[0].scores == ()
    result = InstancesResult("a", "b", InstancesProtocol(), score.counts, (score,), 0)
    (level,) = summarise_instances(result).levels
    assert level.precision.ap == 0.5
    assert math.isnan(level.iou.mean)


def test_noise_is_the_same_at_every_run_and_worse_the_more_there_is(
    squares: Any, scripted: Any
) -> None:
    noise = (0.0, 0.05, 0.1, 0.3)
    result, predictor = evaluate(fill, squares, scripted, noise=noise)
    levels = summarise_instances(result).levels
    assert [level.noise for level in levels] == list(noise)
    ious = [level.iou.mean for level in levels]
    assert ious[0] == 1
    assert ious == sorted(ious, reverse=True)
    assert levels[-1].precision.ap < 0.6 < levels[0].precision.ap == 1
    assert ious[-1] < 0.9
    # Every level moves the sides by the same draws.
    boxes = [call[1][1]._box for call in predictor.calls[: 2 * len(noise) : 2]]
    shares = [
        (box - boxes[0]) / 49 / level for box, level in zip(boxes[1:], noise[1:], strict=True)
    ]
    assert np.allclose(shares[0], shares[1], atol=1e-4)
    assert np.abs(shares[0]).max() <= 1
    again, _ = evaluate(fill, squares, scripted, noise=noise)
    assert summarise_instances(again) == summarise_instances(result)
    other, _ = evaluate(fill, squares, scripted, noise=noise, seed=1)
    assert summarise_instances(other) != summarise_instances(result)


def test_crowds_and_empty_masks_count_for_nothing(
    samples: Any, scripted: Any, rectangle: Rectangle
) -> None:
    one = rectangle(HW, slice(0, 20), slice(0, 20))
    crowd = rectangle(HW, slice(30, 100), slice(0, 100))
    dataset = samples([[one, crowd, np.zeros(HW, dtype=np.bool_)]], crowds=frozenset([1]))
    result, _ = evaluate(fill, dataset, scripted)
    counts = result.counts
    assert (counts.num_masks, counts.num_crowds, counts.num_empty) == (1, 1, 1)
    assert summarise_instances(result).num_boxes == 1
    assert summarise_instances(result).levels[0].precision.ap == 1

    def in_crowd(sample: Sample) -> tuple[Detection, ...]:
        return (Detection(None, 0.9, (10, 40, 40, 60)), *detect_truths(sample))

    score = score_instances(scripted(fill), dataset.read(0), in_crowd, protocol=InstancesProtocol())
    assert [mask.outcomes[0][0] for mask in score.levels[0].outcomes.masks] == ["t", "i"]


def test_of_the_truth_every_box_counts(samples: Any, scripted: Any, rectangle: Rectangle) -> None:
    masks = [
        rectangle(HW, slice(y, y + 5), slice(x, x + 5))
        for y in range(0, 110, 10)
        for x in range(0, 120, 10)
    ]
    result, _ = evaluate(fill, samples([masks]), scripted)
    assert summarise_instances(result).num_boxes == 132 > 100
    assert summarise_instances(result).levels[0].precision.ap == 1


def test_classes_can_be_left_out(squares: Any, scripted: Any) -> None:
    sample = squares.read(0)
    annotations = tuple(
        dataclasses.replace(one, category=name)
        for one, name in zip(sample.annotations, ("cat", "dog"), strict=True)
    )
    sample = dataclasses.replace(sample, annotations=annotations)

    def swapped(sample: Sample) -> tuple[Detection, ...]:
        return (Detection("dog", 1, (0, 0, 19, 19)), Detection("cow", 1, (40, 30, 89, 79)))

    for uses_categories, expected in ((True, ["f", "f"]), (False, ["t", "t"])):
        protocol = InstancesProtocol(uses_categories=uses_categories)
        score = score_instances(scripted(fill), sample, swapped, protocol=protocol)
        masks = score.levels[0].outcomes.masks
        assert [mask.outcomes[0][0] for mask in masks] == expected
    with pytest.raises(InputError, match="the boxes have classes, the annotations have none"):
        score_instances(scripted(fill), squares.read(0), swapped, protocol=InstancesProtocol())


def test_what_was_not_looked_for_is_not_segmented(squares: Any, scripted: Any) -> None:
    sample = squares.read(1)
    annotations = tuple(dataclasses.replace(one, category="cat") for one in sample.annotations)
    labelling = Labelling(absent=frozenset({"dog"}), incomplete=frozenset())
    sample = dataclasses.replace(sample, annotations=annotations, labelling=labelling)

    def detect(sample: Sample) -> tuple[Detection, ...]:
        return tuple(Detection(name, 0.5, (40, 30, 89, 79)) for name in ("cat", "dog", "cow"))

    predictor = scripted(fill)
    score = score_instances(predictor, sample, detect, protocol=InstancesProtocol())
    assert score.num_boxes == len(predictor.calls[0][1]) == 2
    assert [mask.category for mask in score.levels[0].outcomes.masks] == ["cat", "dog"]


def test_an_image_without_boxes_has_its_truth_missed(squares: Any, scripted: Any) -> None:
    score = score_instances(
        scripted(fill), squares.read(0), lambda sample: (), protocol=InstancesProtocol()
    )
    assert score.num_boxes == 0
    result = InstancesResult("a", "b", InstancesProtocol(), score.counts, (score,), 0)
    assert summarise_instances(result).levels[0].precision.ap == 0


@pytest.mark.parametrize("noise", [(), (-0.1,), (float("nan"),), (1.5,), (0.1, 0.1)])
def test_noise_without_sense_is_refused(noise: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="noise"):
        InstancesProtocol(noise=noise)


def test_an_answer_that_is_no_number_is_refused(squares: Any, scripted: Any, damage: Any) -> None:
    quality, logit, message = damage
    predictor = scripted(lambda prompt, output: (fill(prompt, 0)[0], quality), logit=logit)
    with pytest.raises(InputError, match=message):
        evaluate_instances(lambda: predictor, squares, TruthBoxes(), name="drawn")


def test_scores_go_through_json_and_are_not_made_again(
    squares: Any, scripted: Any, tmp_path: Path
) -> None:
    predictor = scripted(fill)
    journal = Journal(tmp_path / "journal.jsonl", {"seed": 0})
    run = partial(
        evaluate_instances, lambda: predictor, squares, TruthBoxes(), name="drawn", journal=journal
    )
    first = run()
    num_calls = len(predictor.calls)
    assert run() == first
    assert len(predictor.calls) == num_calls
    adapter = TypeAdapter(ImageInstances)
    assert adapter.validate_json(adapter.dump_json(first.images[0])) == first.images[0]


def test_a_task_goes_to_another_process_as_names(toy_export: ExportReport, tmp_path: Path) -> None:
    """The whole way with a model of random weights: COCO file, file of detections, masks, outcomes."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    square = encode_rle(np.pad(np.ones((10, 12), dtype=np.bool_), ((5, 15), (8, 20)))).to_json()
    content = {
        "images": [{"id": 4, "file_name": "a.png", "height": 30, "width": 40}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 4, "category_id": 3, "segmentation": square}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    found = [{"image_id": 4, "category_id": 3, "bbox": [8, 5, 12, 10], "score": 0.7}]
    (tmp_path / "results.json").write_text(json.dumps(found))
    dataset = open_coco(tmp_path / "instances.json", tmp_path)
    task = InstancesTask(
        partial(load, toy_export.folder, threads=1),
        FileBoxes(tmp_path / "results.json", dataset),
        dataset,
        InstancesProtocol(noise=(0, 0.2)),
    )
    sent = pickle.dumps(task)
    assert len(sent) < 2000
    scores = [one.start()(0) for one in (task, pickle.loads(sent))]
    assert scores[0].levels == scores[1].levels
    assert [mask.score for mask in scores[0].levels[1].outcomes.masks] == [0.7]
    assert scores[0].levels[0].outcomes.truths[0].counts == (1, 1, 0, 0)
