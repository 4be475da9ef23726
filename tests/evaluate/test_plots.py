from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segloop.evaluate.plots import draw_plots
from segloop.evaluate.runs import Run, RunScore


def points_run(label: str, mean: float) -> Run:
    clicks = [
        {"clicks": count, "iou": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}}
        for count in (1, 3)
    ]
    dataset = {"name": "drawn", "model": "m", "summary": {"clicks": clicks}}
    predicted = ((0.2, 0.1), (0.9, 0.95))
    scores = (RunScore((), "drawn", "a", {}, None, None, 1, predicted),)
    return Run(label, "points", {"datasets": [dataset]}, scores)


def edges_run() -> Run:
    curve = [{"recall": 1 - t, "precision": t} for t in (0.2, 0.5, 0.8)]
    datasets: list[dict[str, Any]] = [
        {
            "name": "bsds",
            "model": model,
            "summary": {"curve": curve, "ods": {"f": 0.5, "recall": 0.5, "precision": 0.5}},
        }
        for model in ("m", "Canny")
    ]
    return Run("edges", "edges", {"datasets": datasets}, ())


def proposals_run() -> Run:
    scores = tuple(
        RunScore((("image", n),), "drawn", str(n), {"best IoU": n / 10}, None, None, n)
        for n in range(10)
    )
    return Run("all", "proposals", {"datasets": [{"name": "drawn", "model": "m"}]}, scores)


def instances_run(ap: float) -> Run:
    curves = [{"iou": iou, "precision": [ap] * 101} for iou in (0.5, 0.75, None)]
    levels = [
        {"noise": noise, "precision": {"ap": ap - noise, "curves": curves}} for noise in (0.0, 0.1)
    ]
    datasets = [{"name": "drawn", "model": "m", "summary": {"levels": levels}}]
    return Run("boxes", "instances", {"datasets": datasets}, ())


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("runs", "titles"),
    [
        (
            [points_run("a", 0.4), points_run("b", 0.7)],
            ["IoU against clicks", "Calibration of the predicted IoU"],
        ),
        ([edges_run()], ["Precision against recall"]),
        ([proposals_run()], ["Recall against IoU"]),
        ([instances_run(0.6)], ["Precision against recall"]),
    ],
)
def test_every_task_has_its_plots_with_something_drawn(runs: list[Run], titles: list[str]) -> None:
    plots = draw_plots(runs)
    assert [plot.title for plot in plots] == titles
    for plot in plots:
        picture = pixels(plot.png)
        assert picture.shape[1] == pytest.approx(704, abs=2)
        assert plot.caption.endswith(".")
        colorful = (picture.max(axis=2) - picture.min(axis=2)) > 60
        assert colorful.sum() > 200


def test_a_task_without_plots_has_none() -> None:
    assert draw_plots([Run("a", "text", {"datasets": []}, ())]) == ()
    # A result of before there were curves.
    levels = [{"noise": 0.0, "precision": {"ap": 0.5}}]
    old = {"datasets": [{"name": "drawn", "model": "m", "summary": {"levels": levels}}]}
    assert draw_plots([Run("a", "instances", old, ())]) == ()


def test_other_numbers_make_another_picture() -> None:
    low, high = (draw_plots([points_run("a", mean)])[0] for mean in (0.3, 0.8))
    again = draw_plots([points_run("a", 0.3)])[0]
    assert (pixels(low.png) == pixels(again.png)).all()
    assert (pixels(low.png) != pixels(high.png)).any()
