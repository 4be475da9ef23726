"""segloop train RECIPE: a recipe, images with masks, and a folder to train in."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segloop.cli.console import progress_bar, require, say
from segloop.cli.options import DeviceOption, OutOption, ThreadsOption, use_threads
from segloop.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from segloop.train.devices import Sharding
    from segloop.train.loop import Progress
    from segloop.train.run import ValidateSam

# A recipe is the function of this name in this module.
RECIPES = {
    "toy": "segloop.train.recipes.toy",
    "compact_warmup": "segloop.train.recipes.compact",
    "compact": "segloop.train.recipes.compact",
    "vit_b": "segloop.train.recipes.sam",
    "vit_l": "segloop.train.recipes.sam",
    "vit_h": "segloop.train.recipes.sam",
    "generator": "segloop.train.recipes.sam",
    "all_stages": "segloop.train.recipes.sam",
    **{
        f"ablation_{name}": "segloop.train.recipes.ablations"
        for name in ("base", "mean", "one_round", "eleven_rounds", "no_iou")
    },
}
_SCORED = ("1 click", "3 clicks", "box")
_MOST_NAMED = 10

RecipeArgument = Annotated[str, typer.Argument(help=f"One of: {', '.join(RECIPES)}.")]
DataOption = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="PATH",
        help="A tar or folder in SA-1B layout, or a folder of such tars; repeatable.",
        show_default=False,
    ),
]
StartOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="Weights to begin from.", show_default=False)
]
SizeOption = Annotated[
    int | None, typer.Option(min=1, help="Side of the input, in pixels.", show_default=False)
]
StepsOption = Annotated[
    int | None, typer.Option(min=1, help="Train up to this step.", show_default=False)
]
BatchOption = Annotated[
    int | None, typer.Option(min=1, help="Images a process encodes at once.", show_default=False)
]
GlobalBatchOption = Annotated[
    int | None,
    typer.Option(min=1, help="Images an update, over all processes.", show_default=False),
]
RateOption = Annotated[float | None, typer.Option(help="Peak learning rate.", show_default=False)]
SeedOption = Annotated[int | None, typer.Option(help="Decides every choice.", show_default=False)]
WeightOption = Annotated[
    list[str] | None,
    typer.Option(
        "--weight",
        metavar="SET=NUMBER",
        help="How often a set is drawn, against 1 of a set not named; SET is its name or its folder's, and may hold * and "
        "?. Repeatable.",
        show_default=False,
    ),
]
LargeCropsOption = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0,
        max=1,
        help="How many of the images larger than the input are cropped at their own resolution.",
        show_default=False,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=0, help="Processes that read images, to each that trains.", show_default=False
    ),
]
ShardOption = Annotated[
    bool, typer.Option("--shard", help="Divide the weights among the processes (FSDP).")
]
PrecisionOption = Annotated[
    str | None, typer.Option(metavar="float32|bfloat16", help="To compute in.", show_default=False)
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Translate the encoder by torch.compile first.")
]
ValidateOption = Annotated[
    int, typer.Option(min=0, help="Held-out images that each validation looks at; 0 for none.")
]


def train(
    recipe: RecipeArgument,
    data: DataOption,
    out: OutOption,
    start: StartOption = None,
    steps: StepsOption = None,
    input_size: SizeOption = None,
    batch_size: BatchOption = None,
    global_batch: GlobalBatchOption = None,
    learning_rate: RateOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    weight: WeightOption = None,
    large_crops: LargeCropsOption = None,
    workers: WorkersOption = None,
    compiles: CompileOption = False,
    shard: ShardOption = False,
    validate: ValidateOption = 32,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Train a model; a stopped run goes on exactly where its last checkpoint was.

    Leaves metrics, pictures, checkpoints and a model for every other command.

    [bold]Examples[/bold]

      segloop train toy --data photos/ -o runs/toy --steps 500
      torchrun --nproc-per-node 8 -m segloop train vit_b --data shards/ ...
    """
    require("torch", extra="torch")
    from segloop.train.run import run_recipe

    config = change(
        find_recipe(recipe, RECIPES),
        steps=steps,
        input_size=input_size,
        batch_size=batch_size,
        global_batch=global_batch,
        learning_rate=learning_rate,
        precision=precision,
        seed=seed,
        weights=check_weights(parse_weights(weight), data),
        large_crops=large_crops,
        workers=workers,
        compiles=compiles,
    )
    use_threads(threads)
    with progress_bar("training") as bar:
        model = run_recipe(
            config,
            data,
            out,
            start=start,
            device=device,
            sharding=sharding(shard),
            validate=validation_on(data, validate, device, out),
            report=reporter(bar),
        )
    typer.echo(str(model))


def find_recipe(name: str, recipes: dict[str, str]) -> Any:
    """The configuration of a recipe of this table; InputError for an unknown one."""
    if name not in recipes:
        raise InputError(f"no recipe {name!r}; there are {', '.join(recipes)}")
    return getattr(import_module(recipes[name]), name)()


