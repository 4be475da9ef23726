"""segloop compose: training pictures put together from others, in a run that can be stopped and goes on."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segloop.cli.console import progress_bar, require, say
from segloop.cli.failures import Failure, noting_failures, tell_failures
from segloop.cli.options import OutOption
from segloop.cli.results import prepare_folder, write_whole
from segloop.data.journal import sole_use
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.data.compose import Composer
    from segloop.data.sample import Sample

SETTINGS = "compose.json"

DataOption = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="PATH",
        help="Images with masks to paste on and to cut from: a tar or folder in SA-1B layout; repeatable.",
        show_default=False,
    ),
]
PicturesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--pictures",
        metavar="FOLDER",
        help="Pictures with transparency, and SVG drawings, to paste; repeatable.",
        show_default=False,
    ),
]
CountOption = Annotated[int, typer.Option("--images", min=1, help="How many to make.")]
ObjectsOption = Annotated[int, typer.Option("--objects", min=1, help="At most pasted into one.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Decides every choice.")]


def compose(
    data: DataOption,
    out: OutOption,
    pictures: PicturesOption = None,
    images: CountOption = 1000,
    objects: ObjectsOption = 6,
    seed: SeedOption = 0,
) -> None:
    """Put training pictures together: objects cut out and pasted on photographs, with exact masks.

    Writes them in SA-1B layout. Images that training holds out for validation
    are left alone. A stopped run goes on where it was, and a
    larger --images adds to what is there.

    [bold]Examples[/bold]

      segloop compose --data shards/ --images 5000 -o runs/composed
      segloop compose --data coco.tar --pictures clipart/ -o runs/composed
    """
    from segloop.data.compose import picture_name

    composer, contents = _read_sources(data, pictures or [], out, objects, seed)
    settings = contents | {"objects": objects, "seed": seed}
    prepare_folder(out)
    failures: list[Failure] = []
    drawn = usable = 0
    with sole_use(out), progress_bar("composing") as bar:
        _keep_settings(out, settings)
        for number in range(images):
            name = picture_name(number)
            if not all((out / f"{name}{suffix}").exists() for suffix in (".jpg", ".json")):
                with noting_failures(failures, f"picture {number}"):
                    composed = composer.picture(number)
                    _write(out, composed.sample)
                    drawn, usable = drawn + composed.num_drawn, usable + composed.num_usable
            bar.update(number + 1, images)
    if drawn and not usable:
        raise InputError(f"{out}: none of {drawn} cut-outs could be used: name other --pictures")
    num_there = sum(path.name != SETTINGS for path in out.glob("*.json"))
    typer.echo(f"{out}: {num_there} images")
    if usable < drawn:
        say(f"segloop: {drawn - usable} of {drawn} cut-outs could not be used")
    tell_failures(failures)


def _read_sources(
    data: Sequence[str], pictures: Sequence[Path], out: Path, objects: int, seed: int
) -> tuple[Composer, dict[str, object]]:
    """What composes, and a digest of the names of what it composes of."""
    from segloop.data.compose import Composer
    from segloop.data.cutouts import AnnotatedCutouts, PictureCutouts
    from segloop.data.loader import split_indices
    from segloop.data.sa1b import open_all_sa1b

    for_training = [one.subset(split_indices(one, "train")) for one in open_all_sa1b(data)]
    sets = [one for one in for_training if len(one)]
    if not sets:
        raise InputError("every image in --data is held out for validation: name more images")
    folders = [PictureCutouts(folder) for folder in pictures]
    if any(folder.has_drawings for folder in folders):
        require("resvg_py", extra="compose")
    annotated = [source for one in sets if len(source := AnnotatedCutouts(one))]
    if not annotated and not folders:
        raise InputError("no object in --data is large enough and whole: name --pictures to paste")
    _refuse_inside(out, [*data, *(str(one) for one in pictures)])
    contents: dict[str, object] = {
        "images": _digest([one.sample_names for one in sets]),
        "pictures": _digest([one.names for one in folders]),
    }
    return Composer(sets, [*annotated, *folders], objects=(1, objects), seed=seed), contents


def _write(folder: Path, sample: Sample) -> None:
    from PIL import Image

    from segloop.data.sa1b import encode_annotations, image_id_of

    stream = io.BytesIO()
    Image.fromarray(sample.image).save(stream, "JPEG", quality=90)
    file_name, size = f"{sample.name}.jpg", sample.image.shape[:2]
    write_whole(folder / file_name, stream.getvalue())
    record = encode_annotations(sample.annotations, file_name, image_id_of(file_name), size)
    write_whole(folder / f"{sample.name}.json", record)


def _refuse_inside(out: Path, sources: Sequence[str]) -> None:
    """What is composed must not be composed of: another run would then give other pictures."""
    for source in sources:
        if out.resolve().is_relative_to(Path(source).resolve()):
            raise InputError(f"{out} lies in {source}, which is read: name a folder outside it")


def _digest(names: object) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def _keep_settings(folder: Path, settings: dict[str, object]) -> None:
    """Write what the folder is made with; InputError where it was made with something else."""
    path = folder / SETTINGS
    content = (json.dumps(settings, indent=2) + "\n").encode()
    if not path.exists():
        write_whole(path, content)
    elif path.read_bytes() != content:
        raise InputError(
            f"{folder} was made with other images, pictures or settings ({path}): name another folder"
        )
