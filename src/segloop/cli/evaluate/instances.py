"""segloop evaluate instances: masks from boxes, as instance segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segloop.cli.evaluate.running import (
    DataArgument,
    EvaluationSet,
    JobsOption,
    LimitOption,
    RedoOption,
    Running,
    SeedOption,
    describe_run,
    loader,
    open_sets,
    score_sets,
    settings_of,
    stamp_of,
)
from segloop.cli.options import CloserOption, DeviceOption, ModelOption, OutOption, ThreadsOption
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.data.sample import SampleSet
    from segloop.evaluate.detections import Boxes


def evaluate_instances(
    data: DataArgument,
    out: OutOption,
    model: ModelOption = "default",
    boxes: Annotated[
        str,
        typer.Option(
            metavar="truth|FILE.json|DETECTOR",
            help="The true boxes, a file of COCO results, or a detector of transformers by name or folder.",
        ),
    ] = "truth",
    noise: Annotated[
        str,
        typer.Option(
            metavar="S,S,...", help="Move the sides of the boxes by up to these shares of them."
        ),
    ] = "0",
    one_class: Annotated[
        bool, typer.Option("--one-class", help="Take all objects for one class.")
    ] = False,
    limit: LimitOption = None,
    jobs: JobsOption = 1,
    redo: RedoOption = False,
    seed: SeedOption = 0,
    closer: CloserOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Score masks from boxes by average precision (paper §7.4).

    Prints a table; FOLDER/instances.json has all numbers with intervals,
    FOLDER/instances.jsonl a line for every box and for every image. A run that
    was stopped goes on where it was when the same command is given again.

    [bold]Examples[/bold]

      segloop evaluate instances coco.tar -o scores/instances --noise 0,0.05,0.1,0.2
      segloop evaluate instances instances_val2017.json=val2017 --boxes vitdet.json -o scores/instances
    """
    from segloop.cli.results import prepare_folder
    from segloop.evaluate.instance_report import instances_table, write_instances
    from segloop.evaluate.instances import SCORING, InstancesProtocol
    from segloop.evaluate.instances import evaluate_instances as score_instances

    protocol = InstancesProtocol(_levels(noise), not one_class, limit, seed)
    sets = open_sets(data, seed)
    opened = [_open_boxes(boxes, one, device) for one in sets]
    load = loader(model, device, threads, jobs, closer=closer)
    predictor = load()
    prepare_folder(out)
    origin = describe_run(model, device, sets)
    settings = {**settings_of(predictor, protocol), "boxes": _known(boxes), "scoring": SCORING}
    results = []
    for one, found in zip(sets, opened, strict=True):
        evaluate = partial(score_instances, load, boxes=found, protocol=protocol)
        results += score_sets("instances", [one], evaluate, settings, Running(out, jobs, redo))
    written = write_instances(
        out, results, boxes, model=model, closer=predictor.looks_closer, origin=origin
    )
    typer.echo(f"{instances_table(results)}\n{written}")


def _known(boxes: str) -> str:
    """What tells these boxes from others in the journal."""
    return stamp_of([Path(boxes)]) if Path(boxes).exists() else boxes


def _levels(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--noise {text!r}: give shares such as 0,0.05,0.1") from error


def _open_boxes(boxes: str, one: EvaluationSet[SampleSet], device: str) -> Boxes:
    from segloop.data.coco_instances import CocoInstances
    from segloop.evaluate.detections import FileBoxes, ModelBoxes, TruthBoxes

    if boxes == "truth":
        return TruthBoxes()
    dataset = one.samples
    if boxes.endswith(".json"):
        if not isinstance(dataset, CocoInstances):
            raise InputError(
                f"--boxes {boxes} counts images as COCO does: give the data as ANNOTATIONS.json=FOLDER"
            )
        return FileBoxes(Path(boxes), dataset)
    categories: Sequence[str] | None = None
    if isinstance(dataset, CocoInstances):
        categories = tuple(category.name for category in dataset.categories)
    return ModelBoxes(boxes, None if categories is None else tuple(categories), device=device)
