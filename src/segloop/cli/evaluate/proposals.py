"""segloop evaluate proposals: everything in an image as object proposals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from segloop.cli.console import LOG_SECONDS, progress_bar
from segloop.cli.evaluate.running import (
    DataArgument,
    EvaluationSet,
    LimitOption,
    SeedOption,
    open_sets,
)
from segloop.cli.options import DeviceOption, ModelOption, OutOption, ThreadsOption

if TYPE_CHECKING:
    from segloop.predict.automatic import AutomaticConfig
    from segloop.predict.predictor import Predictor


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
    from segloop.evaluate.proposals import ProposalsResult
    from segloop.evaluate.proposals import evaluate_proposals as score_proposals
    from segloop.evaluate.report import proposals_table, write_proposals
    from segloop.geometry.encoded import EncodedMasks
    from segloop.predict.automatic import generate
    from segloop.predict.predictor import load

    sets = open_sets(data)
    prepare_folder(out)
    predictor = load(model, device=device, threads=threads)
    config = _settings(predictor, points_per_side, filters)

    def masks_of(image: ImageArray) -> EncodedMasks:
        return generate(predictor, image, config).masks

    def score(one: EvaluationSet) -> ProposalsResult:
        with progress_bar(one.name, log_seconds=LOG_SECONDS) as bar:
            return score_proposals(
                masks_of,
                one.samples,
                name=one.name,
                model=predictor.spec.identity,
                limit=limit,
                seed=seed,
                progress=bar.update,
            )

    results = [score(one) for one in sets]
    written = write_proposals(out, results, config)
    typer.echo(proposals_table(results), nl=False)
    typer.echo(f"\n{written}")


def _settings(predictor: Predictor, points_per_side: int, filters: bool) -> AutomaticConfig:
    from segloop.predict.automatic import suited_config

    config = replace(suited_config(predictor.spec), points_per_side=points_per_side)
    if not filters:
        # Paper appendix D.3.
        config = replace(
            config, predicted_iou_threshold=0, stability_threshold=0, box_nms_threshold=0.9
        )
    return config
