"""segloop evaluate text: categories asked for by words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segloop.cli.evaluate.running import (
    DataArgument,
    EvaluationSet,
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
    from segloop.backends.base import BackendSpec
    from segloop.data.sample import SampleSet
    from segloop.evaluate.text import TextProtocol, TextResult
    from segloop.evaluate.vocabulary import Vocabulary
    from segloop.predict.predictor import Predictor


def evaluate_text(
    data: DataArgument,
    out: OutOption,
    model: ModelOption,
    vectors: Annotated[
        str,
        typer.Option(
            metavar="FILE|CLIP",
            help="Text vectors: a .json or .npz file of them, or a CLIP by name or folder.",
        ),
    ] = "openai/clip-vit-large-patch14-336",
    template: Annotated[
        str, typer.Option(help="What is asked; {} is the category.")
    ] = "a photo of a {}",
    outputs: Annotated[
        str,
        typer.Option(
            metavar="single|best", help="The single mask, or the most confident of three."
        ),
    ] = "single",
    limit: LimitOption = None,
    jobs: JobsOption = 1,
    redo: RedoOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Score prompts by words (paper §7.5).

    Every category in an image is asked for, with and without a point, and
    with the words for another category beside it, to see that the model
    heeds the words. Prints a table; FOLDER/text.json has all numbers with
    intervals, FOLDER/text.jsonl a line for every category of every image. A
    run that was stopped goes on where it was when the same command is given
    again.

    [bold]Example[/bold]

      segloop evaluate text coco.tar --model text.safetensors -o scores/text
    """
    from segloop.cli.results import prepare_folder
    from segloop.evaluate.text import TextProtocol
    from segloop.evaluate.text_report import text_table, write_text

    wanted: Literal["single", "best"] = outputs  # type: ignore[assignment]  # checked there
    protocol = TextProtocol(template, wanted, limit, seed)
    sets = open_sets(data, seed)
    load = loader(model, device, threads, jobs)
    spec = load().spec
    vocabularies = _vocabularies(sets, spec, vectors, device, template)
    prepare_folder(out)
    origin = describe_run(model, device, sets)
    running = Running(out, jobs, redo)
    results = [
        _score(load, spec.identity, one, vocabulary, protocol, running)
        for one, vocabulary in zip(sets, vocabularies, strict=True)
    ]
    written = write_text(out, results, vectors, origin)
    typer.echo(text_table(results), nl=False)
    typer.echo(f"\n{written}")


def _vocabularies(
    sets: Sequence[EvaluationSet[SampleSet]],
    spec: BackendSpec,
    vectors: str,
    device: str,
    template: str,
) -> list[Vocabulary]:
    """The categories of each set; a model that cannot take their vectors is refused first."""
    from segloop.evaluate.vocabulary import build_vocabulary, category_names, check_takes_text
    from segloop.text.vectors import open_vectors

    check_takes_text(spec)
    source = open_vectors(vectors, device)
    check_takes_text(spec, source.width)
    names = [category_names(one.samples) for one in sets]
    for one, found in zip(sets, names, strict=True):
        if not found:
            raise InputError(f"{one.name}: no annotation has a category to ask for")
    return [build_vocabulary(found, source, template) for found in names]


def _score(
    load: Callable[[], Predictor],
    identity: str,
    one: EvaluationSet[SampleSet],
    vocabulary: Vocabulary,
    protocol: TextProtocol,
    running: Running,
) -> TextResult:
    from segloop.evaluate.text import SCORING
    from segloop.evaluate.text import evaluate_text as score_text

    evaluate = partial(score_text, load, vocabulary=vocabulary, protocol=protocol)
    # Which images are scored changes no score.
    settings = {**asdict(protocol), "limit": None}
    settings |= {"model": identity, "vocabulary": vocabulary.identity, "scoring": SCORING}
    (result,) = score_sets("text", [one], evaluate, settings, running)
    return result
