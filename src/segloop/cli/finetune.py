"""segloop train finetune: from a user's own masks to a better model for them, with scores before and after."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from segloop.cli.console import LOG_SECONDS, CommandError, progress_bar, require, say
from segloop.cli.options import DeviceOption, OutOption, ThreadsOption
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.data.annotated import AnnotatedSet, Survey
    from segloop.data.label_folder import Reading
    from segloop.evaluate.points import PointsResult
    from segloop.model.sam import Sam
    from segloop.train.finetune import FineTuneConfig

METHODS = ("lora", "decoder", "full")
DEFAULT_MINUTES = 15.0
EXPORT_NAME = "onnx"
_MOST_NAMED = 10


DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="FOLDER|FILE",
        help="Your images with masks: a COCO file (FILE.json=FOLDER where its images are elsewhere), a YOLO folder, "
        "images with pictures of labels, a tar or folder in SA-1B layout.",
        show_default=False,
    ),
]
StartOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help="What to begin from: default, vit_b, vit_l, vit_h, or a weights file.",
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(METHODS),
        help="What learns: low-rank updates, which forget least; the decoder alone; or everything.",
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(help=f"Train for so long; {DEFAULT_MINUTES:g} by default.", show_default=False),
]
StepsOption = Annotated[
    int | None, typer.Option(min=1, help="Train so many steps instead.", show_default=False)
]
StrengthOption = Annotated[
    float | None,
    typer.Option(
        help="How far to go from the old weights to the trained ones, 0 to 1: less gains less and forgets less. Can be "
        "changed when a run is done. By default 0.35 for lora, otherwise 1.",
        show_default=False,
    ),
]
HoldOutOption = Annotated[
    float, typer.Option(help="Share of the images to test on; 0 trains on all of them.")
]
SplitOption = Annotated[
    str,
    typer.Option(
        metavar="hash|name", help="Which are held out: by a hash of their names, or the last."
    ),
]
TestDataOption = Annotated[
    str | None, typer.Option(help="Test on these, not on a part of --data.", show_default=False)
]
TestLimitOption = Annotated[
    int | None, typer.Option(min=1, help="Test on so many images at most.", show_default=False)
]
LabelsOption = Annotated[
    str,
    typer.Option(
        metavar="auto|ids|binary",
        help="In pictures of labels, an object is what has one label (ids), or a connected bright part (binary).",
    ),
]
ExportOption = Annotated[
    bool, typer.Option("--export", help="Also write ONNX graphs, which run without PyTorch.")
]
SeedOption = Annotated[int, typer.Option(help="Draws the images, prompts and changes.")]


@dataclass(frozen=True)
class Parts:
    """The images to train on, and those to test on: None where nothing is held out. survey: of those given by --data."""

    train: AnnotatedSet
    test: AnnotatedSet | None
    survey: Survey


def finetune(
    data: DataOption,
    out: OutOption,
    model: StartOption = "default",
    method: MethodOption = "lora",
    minutes: MinutesOption = None,
    steps: StepsOption = None,
    strength: StrengthOption = None,
    hold_out: HoldOutOption = 0.2,
    split: SplitOption = "hash",
    test_data: TestDataOption = None,
    test_limit: TestLimitOption = None,
    labels: LabelsOption = "auto",
    export: ExportOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Fine-tune a model on your own masks, and say what it gained.

    Reads COCO, YOLO, SA-1B and pictures of labels; tests on images held out
    before and after; writes FOLDER/model.safetensors, which every other
    command takes as --model, and FOLDER/report.json. The same command goes
    on where it was stopped.

    [bold]Examples[/bold]

      segloop train finetune --data cells/ -o tuned --minutes 15
      segloop train finetune --data instances.json -o tuned --method full
    """
    require("torch", extra="torch")
    import torch

    from segloop.cli.export import weights_file
    from segloop.cli.results import prepare_folder
    from segloop.train.finetune import steps_in
    from segloop.train.recipes.finetune import finetune_recipe
    from segloop.weights.load import load_sam

    if steps is not None and minutes is not None:
        raise InputError("give --minutes or --steps, not both")
    if threads is not None:
        torch.set_num_threads(threads)
    start = load_sam(weights_file(model))
    config = finetune_recipe(method, start.config, start=model, strength=strength, seed=seed)
    parts = open_parts(data, test_data, cast("Reading", labels), hold_out, split)
    prepare_folder(out)
    if steps is None:
        length = DEFAULT_MINUTES if minutes is None else minutes
        steps = steps_in(length, start, parts.train, config, out, device=device)
    config = replace(config, num_steps=steps)
    tune(start, parts, config, out, test_limit, device)
    if export:
        say(f"segloop: exported to {export_tuned(out, model)}")
    typer.echo(str(tuned_file(out)))


def open_parts(
    data: str, test_data: str | None, labels: Reading, hold_out: float, split: str
) -> Parts:
    """Open, check and split the data; InputError for what cannot be trained on, or tested on."""
    from segloop.data import annotated

    if split not in ("hash", "name"):
        raise InputError(f"--split is hash or name, got {split!r}")
    usable, survey = checked(data, labels)
    if test_data is not None:
        test, of_test = checked(test_data, labels)
        compare_classes(survey.categories_in(usable), of_test.categories_in(test))
        return Parts(usable, test, survey)
    if hold_out == 0:
        return Parts(usable, None, survey)
    train, test = annotated.hold_out(usable, hold_out, by_name=split == "name")
    compare_classes(survey.categories_in(train), survey.categories_in(test))
    return Parts(train, test, survey)


