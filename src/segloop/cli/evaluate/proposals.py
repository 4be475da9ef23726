"""segloop evaluate proposals: everything in an image as object proposals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from segloop.cli.evaluate.running import (
    DataArgument,
    JobsOption,
    LimitOption,
    RedoOption,
    Running,
    SeedOption,
    describe_run,
    loader,
    open_sets,
    score_sets,
)
from segloop.cli.options import DeviceOption, ModelOption, OutOption, ThreadsOption
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.evaluate.proposals import ModelProposals
    from segloop.predict.predictor import Predictor


def evaluate_proposals(
    data: DataArgument,
    out: OutOption,
    model: ModelOption = "default",
    points_per_side: Annotated[
        int | None,
        typer.Option(min=1, help="Grid of N x N points; as in the paper by default."),
    ] = None,
    filters: Annotated[
        bool,
        typer.Option(
            "--filters/--no-filters",
            help="Keep only what `segloop everything` keeps, instead of the paper's all masks.",
        ),
    ] = False,
    single: Annotated[
        bool,
        typer.Option("--single", help="The paper's ablation: one mask a point, ranked at random."),
    ] = False,
    limit: LimitOption = None,
    jobs: JobsOption = 1,
    redo: RedoOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Score automatic masks as object proposals, AR@1000 (paper §7.3).

    Prints a table; FOLDER/proposals.json has all numbers with intervals,
    FOLDER/proposals.jsonl a line for every true mask. A run that was stopped
    goes on where it was when the same command is given again.

    [bold]Examples[/bold]

      segloop evaluate proposals coco.tar -o scores/proposals --limit 20 --jobs 2
      segloop evaluate proposals lvis_v1_val.json=val2017 -o scores/proposals
    """
    from segloop.cli.results import prepare_folder
    from segloop.evaluate.proposals import evaluate_proposals as score_proposals
    from segloop.evaluate.report import proposals_table, write_proposals

    if filters and single:
        raise InputError("--filters and --single are two ways to generate masks: choose one")
    sets = open_sets(data, seed)
    load = loader(model, device, threads, jobs)
    spec = load().spec
    generate = _generator(load, points_per_side, filters=filters, single=single)
    ranking: Literal["random", "quality"] = "random" if single else "quality"
    prepare_folder(out)
    origin = describe_run(model, device, sets)
    evaluate = partial(
        score_proposals, generate, model=spec.identity, ranking=ranking, limit=limit, seed=seed
    )
    settings = _settings(generate, spec.identity, ranking, seed)
    results = score_sets("proposals", sets, evaluate, settings, Running(out, jobs, redo))
    written = write_proposals(
        out, results, generate.config, outputs="single" if single else "three", origin=origin
    )
    typer.echo(f"{proposals_table(results)}\n{written}")


def _settings(generate: ModelProposals, model: str, ranking: str, seed: int) -> dict[str, Any]:
    """What an earlier run must have in common with this one for its scores to count."""
    from segloop.evaluate.proposals import SCORING

    how = {"model": model, "outputs": generate.outputs, "ranking": ranking, "seed": seed}
    return {**how, "scoring": SCORING, **asdict(generate.config)}


def _generator(
    load: Callable[[], Predictor], points_per_side: int | None, *, filters: bool, single: bool
) -> ModelProposals:
    from segloop.evaluate.proposals import (
        PAPER_CONFIG,
        ModelProposals,
        single_output_proposals,
    )
    from segloop.predict.automatic import suited_config

    if single:
        generate = single_output_proposals(load)
    elif filters:
        config = suited_config(load().spec)
        generate = ModelProposals(
            load, replace(config, points_per_side=PAPER_CONFIG.points_per_side)
        )
    else:
        generate = ModelProposals(load, PAPER_CONFIG)
    if points_per_side is None:
        return generate
    return replace(generate, config=replace(generate.config, points_per_side=points_per_side))
