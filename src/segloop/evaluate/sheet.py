"""What lies behind the numbers: objects of a run that came out best, middling and worst, with prompt, mask and truth.

The masks are predicted anew: by the model that was scored, on the data that were scored. Both are checked.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from segloop.data.sample import Annotation, Sample, SampleSet
from segloop.errors import InputError
from segloop.evaluate.clicking import click_once
from segloop.evaluate.detections import Detection
from segloop.evaluate.instances import segment_boxes
from segloop.evaluate.plots import Plot
from segloop.evaluate.points import PointsProtocol, first_click
from segloop.evaluate.runs import Run, RunScore
from segloop.evaluate.truth import relative_size
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import mask_iou
from segloop.geometry.overlay import PixelArray
from segloop.geometry.panels import TRUE, View, frame_panels, stack_panels, write_caption
from segloop.predict.predictor import Predictor
from segloop.prompts.simulate import open_box, truth_box

NUM_OBJECTS = 3
_PANEL_PX, _GAP_PX, _HEAD_PX = 176, 18, 16
_NOTICEABLE = 0.01
# By what objects are ranked, and what of them is drawn.
_MEASURES = {"points": "1 click", "instances": "IoU fed back"}


@dataclass(frozen=True)
class Choice:
    """Objects of one kind, the most telling first."""

    title: str
    scores: tuple[RunScore, ...]


def draw_sheets(
    runs: Sequence[Run],
    datasets: Sequence[SampleSet],
    load: Callable[[str | None, bool], Predictor],
) -> tuple[Plot, ...]:
    """A sheet for each of these datasets that a run has scored.

    load: gives the model by the name it had when it was scored, None where the result does not say, and by whether it
    looked closer. Raises InputError for tasks other than points and instances, where no run has scored one of the
    datasets, for another model than was scored, and for other data.
    """
    if runs[0].task not in _MEASURES:
        raise InputError(
            f"objects can be drawn of {' and '.join(_MEASURES)}, not of {runs[0].task}: leave out --data"
        )
    sheets = []
    for run in runs:
        scored = {record["name"]: record for record in run.report["datasets"]}
        known = [dataset for dataset in datasets if dataset.name in scored]
        if known:
            settings = run.report.get("settings", {})
            predictor = load(settings.get("model"), bool(settings.get("closer")))
        for dataset in known:
            title = f"Best, median and worst: {dataset.name}"
            if len(runs) > 1:
                title += f", {run.label}"
            sheets.append(draw_sheet(predictor, run, scored[dataset.name], dataset, title))
    if not sheets:
        raise InputError(
            f"no run has scored {', '.join(one.name for one in datasets)}: "
            f"{runs[0].label} has {', '.join(one['name'] for one in runs[0].report['datasets'])}"
        )
    return tuple(sheets)


def draw_sheet(predictor: Predictor, run: Run, record: Any, dataset: SampleSet, title: str) -> Plot:
    """The sheet of one dataset, of which the run's report has this record; raises as draw_sheets does."""
    if predictor.spec.identity != record["model"]:
        raise InputError(
            f"{run.label} was scored with model {record['model']}, this one ({predictor.spec.name}) is "
            f"{predictor.spec.identity}: name the one that was scored by --model"
        )
    measure = _MEASURES[run.task]
    choices = choose_objects([one for one in run.scores if one.dataset == dataset.name], measure)
    if not choices:
        raise InputError(f"{run.label} has no object of {dataset.name} with {measure} to be drawn")
    places = {name: index for index, name in enumerate(dataset.sample_names)}
    columns = []
    for choice in choices:
        pairs = [
            _draw_object(predictor, run, record, score, _find(dataset, places, score, run.label))
            for score in choice.scores
        ]
        columns.append((choice.title, pairs))
    caption = (
        f"Left of each pair the mask for the prompt that is drawn, right the truth. By {measure}, {len(choices[0].scores)} "
        "each of the best, of those around the median, and of the worst, from different images where there are enough."
    )
    return Plot(title, caption, _encode(_lay_out(columns)))


