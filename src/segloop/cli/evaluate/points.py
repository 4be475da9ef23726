"""segloop evaluate points: clicks and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

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
)
from segloop.cli.options import CloserOption, DeviceOption, ModelOption, OutOption, ThreadsOption

if TYPE_CHECKING:
    from segloop.data.sample import SampleSet
    from segloop.evaluate.baselines import BaselinesResult


def evaluate_points(
    data: DataArgument,
    out: OutOption,
    model: ModelOption = "default",
    limit: LimitOption = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Also score the filled box, GrabCut and Felzenszwalb regions.",
        ),
    ] = True,
    max_clicks: Annotated[int, typer.Option(min=9, help="Most clicks on an object, for NoC.")] = 20,
    first_click: Annotated[
        str,
        typer.Option(metavar="center|random", help="Where the first click of an object falls."),
    ] = "center",
    jobs: JobsOption = 1,
    redo: RedoOption = False,
    seed: SeedOption = 0,
    closer: CloserOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Score point and box prompts (paper §7.1).

    Prints a table; FOLDER/points.json has all numbers with intervals,
    FOLDER/points.jsonl a line for every mask. A run that was stopped goes on
    where it was when the same command is given again.

    [bold]Example[/bold]

      segloop evaluate points coco.tar davis.tar -o scores/points --jobs 2
      segloop evaluate points BBBC038v1=dsb2018 TimberSeg=timberseg -o scores/points
    """
    from segloop.cli.results import prepare_folder
    from segloop.evaluate.points import SCORING, PointsProtocol
    from segloop.evaluate.points import evaluate_points as score_points
    from segloop.evaluate.published import compare_results, published_table
    from segloop.evaluate.report import points_table, write_points

    first: Literal["center", "random"] = first_click  # type: ignore[assignment]  # checked there
    protocol = PointsProtocol(max_clicks=max_clicks, limit=limit, seed=seed, first_click=first)
    sets = open_sets(data, seed)
    load = loader(model, device, threads, jobs, closer=closer)
    predictor = load()
    prepare_folder(out)
    origin = describe_run(model, device, sets)
    running = Running(out, jobs, redo)
    settings = {**settings_of(predictor, protocol), "scoring": SCORING}
    evaluate = partial(score_points, load, protocol=protocol)
    results = score_sets("points", sets, evaluate, settings, running)
    floors = _score_baselines(sets, limit, seed, running) if baselines else []
    written = write_points(
        out, results, floors, model=model, closer=predictor.looks_closer, origin=origin
    )
    typer.echo(points_table(results, floors), nl=False)
    if comparison := compare_results(results):
        typer.echo(f"\n{published_table(comparison)}", nl=False)
    typer.echo(f"\n{written}")


def _score_baselines(
    sets: Sequence[EvaluationSet[SampleSet]], limit: int | None, seed: int, running: Running
) -> list[BaselinesResult]:
    from segloop.evaluate.baselines import SCORING, evaluate_baselines

    evaluate = partial(evaluate_baselines, limit=limit, seed=seed)
    return score_sets("baselines", sets, evaluate, {"scoring": SCORING}, running)