def change(
    config: Any,
    *,
    steps: int | None = None,
    input_size: int | None = None,
    batch_size: int | None = None,
    global_batch: int | None = None,
    learning_rate: float | None = None,
    precision: str | None = None,
    seed: int | None = None,
    weights: dict[str, float] | None = None,
    large_crops: float | None = None,
    workers: int | None = None,
    compiles: bool = False,
) -> Any:
    """The configuration with what the caller changed. A batch size alone does not hold on to the recipe's global batch."""
    if precision not in (None, "float32", "bfloat16"):
        raise InputError(f"--precision is float32 or bfloat16, got {precision!r}")
    kept = None if batch_size else config.global_batch
    chosen = weights or {}
    augmentation = config.data.augmentation
    if large_crops is not None:
        augmentation = replace(augmentation, large=large_crops)
    return replace(
        config,
        input_size=input_size or config.input_size,
        num_steps=steps or config.num_steps,
        precision=precision or config.precision,
        seed=config.seed if seed is None else seed,
        compiles=compiles or config.compiles,
        global_batch=global_batch or kept,
        data=replace(
            config.data,
            batch_size=batch_size or config.data.batch_size,
            augmentation=augmentation,
            weights=chosen | {k: v for k, v in config.data.weights.items() if k not in chosen},
            num_workers=config.data.num_workers if workers is None else workers,
        ),
        optim=replace(config.optim, learning_rate=learning_rate or config.optim.learning_rate),
    )


def parse_weights(texts: Sequence[str] | None) -> dict[str, float]:
    """The numbers of --weight by set; InputError for what is none."""
    weights = {}
    for text in texts or ():
        name, _, number = text.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = -1.0
        if not name or not 0 <= weights[name] < float("inf"):
            raise InputError(f"--weight {text}: give a set and a number from 0 up, as in manual=10")
    return weights


def check_weights(weights: dict[str, float], data: Sequence[str]) -> dict[str, float]:
    """The same; InputError for a set of --weight that is none of the data."""
    from segloop.data.sa1b import find_sa1b, name_set
    from segloop.train.run import fits

    sets = [name_set(path) for path in find_sa1b(data)] if weights else []
    for pattern in weights:
        if not any(fits(names, pattern) for names in sets):
            named = ", ".join(dict.fromkeys(name for name, _ in sets[:_MOST_NAMED]))
            more = ", ..." if len(sets) > _MOST_NAMED else ""
            raise InputError(f"--weight {pattern}: no set of --data fits; there are {named}{more}")
    return weights


def sharding(shard: bool) -> Sharding:
    """What --shard asks for."""
    return "shard" if shard else "replicate"


def reporter(bar: Any) -> Callable[[Progress], None]:
    """Shows a run's progress on a bar."""
    from segloop.train.metrics import SKIPPED_NAME

    def show(state: Progress) -> None:
        note = f"loss {state.loss:.3f}  {state.images_per_second:.1f} images/s"
        if state.num_skipped:
            note += f"  {state.num_skipped} skipped, see {SKIPPED_NAME}"
        bar.update(state.step, state.num_steps, note)

    return show


def say_once(message: str) -> None:
    """Write a line to standard error; of the processes that torchrun started, the first does."""
    if os.environ.get("RANK", "0") == "0":
        say(f"segloop: {message}")


def validation_on(data: Sequence[str], limit: int, device: str, folder: Path) -> ValidateSam | None:
    """Point and box IoU on held-out images of the training sets, by the evaluation's own protocol (paper §7.1).

    Their mean over the sets is the run's score. A picture of some objects is left in folder/pictures. An image that cannot
    be read is left out, and named in folder/skipped.txt. None for no images, which is said where some were asked for.
    """
    if not limit:
        return None
    from segloop.backends.torch import TorchBackend
    from segloop.data.loader import split_indices
    from segloop.data.sa1b import open_all_sa1b
    from segloop.evaluate.points import PointsProtocol, evaluate_points
    from segloop.evaluate.summary import headline, summarise
    from segloop.predict.predictor import Predictor
    from segloop.train.loop import SCORE_NAME
    from segloop.train.metrics import NOTHING_HELD_OUT, SkippedItems
    from segloop.train.pictures import draw_validation, write_picture

    datasets = open_all_sa1b(data)
    share = -(-limit // len(datasets))
    parts = [one.subset(split_indices(one, "validation")[:share]) for one in datasets]
    parts = [part for part in parts if len(part)]
    if not parts:
        say_once(NOTHING_HELD_OUT)
        return None
    skipped = SkippedItems(folder)
    protocol = PointsProtocol((1, 3), max_clicks=3)

    def validate(model: Any, done: int) -> dict[str, float]:
        backend = TorchBackend(model, name="validation", identity="validation", device=device)
        predictor = Predictor(backend, closer=False)
        metrics: dict[str, float] = {}
        # Read twice rather than kept: as many as a user asks for, of any size.
        rows = [[row for row, _ in skipped.usable(one.read, range(len(one)))] for one in parts]
        found = [one.subset(some) for one, some in zip(parts, rows, strict=True) if some]
        for part in found:
            result = evaluate_points(lambda: predictor, part, name=part.name, protocol=protocol)
            metrics |= {
                f"validation/{part.name}/{figure.title}": figure.value
                for figure in headline(summarise(result))
            }
        scores = [value for name, value in metrics.items() if name.endswith(_SCORED)]
        if not scores:
            return skipped.as_validation()
        samples = (part.read(row) for row in range(share) for part in found if row < len(part))
        try:
            picture = draw_validation(predictor, samples)
        except InputError:  # all objects are too small to see
            pass
        else:
            write_picture(folder, done, picture)
        return {**metrics, **skipped.as_validation(), SCORE_NAME: sum(scores) / len(scores)}

    return validate
