"""What all evaluations share: their options, the sets they are given, and a journal for each set."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar

import typer

from segloop.cli.console import LOG_SECONDS, progress_bar
from segloop.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from segloop.data.sample import SampleSet
    from segloop.evaluate.conditions import Origin
    from segloop.evaluate.run import Journal
    from segloop.evaluate.truth import Progress
    from segloop.predict.predictor import Predictor

Result = TypeVar("Result")
ResultOut = TypeVar("ResultOut", covariant=True)
Dataset = TypeVar("Dataset")
DatasetIn = TypeVar("DatasetIn", contravariant=True)

DataArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="TAR_OR_FOLDER|SET=FOLDER|JSON=FOLDER...",
        help="Images with masks in SA-1B layout (a folder of tars stands for its tars), one of the paper's 23 sets, such as "
        "BBBC038v1=FOLDER, as it was unpacked, or a file of instances with its images: COCO's, such as "
        "instances_val2017.json=FOLDER, or LVIS's, such as lvis_v1_val.json=FOLDER.",
        show_default=False,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(min=1, help="So many images of each set; all by default.", show_default=False),
]
SeedOption = Annotated[
    int,
    typer.Option(help="Draws the images of --limit, and those of sets too large to score whole."),
]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Processes; each has a model of its own.")
]
RedoOption = Annotated[
    bool, typer.Option("--redo", help="Score anew what an earlier run has scored.")
]


_READ_BYTES = 1 << 30


@dataclass(frozen=True)
class EvaluationSet(Generic[Dataset]):
    """A dataset under its name, a stamp that is another when its files have changed, and where it was read from."""

    name: str
    samples: Dataset
    stamp: str
    path: str = ""


@dataclass(frozen=True)
class Running:
    """How an evaluation runs: where its files go, in how many processes, and whether earlier scores count."""

    out: Path
    jobs: int = 1
    redo: bool = False


class Evaluate(Protocol[DatasetIn, ResultOut]):
    """Scores one dataset."""

    def __call__(
        self,
        dataset: DatasetIn,
        *,
        name: str,
        jobs: int,
        journal: Journal,
        progress: Progress,
    ) -> ResultOut:
        """As the evaluations of segloop.evaluate do."""
        ...


def open_sets(data: Sequence[str], seed: int = 0) -> list[EvaluationSet[SampleSet]]:
    """The datasets at these paths, under these names as SET=FOLDER, or of these annotations as FILE.json=FOLDER.

    Raises InputError that names what cannot be opened. What a file of annotations holds tells COCO's layout from LVIS's.
    seed draws the images of a set that is too large to be scored whole.
    """
    opened: list[EvaluationSet[SampleSet]] = []
    for text in data:
        name, equals, folder = text.partition("=")
        if equals and name.endswith(".json"):
            opened.append(_open_instances(Path(name), Path(folder)))
        elif equals and not Path(text).exists():
            opened.append(_open_named(name, folder, seed))
        else:
            opened += _open_sa1b(text)
    names = [one.name for one in opened]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"two sets are called {twice[0]}: score them in two runs, or rename one")
    return opened


def _open_sa1b(text: str) -> list[EvaluationSet[SampleSet]]:
    from segloop.data.sa1b import find_sa1b, open_sa1b

    opened = [(path, open_sa1b(path)) for path in find_sa1b([text])]
    return [
        EvaluationSet(dataset.name, dataset, _stamp(path), str(path)) for path, dataset in opened
    ]


def _stamp(path: str | Path) -> str:
    return stamp_of([path] if isinstance(path, Path) else [], [str(path)] * isinstance(path, str))


def _open_instances(annotations: Path, images: Path) -> EvaluationSet[SampleSet]:
    from segloop.data.lvis import open_instances

    dataset = open_instances(annotations, images)
    stamp = stamp_of([annotations, images])
    return EvaluationSet(dataset.name, dataset, stamp, f"{annotations}={images}")


def _open_named(name: str, folder: str, seed: int) -> EvaluationSet[SampleSet]:
    from segloop.data.sets.registry import open_set

    listed = open_set(name, folder, seed=seed)
    truths = (repr(entry.truth) for entry in listed.entries)
    stamp = stamp_of([entry.image for entry in listed.entries], truths)
    return EvaluationSet(listed.name, listed, stamp, folder)


def stamp_of(paths: Iterable[Path], notes: Iterable[str] = ()) -> str:
    """Tells files, and all files below folders, from another state of theirs: by names, sizes and notes.

    And by their contents, so that a copy is as good as the original; by their dates where there is too much to read.
    """
    files = [(file, file.stat()) for path in paths for file in sorted(_files(path))]
    is_read = sum(status.st_size for _, status in files) <= _READ_BYTES
    digest = hashlib.sha256()
    for file, status in files:
        digest.update(f"{file.name}\0{status.st_size}\0".encode())
        if is_read:
            with file.open("rb") as stream:
                for part in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(part)
        else:
            digest.update(f"{status.st_mtime_ns}\0".encode())
    for note in notes:
        digest.update(note.encode())
    return digest.hexdigest()[:16]


def loader(
    model: str,
    device: str,
    threads: int | None,
    jobs: int,
    *,
    closer: bool | None = False,
    sharpen: bool | None = None,
) -> Callable[[], Predictor]:
    """Loads the model in any process; they share the processors unless threads are given. closer, sharpen: see Predictor."""
    from segloop.predict.predictor import load

    if threads is None and jobs > 1:
        threads = max(1, (os.cpu_count() or 1) // jobs)
    return partial(load, model, device=device, threads=threads, closer=closer, sharpen=sharpen)


def describe_run(model: str, device: str, sets: Sequence[EvaluationSet[Any]]) -> Origin:
    """What a run starts with, once its model and its sets are open."""
    from segloop.evaluate.conditions import (
        DataOrigin,
        Origin,
        describe_conditions,
        describe_device,
    )

    data = tuple(DataOrigin(one.name, one.path, one.stamp) for one in sets)
    return Origin(model, describe_device(device), data, describe_conditions())


def settings_of(predictor: Predictor, protocol: DataclassInstance) -> dict[str, Any]:
    """What an earlier run must have in common with this one for its scores to count: all but which images it scored."""
    from segloop.predict.closer import CloserConfig
    from segloop.predict.sharpen import SharpenConfig

    how: dict[str, Any] = {
        "closer": predictor.looks_closer,
        "tidies": predictor.tidies,
        "sharpens": predictor.sharpens,
    }
    if predictor.looks_closer:
        how["closer_config"] = asdict(CloserConfig())
    if predictor.sharpens:
        how["sharpen_config"] = asdict(SharpenConfig())
    return {"model": predictor.spec.identity, **how, **asdict(protocol), "limit": None}


def score_sets(
    task: str,
    sets: Sequence[EvaluationSet[Dataset]],
    evaluate: Evaluate[Dataset, Result],
    settings: Mapping[str, Any],
    running: Running,
) -> list[Result]:
    """Score every set behind a progress bar of its own, from where an earlier run with the same settings stopped."""
    from segloop.evaluate.run import Journal

    results = []
    for one in sets:
        path = running.out / "journal" / f"{task}-{one.name}.jsonl"
        if running.redo:
            path.unlink(missing_ok=True)
        journal = Journal(path, json.loads(json.dumps({**settings, "files": one.stamp})))
        with progress_bar(f"{one.name}, {task}", log_seconds=LOG_SECONDS) as bar:
            results.append(
                evaluate(
                    one.samples,
                    name=one.name,
                    jobs=running.jobs,
                    journal=journal,
                    progress=bar.update,
                )
            )
    return results


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        for folder, _, names in os.walk(path):
            yield from (Path(folder, name) for name in names)
