"""segloop train text: a trained model, a CLIP, images with masks, and a folder to train in."""

from __future__ import annotations

from typing import Annotated

import typer

from segloop.cli.console import progress_bar, require
from segloop.cli.options import DeviceOption, OutOption, ThreadsOption, use_threads
from segloop.cli.train import (
    BatchOption,
    DataOption,
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
    sharding,
    validation_on,
)

TEXT_RECIPES = dict.fromkeys(("text", "text_compact", "text_toy"), "segloop.train.recipes.text")
ClipOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FOLDER",
        help="A whole CLIP: its name at Hugging Face, or the folder it lies in.",
        show_default=False,
    ),
]
TextRecipeOption = Annotated[str, typer.Option(help=f"One of: {', '.join(TEXT_RECIPES)}.")]


def train_text(
    clip: ClipOption,
    data: DataOption,
    out: OutOption,
    recipe: TextRecipeOption = "text",
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
    """Train a model to take words: CLIP vectors of pictures stand for them.

    It then takes the vectors of texts from the same CLIP.

    [bold]Examples[/bold]

      segloop train text --clip openai/clip-vit-large-patch14-336
        --data shards/ --start vit_h.pth --device cuda -o runs/text
    """
    require("torch", extra="torch")
    require("transformers", extra="text")
    from segloop.train.text import run_text

    use_threads(threads)
    config = change(
        find_recipe(recipe, TEXT_RECIPES),
        steps=steps,
        batch_size=batch_size,
        global_batch=global_batch,
        learning_rate=learning_rate,
        precision=precision,
        seed=seed,
        workers=workers,
    )
    with progress_bar("training") as bar:
        model = run_text(
            config,
            clip,
            data,
            out,
            start=start,
            device=device,
            sharding=sharding(shard),
            validate=validation_on(data, validate, device, out),
            report=reporter(bar),
        )
    typer.echo(str(model))
