"""segloop evaluate: one command for each of the paper's protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segloop.cli.console import progress_bar


def evaluate_points(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="TAR_OR_FOLDER...",
            help="Images with masks in SA-1B layout; a folder of tars stands for its tars.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to write.")],
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="As for segloop segment.")
    ] = "default",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="So many images of each set; all by default.", show_default=False),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Also score the filled box, GrabCut and Felzenszwalb regions.",
        ),
    ] = True,
    max_clicks: Annotated[int, typer.Option(min=9, help="Most clicks on an object, for NoC.")] = 20,
    seed: Annotated[int, typer.Option(help="Draws the images of --limit.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all by default.", show_default=False)
    ] = None,
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
    from segloop.evaluate.points import evaluate_points as score
    from segloop.evaluate.report import points_table, write_points
    from segloop.predict.predictor import load

    datasets = open_all_sa1b(data)
    prepare_folder(out)
    predictor = load(model, device=device, threads=threads)
    results, floors = [], []
    for dataset in datasets:
        with progress_bar(dataset.name) as bar:
            results.append(
                score(
                    predictor,
                    dataset,
                    name=dataset.name,
                    limit=limit,
                    max_clicks=max_clicks,
                    seed=seed,
                    progress=bar.update,
                )
            )
        if baselines:
            with progress_bar(f"{dataset.name}, baselines") as bar:
                floors.append(
                    evaluate_baselines(
                        dataset, name=dataset.name, limit=limit, seed=seed, progress=bar.update
                    )
                )
    written = write_points(out, results, floors)
    typer.echo(points_table(results, floors), nl=False)
    typer.echo(f"\n{written}")
