"""segloop train mae: photographs without masks, and a folder to pretrain an encoder in."""

from __future__ import annotations

from typing import Annotated

import typer

from segloop.cli.console import progress_bar, require
from segloop.cli.distill import ImagesOption
from segloop.cli.options import DeviceOption, OutOption, ThreadsOption, use_threads
from segloop.cli.train import (
    BatchOption,
    GlobalBatchOption,
    PrecisionOption,
    RateOption,
    SeedOption,
    ShardOption,
    StartOption,
    StepsOption,
    ValidateOption,
    WorkersOption,
    change,
    find_recipe,
    reporter,
    say_once,
    sharding,
)

MAE_RECIPES = dict.fromkeys(
    ("mae_toy", "mae_vit_b", "mae_vit_l", "mae_vit_h"), "segloop.train.recipes.mae"
)
MaeRecipeOption = Annotated[
    str, typer.Option(help=f"One of: {', '.join(MAE_RECIPES)}.", show_default=False)
]


def mae(
    recipe: MaeRecipeOption,
    data: ImagesOption,
    out: OutOption,
    start: StartOption = None,
    steps: StepsOption = None,
    batch_size: BatchOption = None,
    global_batch: GlobalBatchOption = None,
    learning_rate: RateOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    shard: ShardOption = False,
    validate: ValidateOption = 32,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Pretrain an encoder as a masked autoencoder, on images alone.

    Leaves pictures of what it makes of hidden patches, and prints the path
    of a file that a recipe takes as --start.

    [bold]Examples[/bold]

      segloop train mae --recipe mae_toy --data photos/ -o runs/mae
      segloop train toy --data shards/ --start runs/mae/model.safetensors
        -o runs/toy
    """
    require("torch", extra="torch")
    from segloop.train.mae import run_mae

    use_threads(threads)
    config = change(
        find_recipe(recipe, MAE_RECIPES),
        steps=steps,
        batch_size=batch_size,
        global_batch=global_batch,
        learning_rate=learning_rate,
        precision=precision,
        seed=seed,
        workers=workers,
    )
    with progress_bar("pretraining") as bar:
        model = run_mae(
            config,
            data,
            out,
            start=start,
            device=device,
            sharding=sharding(shard),
            num_validation=validate,
            report=reporter(bar),
            notice=say_once,
        )
    typer.echo(str(model))
