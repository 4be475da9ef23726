"""segloop evaluate edges: the boundary benchmark of BSDS500."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from segloop.cli.evaluate.running import (
    EvaluationSet,
    JobsOption,
    LimitOption,
    RedoOption,
    Running,
    SeedOption,
    describe_run,
    loader,
    score_sets,
    stamp_of,
)
from segloop.cli.options import DeviceOption, ModelOption, OutOption, ThreadsOption


def evaluate_edges(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="TAR_OR_FOLDER",
            help="BSDS500 as published: images/SPLIT/*.jpg and groundTruth/SPLIT/*.mat.",
            show_default=False,
        ),
    ],
    out: OutOption,
    model: ModelOption = "default",
    split: Annotated[str, typer.Option(metavar="test|val|train", help="Which images.")] = "test",
    points_per_side: Annotated[int, typer.Option(min=1, help="Grid of N x N points.")] = 16,
    operators: Annotated[
        bool, typer.Option("--operators/--no-operators", help="Also score Sobel and Canny.")
    ] = True,
    limit: LimitOption = None,
    jobs: JobsOption = 1,
    redo: RedoOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Score edges made of masks, by ODS, OIS, AP and R50 (paper §7.2).

    Prints a table beside the published numbers; FOLDER/edges.json has all
    numbers with intervals and all curves, FOLDER/edges.jsonl a line for every
    image. A run that was stopped goes on where it was when the same command is
    given again.

    [bold]Example[/bold]

      segloop evaluate edges BSR/BSDS500/data -o scores/edges --jobs 4
    """
    from segloop.cli.results import prepare_folder
    from segloop.data.bsds import open_bsds
    from segloop.evaluate.edge_report import edges_table, write_edges
    from segloop.evaluate.edges import SCORING, EdgeConfig, evaluate_operator
    from segloop.evaluate.edges import evaluate_edges as score_edges

    config = EdgeConfig(points_per_side)
    dataset = open_bsds(data, split)
    # Edges are those of the logits, which sharpening leaves as they are.
    load = loader(model, device, threads, jobs, sharpen=False)
    identity = load().spec.identity
    prepare_folder(out)
    running = Running(out, jobs, redo)
    sets = [EvaluationSet(dataset.name, dataset, stamp_of([data]), str(data))]
    origin = describe_run(model, device, sets)
    evaluate = partial(score_edges, load, model=identity, config=config, limit=limit, seed=seed)
    settings = {"model": identity, "scoring": SCORING, **asdict(config)}
    results = score_sets("edges", sets, evaluate, settings, running)
    for name in ("Sobel", "Canny") if operators else ():
        score = partial(evaluate_operator, operator=name, limit=limit, seed=seed)
        settings = {"operator": name, "scoring": SCORING}
        results += score_sets(f"edges-{name.lower()}", sets, score, settings, running)
    written = write_edges(out, results, config, origin)
    typer.echo(edges_table(results), nl=False)
    typer.echo(f"\n{written}")