def choose_objects(
    scores: Iterable[RunScore], measure: str, num_objects: int = NUM_OBJECTS
) -> tuple[Choice, ...]:
    """The best, the median and the worst by a measure, so many of each, or a third of all where there are fewer.

    Images are as many as there can be; no object is of two kinds, unless there are fewer than three.
    """
    ranked = sorted(
        (one for one in scores if measure in one.values and one.annotation_id is not None),
        key=lambda one: (one.values[measure], one.image, one.annotation_id),
    )
    if not ranked:
        return ()
    count = min(num_objects, max(1, len(ranked) // 3))
    best = _of_different_images(ranked[::-1], count)
    worst = _of_different_images([one for one in ranked if one not in best] or ranked, count)
    middle = (len(ranked) - 1) / 2
    by_rank = sorted(range(len(ranked)), key=lambda rank: abs(rank - middle))
    others = [ranked[rank] for rank in by_rank if ranked[rank] not in (*best, *worst)]
    median = _of_different_images(others or [ranked[by_rank[0]]], count)
    return Choice("best", best), Choice("median", median), Choice("worst", worst)


def _of_different_images(ranked: Sequence[RunScore], count: int) -> tuple[RunScore, ...]:
    """The first ones, each of another image as far as there are such."""
    chosen: list[RunScore] = []
    for is_strict in (True, False):
        for one in ranked:
            is_new = one.image not in {other.image for other in chosen}
            if len(chosen) < count and one not in chosen and (is_new or not is_strict):
                chosen.append(one)
    return tuple(chosen)


@dataclass(frozen=True, eq=False)
class _Truth:
    sample: Sample
    annotation: Annotation
    mask: BoolArray


def _find(dataset: SampleSet, places: dict[str, int], score: RunScore, label: str) -> _Truth:
    """The object of a score, if it is there and has the size it had."""
    if score.image in places:
        sample = dataset.read(places[score.image])
        for annotation in sample.annotations:
            if annotation.id != score.annotation_id:
                continue
            mask = annotation.mask()
            if score.relative_size is None or math.isclose(
                relative_size(mask), score.relative_size, rel_tol=1e-6
            ):
                return _Truth(sample, annotation, mask)
    raise InputError(
        f"{dataset.name} is not as it was scored: {label} has another annotation {score.annotation_id} of {score.image}"
    )


def _draw_object(
    predictor: Predictor, run: Run, record: Any, score: RunScore, truth: _Truth
) -> PixelArray:
    """Prediction and truth side by side, with the object's image below."""
    prompt, mask = _PREDICT[run.task](predictor, record, truth)
    iou = float(mask_iou(mask, truth.mask))
    scored = score.values[_MEASURES[run.task]]
    note = f" (scored {scored:.2f})" if abs(iou - scored) > _NOTICEABLE else ""
    view = View(truth.sample.image, truth.mask, _PANEL_PX)
    pair = stack_panels(
        [
            view.draw(mask, f"IoU {iou:.2f}{note}", **prompt),
            view.draw(truth.mask, score.category or "truth", color=TRUE),
        ],
        axis=1,
    )
    below = write_caption(f"{score.image}, {score.annotation_id}", pair.shape[1])
    return stack_panels([pair, below], axis=0, gap_px=0)


def _click(predictor: Predictor, record: Any, truth: _Truth) -> tuple[dict[str, Any], BoolArray]:
    protocol = record["protocol"]
    wanted = PointsProtocol(seed=protocol["seed"], first_click=protocol["first_click"])
    click = first_click(truth.sample.name, truth.annotation, truth.mask, wanted)
    embedding = predictor.encode(truth.sample.image)
    answer = click_once(predictor, embedding, truth.mask[None], (click,))
    return {"points_xy": [click.xy], "labels": [1]}, answer.best.masks[0]


def _box(predictor: Predictor, _: Any, truth: _Truth) -> tuple[dict[str, Any], BoolArray]:
    x0, y0, x1, y1 = map(float, open_box(truth_box(truth.mask)))
    box = Detection(truth.annotation.category, 1.0, (x0, y0, x1, y1))
    embedding = predictor.encode(truth.sample.image)
    still = np.zeros((1, 4), dtype=np.float32)
    ((_, _, last),) = segment_boxes(predictor, embedding, [box], 0.0, still)
    return {"box_xyxy": box.box_xyxy}, last


_PREDICT = {"points": _click, "instances": _box}


def _lay_out(columns: Sequence[tuple[str, Sequence[PixelArray]]]) -> PixelArray:
    """A column of pairs under the title of each kind."""
    heads = [
        write_caption(title, max(pair.shape[1] for pair in pairs), font_px=_HEAD_PX)
        for title, pairs in columns
    ]
    rows = [stack_panels(heads, axis=1, gap_px=_GAP_PX)]
    rows += [
        stack_panels(row, axis=1, gap_px=_GAP_PX)
        for row in zip(*(pairs for _, pairs in columns), strict=True)
    ]
    return frame_panels(stack_panels(rows, axis=0))


def _encode(picture: PixelArray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", optimize=True)
    return stream.getvalue()
