"""segloop embed: encode images ahead of time, so that the page answers at once when they are opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segloop.cli.console import INTERRUPTED, LOG_SECONDS, CommandError, progress_bar, say
from segloop.cli.downloads import fetch_model
from segloop.cli.failures import Failure, noting_failures, tell_failures
from segloop.cli.options import (
    MAX_PIXELS,
    DeviceOption,
    MaxPixelsOption,
    ModelOption,
    PathsArgument,
    ThreadsOption,
    folder_name,
    parse_bytes,
)
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.data.folder import ImageFile
    from segloop.predict.cache import EmbeddingCache
    from segloop.predict.predictor import Predictor

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        parser=folder_name,
        metavar="FOLDER",
        help="Where to keep them; by default where segloop serve looks.",
        show_default=False,
    ),
]
MaxDiskOption = Annotated[
    str | None,
    typer.Option(
        metavar="5G|20G",
        help="Room in the folder; what was not used for longest goes. By default as segloop serve has it.",
        show_default=False,
    ),
]


@dataclass
class Outcome:
    """What has come of a run so far."""

    num_made: int = 0
    num_there: int = 0
    num_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.num_made:,} made, {self.num_there:,} there already, {len(self.failures):,} failed"


def embed(
    paths: PathsArgument,
    folder: FolderOption = None,
    max_disk: MaxDiskOption = None,
    model: ModelOption = "default",
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
) -> None:
    r"""Encode images ahead of time.

    segloop serve then sends their embeddings without encoding: give it the
    same model. An image is known by its content, so it may be renamed or
    moved. What is there already is not made again, and an image that fails
    stops nothing.

    [bold]Examples[/bold]

      segloop embed photos
      segloop embed 'shots/**/*.jpg' set.tar --threads 4
      segloop embed photos -o embeddings --model vit_b
    """
    from segloop.data.folder import find_images
    from segloop.predict.cache import EmbeddingCache, default_folder
    from segloop.predict.predictor import load

    max_bytes = _disk_bound(max_disk)
    images = find_images(paths).images
    place = folder or default_folder()
    _prepare(place)
    fetch_model(model)
    predictor = load(model, device=device, threads=threads)
    cache = EmbeddingCache(place, max_memory_bytes=0, max_disk_bytes=max_bytes)
    outcome = Outcome()
    try:
        _embed_all(predictor, cache, images, outcome, max_pixels)
    except KeyboardInterrupt as error:
        say(f"segloop: interrupted: {outcome}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from error
    except CommandError as error:
        raise CommandError(f"{place}: {error}; {outcome}") from error
    _report(outcome, place, max_bytes)


def _disk_bound(max_disk: str | None) -> int:
    if max_disk is not None:
        return parse_bytes(max_disk, "--max-disk")
    from segloop.server.settings import ServerSettings

    return ServerSettings().max_disk_bytes


def _prepare(folder: Path) -> None:
    """Make the folder, or say in one line why it cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"{folder} is a file; name a folder with -o") from error
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or error}; name another folder with -o"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder} takes no files; name another folder with -o")


def _embed_all(
    predictor: Predictor,
    cache: EmbeddingCache,
    images: Sequence[ImageFile],
    outcome: Outcome,
    max_pixels: int,
) -> None:
    with progress_bar("embedding", log_seconds=LOG_SECONDS) as bar:
        for number, image in enumerate(images):
            bar.update(number, len(images), str(outcome))
            with noting_failures(outcome.failures, image.label):
                _embed(predictor, cache, image, outcome, max_pixels)


def _embed(
    predictor: Predictor,
    cache: EmbeddingCache,
    image: ImageFile,
    outcome: Outcome,
    max_pixels: int,
) -> None:
    from segloop.predict.cache import cache_key, image_id

    content = image.read()
    key = cache_key(predictor.spec.identity, image_id(content))
    is_there = cache.keeps(key)
    packed = cache.get(
        key, lambda: predictor.encode(content, max_pixels=max_pixels, keep_pixels=False)
    )
    if not is_there and not cache.keeps(key):
        raise CommandError("cannot write there; the disk may be full, or --max-disk too small")
    outcome.num_bytes += len(packed)
    if is_there:
        outcome.num_there += 1
    else:
        outcome.num_made += 1


def _report(outcome: Outcome, folder: Path, max_bytes: int) -> None:
    typer.echo(f"{folder}: {outcome}, {outcome.num_bytes / 1e6:,.1f} MB")
    if outcome.num_bytes > max_bytes:
        say(
            f"segloop: there is room for {max_bytes / 1e6:,.0f} MB only, and the first ones went again: "
            "see --max-disk"
        )
    tell_failures(outcome.failures)
