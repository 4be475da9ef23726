"""segloop train distill: a teacher, images without masks, and a folder to teach a smaller encoder in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segloop.cli.console import progress_bar, require
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

DISTILL_RECIPES = dict.fromkeys(
    ("distill", "distill_swap", "distill_toy"), "segloop.train.recipes.distill"
)
TeacherOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="default, vit_b, vit_l, vit_h, or a weights file.",
        show_default=False,
    ),
]
ImagesOption = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="PATH",
        help="Images, folders, patterns or tars; masks are not needed. Repeatable.",
        show_default=False,
    ),
]
DistillRecipeOption = Annotated[str, typer.Option(help=f"One of: {', '.join(DISTILL_RECIPES)}.")]
KeepOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Keep the teacher's embeddings here, so that each is computed once.",
        show_default=False,
    ),
]


def distill(
    teacher: TeacherOption,
    data: ImagesOption,
    out: OutOption,
    recipe: DistillRecipeOption = "distill",
    keep: KeepOption = None,
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
    """Teach a small encoder what a large one knows, with nothing but images.

    distill: the default model's encoder, for its own decoder, which then
    learns masks with  segloop train compact --start . distill_swap: an
    encoder in the place of the teacher's, for the teacher's own decoder.

    [bold]Examples[/bold]

      segloop train distill --teacher vit_b --data photos/ -o student
        --keep embeddings/ --device cuda
    """
    require("torch", extra="torch")
    from segloop.train.distill import run_distill

    use_threads(threads)
    config = change(
        find_recipe(recipe, DISTILL_RECIPES),
        steps=steps,
        batch_size=batch_size,
        global_batch=global_batch,
        learning_rate=learning_rate,
        precision=precision,
        seed=seed,
        workers=workers,
    )
    with progress_bar("distilling") as bar:
        model = run_distill(
            config,
            teacher,
            data,
            out,
            start=start,
            keep=keep,
            device=device,
            sharding=sharding(shard),
            num_validation=validate,
            report=reporter(bar),
            notice=say_once,
        )
    typer.echo(str(model))
