"""segloop evaluate: one command for each of the paper's protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from segloop.cli.console import progress_bar
from segloop.cli.options import DeviceOption, ModelOption, OutOption, ThreadsOption

if TYPE_CHECKING:
    from segloop.data.sa1b import SA1BDataset

Result = TypeVar("Result")

DataArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="TAR_OR_FOLDER...",
        help="Images with masks in SA-1B layout; a folder of tars stands for its tars.",
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(min=1, help="So many images of each set; all by default.", show_default=False),
]
SeedOption = Annotated[int, typer.Option(help="Draws the images of --limit.")]


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
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Score point and box prompts (paper §7.1).

    Prints a table; FOLDER/points.json has all numbers with intervals,
    FOLDER/points.jsonl a line for every mask.

    [bold]Example[/bold]

      segloop evaluate points coco.tar davis.tar -o scores
    """
    from segloop.cli.results import prepare_folder
    from segloop.data.sa1b import open_all_sa1b
    from segloop.evaluate.baselines import evaluate_baselines
    from segloop.evaluate.points import evaluate_points as score_points
    from segloop.evaluate.report import points_table, write_points
    from segloop.predict.predictor import load

    datasets = open_all_sa1b(data)
    prepare_folder(out)
    score = partial(
        score_points, load(model, device=device, threads=threads), max_clicks=max_clicks
    )
    results = _score_each(datasets, score, "", limit, seed)
    floors = (
        _score_each(datasets, evaluate_baselines, ", baselines", limit, seed) if baselines else []
    )
    written = write_points(out, results, floors)
    typer.echo(points_table(results, floors), nl=False)
    typer.echo(f"\n{written}")


def evaluate_proposals(
    data: DataArgument,
    out: OutOption,
    model: ModelOption = "default",
    points_per_side: Annotated[int, typer.Option(min=1, help="Grid of N x N points.")] = 64,
    filters: Annotated[
        bool,
        typer.Option(
            "--filters/--no-filters",
            help="Keep only what `segloop everything` keeps, instead of the paper's all masks.",
        ),
    ] = False,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Score automatic masks as object proposals, AR@1000 (paper §7.3).

    Prints a table; FOLDER/proposals.json has all numbers with intervals,
    FOLDER/proposals.jsonl a line for every true mask.

    [bold]Example[/bold]

      segloop evaluate proposals coco.tar -o scores --limit 20
    """
    from segloop.cli.results import prepare_folder
    from segloop.data.image import ImageArray
    from segloop.data.sa1b import open_all_sa1b
    from segloop.evaluate.proposals import evaluate_proposals as score_proposals
    from segloop.evaluate.report import proposals_table, write_proposals
    from segloop.geometry.encoded import EncodedMasks
    from segloop.predict.automatic import generate, suited_config
    from segloop.predict.predictor import load

    datasets = open_all_sa1b(data)
    prepare_folder(out)
    predictor = load(model, device=device, threads=threads)
    config = replace(suited_config(predictor.spec), points_per_side=points_per_side)
    if not filters:
        # Paper appendix D.3.
        config = replace(
            config, predicted_iou_threshold=0, stability_threshold=0, box_nms_threshold=0.9
        )

    def masks_of(image: ImageArray) -> EncodedMasks:
        return generate(predictor, image, config).masks

    score = partial(score_proposals, masks_of, model=predictor.spec.identity)
    results = _score_each(datasets, score, "", limit, seed)
    written = write_proposals(out, results, config)
    typer.echo(proposals_table(results), nl=False)
    typer.echo(f"\n{written}")


def _score_each(
    datasets: Sequence[SA1BDataset],
    score: Callable[..., Result],
    note: str,
    limit: int | None,
    seed: int,
) -> list[Result]:
    """Score every dataset behind a progress bar of its own."""
    results = []
    for dataset in datasets:
        with progress_bar(dataset.name + note) as bar:
            results.append(
                score(dataset, name=dataset.name, limit=limit, seed=seed, progress=bar.update)
            )
    return results
