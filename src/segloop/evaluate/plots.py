"""Plots of results, as PNG: IoU against clicks, recall against IoU, precision against recall, calibration."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop.errors import InputError
from segloop.evaluate.edges import OPERATORS
from segloop.evaluate.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 10
_COLORS = ("#0b6e99", "#c2571a", "#3a7d44", "#7b4fa3", "#a8324a", "#6b6b6b")
_LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Plot:
    """A picture with its title and a sentence that says what it shows."""

    title: str
    caption: str
    png: bytes


def draw_plots(runs: Sequence[Run]) -> tuple[Plot, ...]:
    """The plots that runs of one task have; none for a task without any. InputError where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'segloop[evaluate]'") from error
    if runs[0].task == "points":
        return (_clicks(runs), _calibration(runs))
    if runs[0].task == "proposals":
        return (_recall(runs),)
    if runs[0].task == "edges":
        return (_precision(runs),)
    if runs[0].task == "instances" and any(_levels_with_curves(runs)):
        return (_precision_of_instances(runs),)
    return ()


def _clicks(runs: Sequence[Run]) -> Plot:
    figure, axes = _figure("clicks", "mean IoU")
    for run, dataset, style in _styled(runs):
        points = [
            (one["clicks"], one["iou"]["mean"], one["iou"]["low"], one["iou"]["high"])
            for one in dataset["summary"]["clicks"]
        ]
        clicks, means, lows, highs = np.array(points, dtype=np.float64).T
        axes.plot(
            clicks, means, marker="o", markersize=4, label=_label(runs, run, dataset), **style
        )
        axes.fill_between(clicks, lows, highs, color=style["color"], alpha=0.12, linewidth=0)
        axes.set_xticks(clicks)
    axes.set_ylim(0, 1)
    caption = "Mean IoU after so many clicks, each in the middle of the larger error; the bands are 95% intervals."
    return _finished(figure, axes, "IoU against clicks", caption)


def _calibration(runs: Sequence[Run]) -> Plot:
    figure, axes = _figure("predicted IoU", "true IoU")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for run, dataset, style in _styled(runs):
        pairs = run.predicted_ious(dataset["name"])
        if not len(pairs):
            continue
        predicted, true = pairs.T
        place = np.clip((predicted * _BINS).astype(int), 0, _BINS - 1)
        counts = np.bincount(place, minlength=_BINS)
        filled = counts > 0
        x = np.bincount(place, predicted, _BINS)[filled] / counts[filled]
        y = np.bincount(place, true, _BINS)[filled] / counts[filled]
        axes.plot(x, y, label=_label(runs, run, dataset), **style)
        size = 6 + 120 * counts[filled] / counts.max()
        axes.scatter(x, y, size, color=style["color"], alpha=0.6, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    caption = (
        "What the model says of its three masks of one click against what is true, in tenths; "
        "the larger a dot, the more masks. On the grey line it says the truth."
    )
    return _finished(figure, axes, "Calibration of the predicted IoU", caption)


def _recall(runs: Sequence[Run]) -> Plot:
    figure, axes = _figure("IoU", "share of true masks")
    thresholds = np.linspace(0.5, 0.95, 46)
    for run, dataset, style in _styled(runs):
        best = np.array(
            [one.values["best IoU"] for one in run.scores if one.dataset == dataset["name"]]
        )
        if len(best):
            shares = (best[None] >= thresholds[:, None]).mean(axis=1)
            axes.plot(thresholds, shares, label=_label(runs, run, dataset), **style)
    axes.set_ylim(0, 1)
    caption = "True masks for which some proposal reaches an IoU, whichever mask that proposal was counted for."
    return _finished(figure, axes, "Recall against IoU", caption)


def _precision(runs: Sequence[Run]) -> Plot:
    figure, axes = _figure("recall", "precision")
    for run, dataset, style in _styled(runs):
        curve = [(one["recall"], one["precision"]) for one in dataset["summary"]["curve"]]
        recall, precision = np.array([pair for pair in curve if any(pair)], dtype=np.float64).T
        best = dataset["summary"]["ods"]
        name = f"{_label(runs, run, dataset)} (F {best['f']:.3f})"
        axes.plot(recall, precision, label=name, **style)
        axes.plot(best["recall"], best["precision"], "o", color=style["color"])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    caption = "Precision and recall of boundary pixels over 99 thresholds; the dots are the best F of the whole set."
    return _finished(figure, axes, "Precision against recall", caption)


def _precision_of_instances(runs: Sequence[Run]) -> Plot:
    figure, axes = _figure("recall", "precision")
    recalls = np.linspace(0, 1, 101)
    for run, dataset, level, color in _levels_with_curves(runs):
        by_iou = {curve["iou"]: curve["precision"] for curve in level["precision"]["curves"]}
        noise = f", noise {level['noise']:g}" if level["noise"] else ""
        name = f"{_label(runs, run, dataset)}{noise} (AP {level['precision']['ap']:.3f})"
        axes.plot(recalls, by_iou[None], color=color, label=name)
        axes.plot(recalls, by_iou[0.5], color=color, linestyle="--", linewidth=1)
        axes.plot(recalls, by_iou[0.75], color=color, linestyle=":", linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    caption = (
        "Precision of the masks by falling score, mean over classes: at IoU .50 (dashed), at .75 (dotted), "
        "and over .50 to .95, the area below which is AP."
    )
    return _finished(figure, axes, "Precision against recall", caption)


def _levels_with_curves(runs: Sequence[Run]) -> Iterator[tuple[Run, Any, Any, str]]:
    """Every level of noise of every dataset and run with a colour of its own; those of results without curves left out."""
    levels = [
        (run, dataset, level)
        for run in runs
        for dataset in run.report["datasets"]
        for level in dataset["summary"]["levels"]
        if level["precision"].get("curves")
    ]
    for number, one in enumerate(levels):
        yield *one, _COLORS[number % len(_COLORS)]


def _figure(x: str, y: str) -> tuple[Any, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finished(figure: Any, axes: Axes, title: str, caption: str) -> Plot:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return Plot(title, caption, stream.getvalue())


def _styled(runs: Sequence[Run]) -> Iterator[tuple[Run, Any, dict[str, Any]]]:
    """Every dataset of every run: a colour for each dataset, a kind of line for each run."""
    colors: dict[str, str] = {}
    for number, run in enumerate(runs):
        for dataset in run.report["datasets"]:
            name = f"{dataset['name']} {_operator(dataset)}"
            colors.setdefault(name, _COLORS[len(colors) % len(_COLORS)])
            yield run, dataset, {"color": colors[name], "linestyle": _LINES[number % len(_LINES)]}


def _label(runs: Sequence[Run], run: Run, dataset: Any) -> str:
    name = f"{dataset['name']}{_operator(dataset)}"
    return name if len(runs) == 1 else f"{run.label}: {name}"


def _operator(dataset: Any) -> str:
    """What found the edges, where it was no model."""
    return f", {dataset['model']}" if dataset["model"] in OPERATORS else ""