def compare_classes(train: Counter[str], test: Counter[str]) -> None:
    """Say which classes have masks in one of the parts alone, and how many; of many classes the first ten."""
    found = []
    for here, part, there, other in (
        ("train on", train, "test on", test),
        ("test on", test, "train on", train),
    ):
        if missing := sorted(other.keys() - part.keys()):
            named = [f"{name} ({other[name]} to {there})" for name in missing[:_MOST_NAMED]]
            if len(missing) > _MOST_NAMED:
                named.append(f"{len(missing) - _MOST_NAMED} more")
            found.append(f"no mask to {here} of class {', '.join(named)}")
    if found:
        say(f"segloop: {'; '.join(found)}")


def checked(data: str, labels: Reading) -> tuple[AnnotatedSet, Survey]:
    """The images that have masks, all read once, after saying what is there."""
    from segloop.data.annotated import open_annotated, survey

    dataset = open_annotated(data, reading=labels)
    with progress_bar(f"reading {dataset.name}", log_seconds=LOG_SECONDS) as bar:
        found = survey(dataset, bar.update)
    line = f"segloop: {dataset.name}: {found.num_images} images, {found.num_masks} masks"
    if found.empty:
        line += f"; {len(found.empty)} images without a mask are left out"
    missing = [name for name, count in found.categories.items() if not count]
    if missing:
        line += f"; no mask of class {', '.join(missing)}"
    say(line)
    empty = set(found.empty)
    return dataset.subset([one for one in range(len(dataset)) if one not in empty]), found


def tune(
    start: Sam, parts: Parts, config: FineTuneConfig, out: Path, limit: int | None, device: str
) -> None:
    """Score, train, score again; print what changed and leave it in report.json."""
    from segloop.cli.finetune_report import (
        TuningReport,
        changes_between,
        changes_table,
        write_tuning_report,
    )
    from segloop.weights.load import load_sam

    before = score(start, "before", parts.test, out, limit, device)
    seconds = train_in(out, start, parts.train, config, device)
    after = score(load_sam(tuned_file(out)), "after", parts.test, out, limit, device)
    report = TuningReport(
        model=str(tuned_file(out)),
        start=config.model,
        recipe=config.recipe,
        data=parts.train.name,
        num_images=parts.survey.num_images,
        num_masks=parts.survey.num_masks,
        categories=parts.survey.categories,
        num_train_images=len(parts.train),
        num_test_images=after.counts.num_images if after else 0,
        num_test_masks=after.counts.num_masks if after else 0,
        steps=config.num_steps,
        seconds=seconds,
        changes=changes_between(before, after) if before and after else (),
    )
    write_tuning_report(out, report)
    if report.changes:
        typer.echo(changes_table(report.changes))


def train_in(
    out: Path, start: Sam, dataset: AnnotatedSet, config: FineTuneConfig, device: str
) -> float:
    """Train behind a progress bar; returns the seconds it took."""
    from segloop.train.finetune import finetune as run_finetune

    began = time.perf_counter()
    with progress_bar("training", log_seconds=LOG_SECONDS) as bar:
        run_finetune(
            start,
            dataset,
            config,
            out,
            device=device,
            report=lambda at: bar.update(at.step, at.num_steps, f"loss {at.loss:.3f}"),
        )
    return time.perf_counter() - began


def score(
    model: Sam, when: str, test: AnnotatedSet | None, out: Path, limit: int | None, device: str
) -> PointsResult | None:
    """Scores on the held-out images by the evaluation's own protocol (paper §7.1), from its journal where it has them."""
    if test is None:
        return None
    from segloop.backends.torch import TorchBackend
    from segloop.cli.finetune_report import PROTOCOL
    from segloop.evaluate.points import evaluate_points
    from segloop.evaluate.run import Journal
    from segloop.predict.predictor import Predictor
    from segloop.weights.load import weights_digest

    identity = weights_digest(model)
    predictor = Predictor(TorchBackend(model, when, identity, device), closer=False)
    journal = Journal(
        out / "journal" / f"{when}-{identity[:8]}.jsonl",
        {"model": identity, "images": list(test.sample_names)},
    )
    with progress_bar(f"scores {when}", log_seconds=LOG_SECONDS) as bar:
        return evaluate_points(
            lambda: predictor,
            test,
            name=test.name,
            protocol=replace(PROTOCOL, limit=limit),
            journal=journal,
            progress=bar.update,
        )


def tuned_file(out: Path) -> Path:
    """Where the model is that a run in this folder writes."""
    from segloop.train.run import MODEL_NAME

    return out / MODEL_NAME


def export_tuned(out: Path, start: str) -> Path:
    """The trained model as ONNX graphs in a folder of the run; CommandError where they do not agree with it."""
    require("onnxscript", "torch")
    from segloop.export.onnx import ExportError, export_onnx
    from segloop.weights.load import load_sam

    try:
        report = export_onnx(
            load_sam(tuned_file(out)),
            out / EXPORT_NAME,
            name=out.resolve().name,
            source=f"fine-tuned from {start}",
        )
    except ExportError as error:
        raise CommandError(str(error)) from error
    return report.folder
