"""segloop segment: prompts and photographs in, masks out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segloop.cli.console import FAILED, progress_bar, say, write_results
from segloop.cli.downloads import fetch_model
from segloop.cli.failures import Failure, noting_failures
from segloop.cli.options import (
    MAX_PIXELS,
    CloserOption,
    DeviceOption,
    MaxPixelsOption,
    ModelOption,
    ThreadsOption,
    folder_name,
)
from segloop.cli.prompting import ObjectRequest, read_requests, request_from_options
from segloop.cli.results import (
    ImageResult,
    MaskFiles,
    mask_records,
    prepare_folder,
    real_path,
    unique_stems,
    write_pictures,
)
from segloop.errors import InputError, shorten

if TYPE_CHECKING:
    from segloop.data.image import ImageArray
    from segloop.geometry.masks import MaskBatch
    from segloop.predict.predictor import Predictor
    from segloop.prompts.prompt import Prompt


ImageArgument = Annotated[
    str | None, typer.Argument(metavar="IMAGE", help="The photograph.", show_default=False)
]
PointOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X,Y[,0|1]",
        help="A pixel on the object, or with ,0 one that is not on it. Repeatable.",
    ),
]
BoxOption = Annotated[
    list[str] | None,
    typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object, in pixels."),
]
MaskOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="A rough mask: a picture of the same size, object light."),
]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.jsonl",
        help="Many objects and images, one JSON object a line; - reads standard input.",
    ),
]
PicturesOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", parser=folder_name, metavar="FOLDER", help="Write pictures here."),
]
AllMasksOption = Annotated[
    bool, typer.Option("--all-masks", help="All three masks of each prompt, best first.")
]


@dataclass(frozen=True)
class Delivery:
    """What is wanted of every image: where files go (None: nowhere), whether all masks, and the inputs to spare.

    max_pixels: of an image or mask that is read.
    """

    folder: Path | None
    all_masks: bool
    inputs: frozenset[Path]
    max_pixels: int


@dataclass(frozen=True)
class ImageJob:
    """All objects wanted of one image, and the name of its files."""

    path: Path
    stem: str
    requests: tuple[ObjectRequest, ...]


def segment(
    image: ImageArgument = None,
    point: PointOption = None,
    box: BoxOption = None,
    mask: MaskOption = None,
    prompts: PromptsOption = None,
    out: PicturesOption = None,
    all_masks: AllMasksOption = False,
    model: ModelOption = "default",
    closer: CloserOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
) -> None:
    r"""Segment what points, a box or a rough mask show.

    All options of one call describe one object. Each mask is a line of JSON
    on standard output: COCO run lengths, bbox, area, predicted IoU. With -o,
    NAME_mask.png, NAME_overlay.png and NAME_cutout.png go to a folder, and a
    terminal is shown a summary instead of the JSON.

    [bold]Examples[/bold]

      segloop segment photo.jpg --point 500,375 -o out
      segloop segment photo.jpg --box 300,200,700,600 --point 520,80,0 -o out
      segloop segment photo.jpg --mask rough.png --all-masks -o out
      segloop segment photo.jpg --point 500,375 | jq .area
      segloop segment --prompts objects.jsonl -o out

    [bold]Lines of --prompts[/bold], one object each; paths are relative to the file

      {"image": "a.jpg", "points": \[\[500, 375], \[520, 80, 0]], "id": "cup"}
      {"image": "b.jpg", "box": \[300, 200, 700, 600], "mask": "rough.png"}

    A batch goes on after an image that fails, says at the end what failed,
    and exits with 1.
    """
    requests, failures = _collect(image, point or [], box or [], mask or [], prompts)
    if out is not None:
        prepare_folder(out)
    inputs = (path for one in requests for path in (one.image_path, one.mask_path) if path)
    delivery = Delivery(out, all_masks, frozenset(inputs), max_pixels)

    @cache
    def predictor() -> Predictor:
        from segloop.predict.predictor import load

        fetch_model(model)
        return load(model, device=device, threads=threads, closer=closer)

    jobs = group_by_image(requests)
    if prompts is None:
        lines, missed = _segment_image(jobs[0], predictor, delivery)
        if missed:
            raise InputError(missed[0].why)
        write_results(lines)
        return
    fetch_model(model)  # now, for its bar and that of the batch cannot be shown together
    _run_batch(jobs, predictor, delivery, failures)


def group_by_image(requests: Sequence[ObjectRequest]) -> list[ImageJob]:
    """One job for each image, in the order of first mention, so that each is encoded once."""
    groups: dict[Path, list[ObjectRequest]] = {}
    for request in requests:
        groups.setdefault(real_path(request.image_path), []).append(request)
    paths = [group[0].image_path for group in groups.values()]
    return [
        ImageJob(path, stem, tuple(group))
        for path, stem, group in zip(paths, unique_stems(paths), groups.values(), strict=True)
    ]


def _collect(
    image: str | None,
    points: Sequence[str],
    boxes: Sequence[str],
    masks: Sequence[str],
    prompts: str | None,
) -> tuple[list[ObjectRequest], list[Failure]]:
    if prompts is None:
        if image is None:
            raise InputError("no image: name one, or a file of prompts with --prompts")
        return [request_from_options(image, points, boxes, masks)], []
    if points or boxes or masks:
        raise InputError("--prompts describes all objects: leave out --point, --box and --mask")
    return read_requests(prompts, image)


def _run_batch(
    jobs: Sequence[ImageJob],
    predictor: Callable[[], Predictor],
    delivery: Delivery,
    failures: list[Failure],
) -> None:
    num_masks = 0
    try:
        with progress_bar("segmenting") as bar:
            for done, job in enumerate(jobs):
                bar.update(done, len(jobs), job.path.name)
                lines: list[str] = []
                with noting_failures(failures, str(job.path), of_machine=True):
                    lines, missed = _segment_image(job, predictor, delivery)
                    failures.extend(missed)
                bar.write(lines)
                num_masks += len(lines)
    finally:
        for failure in failures:
            say(f"segloop: failed: {failure}", style="red")
    if failures:
        say(f"segloop: {len(failures)} failed, {num_masks} masks made")
        raise typer.Exit(FAILED)


def _segment_image(
    job: ImageJob,
    predictor: Callable[[], Predictor],
    delivery: Delivery,
) -> tuple[list[str], list[Failure]]:
    """Segment one image and write its pictures: a line for each mask, and which objects could not be asked for."""
    from segloop.data.image import load_image

    pixels = load_image(job.path, delivery.max_pixels)
    requests, prompts, failures = _usable(job, pixels, delivery.max_pixels)
    if not requests:
        return [], failures
    result = _answer(pixels, requests, prompts, predictor(), delivery)
    files = None
    if delivery.folder is not None:
        files = write_pictures(
            result,
            delivery.folder,
            job.stem,
            one_overlay=not delivery.all_masks,
            inputs=delivery.inputs,
        )
    return _result_lines(result, files), failures


def _usable(
    job: ImageJob, pixels: ImageArray, max_pixels: int
) -> tuple[list[ObjectRequest], list[Prompt], list[Failure]]:
    requests, prompts, failures = [], [], []
    height, width = pixels.shape[:2]
    for request in job.requests:
        try:
            prompt = request.to_prompt(max_pixels)
            prompt.check_inside((height, width))
        except InputError as error:
            failures.append(Failure(request.origin, str(error)))
            continue
        requests.append(request)
        prompts.append(prompt)
    return requests, prompts, failures


def _answer(
    pixels: ImageArray,
    requests: Sequence[ObjectRequest],
    prompts: Sequence[Prompt],
    predictor: Predictor,
    delivery: Delivery,
) -> ImageResult:
    embedding = predictor.encode(pixels, max_pixels=delivery.max_pixels)
    masks = predictor.segment(embedding, prompts, outputs="three" if delivery.all_masks else "best")
    return ImageResult(pixels, embedding.frame, requests, best_first(masks), predictor.spec.name)


def best_first(masks: MaskBatch) -> MaskBatch:
    """The same masks, those of each prompt by falling predicted IoU."""
    import numpy as np

    return masks.select(np.lexsort((-masks.predicted_iou, masks.prompt_index)))


def _result_lines(result: ImageResult, files: Sequence[MaskFiles] | None) -> list[str]:
    records = mask_records(result, files)
    num_empty = sum(not record["area"] for record in records)
    if num_empty:
        say(
            f"segloop: {shorten(records[0]['image'])}: {num_empty} of {len(records)} masks have no pixel"
        )
    lines = []
    for row, record in enumerate(records):
        if files is not None and sys.stdout.isatty():
            share = record["area"] / (result.image.shape[0] * result.image.shape[1])
            line = (
                f"{files[row].mask}  {share:.1%} of the image, "
                f"predicted IoU {record['predicted_iou']:.2f}"
            )
        else:
            line = json.dumps(record)
        lines.append(line)
    return lines
