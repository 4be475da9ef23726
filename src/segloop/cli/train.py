"""segloop train: a recipe, images with masks, and a folder to train in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segloop.cli.console import progress_bar, require
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.data.sa1b import SA1BDataset
    from segloop.train.config import TrainConfig
    from segloop.train.run import ValidateSam

RECIPES = ("compact_warmup", "compact", "toy")


def train(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(RECIPES)}.")],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data", help="A tar or folder in SA-1B layout, or a folder of such tars; repeatable."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the run; one that holds a run goes on.")
    ],
    steps: Annotated[int | None, typer.Option(help="Train up to this step.")] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Side of the input square, in pixels.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    start: Annotated[Path | None, typer.Option(help="Weights to begin from.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    validate: Annotated[
        int, typer.Option(help="Held-out images that each validation looks at; 0 for none.")
    ] = 32,
) -> None:
    """Train a model; a stopped run goes on exactly where its last checkpoint was.

    Prints the path of the trained model, which every other command takes.

    [bold]Examples[/bold]

      segloop train compact --data shards/ -o runs/compact

      segloop train toy --data photos/ -o runs/toy --steps 500
    """
    require("torch", extra="torch")
    import torch

    from segloop.data.sa1b import open_all_sa1b
    from segloop.train.run import run_recipe

    if threads is not None:
        torch.set_num_threads(threads)
    config = build_config(recipe, input_size, steps, batch_size, learning_rate)
    validation = validation_on(open_all_sa1b(data), validate, device) if validate else None
    with progress_bar("training") as bar:
        model = run_recipe(
            config,
            data,
            out,
            start=start,
            device=device,
            validate=validation,
            report=lambda state: bar.update(
                state.step,
                state.num_steps,
                f"loss {state.loss:.3f}  {state.images_per_second:.1f} images/s",
            ),
        )
    typer.echo(str(model))


def build_config(
    recipe: str,
    input_size: int | None,
    steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
) -> TrainConfig:
    """The recipe's configuration with what the caller changed; InputError for an unknown recipe."""
    from segloop.train.recipes.compact import compact, compact_warmup
    from segloop.train.recipes.toy import toy

    known = {"compact_warmup": compact_warmup, "compact": compact, "toy": toy}
    if recipe not in known:
        raise InputError(f"no recipe {recipe!r}; there are {', '.join(known)}")
    config = known[recipe]()
    return replace(
        config,
        input_size=input_size or config.input_size,
        num_steps=steps or config.num_steps,
        data=replace(config.data, batch_size=batch_size or config.data.batch_size),
        optim=replace(config.optim, learning_rate=learning_rate or config.optim.learning_rate),
    )


def validation_on(datasets: tuple[SA1BDataset, ...], limit: int, device: str) -> ValidateSam:
    """Point and box IoU on held-out images of the training sets, by the evaluation's own protocol (paper §7.1)."""
    from segloop.backends.torch import TorchBackend
    from segloop.data.loader import split_indices
    from segloop.evaluate.points import PointsProtocol, evaluate_points
    from segloop.evaluate.summary import headline, summarise
    from segloop.model.sam import Sam
    from segloop.predict.predictor import Predictor

    share = -(-limit // len(datasets))
    parts = [one.subset(split_indices(one, "validation")[:share]) for one in datasets]

    protocol = PointsProtocol((1, 3), max_clicks=3)

    def validate(model: Sam) -> dict[str, float]:
        predictor = Predictor(
            TorchBackend(model, name="validation", identity="validation", device=device)
        )
        metrics: dict[str, float] = {}
        for part in parts:
            if len(part):
                result = evaluate_points(lambda: predictor, part, name=part.name, protocol=protocol)
                metrics |= {
                    f"validation/{part.name}/{figure.title}": figure.value
                    for figure in headline(summarise(result))
                }
        return metrics

    return validate
