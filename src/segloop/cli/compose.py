"""segloop compose: training pictures put together from others, in a run that can be stopped and goes on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated

import typer

from segloop.cli.console import progress_bar, require
from segloop.cli.options import OutOption
from segloop.cli.results import prepare_folder, write_whole
from segloop.data.journal import sole_use
from segloop.errors import InputError

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
    from PIL import Image

    from segloop.data.compose import Composer
    from segloop.data.cutouts import AnnotatedCutouts, PictureCutouts
    from segloop.data.loader import split_indices
    from segloop.data.sa1b import encode_annotations, image_id_of, open_all_sa1b

    for_training = [one.subset(split_indices(one, "train")) for one in open_all_sa1b(data)]
    sets = [one for one in for_training if len(one)]
    if not sets:
        raise InputError("every image in --data is held out for validation: name more images")
    folders = [PictureCutouts(folder) for folder in pictures or []]
    if any(folder.has_drawings for folder in folders):
        require("resvg_py", extra="compose")
    annotated = [source for one in sets if len(source := AnnotatedCutouts(one))]
    if not annotated and not folders:
        raise InputError("no object in --data is large enough and whole: name --pictures to paste")
    composer = Composer(sets, [*annotated, *folders], objects=(1, objects), seed=seed)
    settings = {
        "data": [str(one) for one in data],
        "pictures": [str(one) for one in pictures or []],
        "objects": objects,
        "seed": seed,
    }
    prepare_folder(out)
    with sole_use(out), progress_bar("composing") as bar:
        _keep_settings(out, settings)
        for number in range(images):
            name = f"{number:06d}"
            if not (out / f"{name}.json").exists():
                sample = composer.picture(number)
                stream = io.BytesIO()
                Image.fromarray(sample.image).save(stream, "JPEG", quality=90)
                write_whole(out / f"{name}.jpg", stream.getvalue())
                file_name, size = f"{name}.jpg", sample.image.shape[:2]
                record = encode_annotations(
                    sample.annotations, file_name, image_id_of(file_name), size
                )
                write_whole(out / f"{name}.json", record)
            bar.update(number + 1, images)
    typer.echo(f"{out}: {images} images")


def _keep_settings(folder: Path, settings: dict[str, object]) -> None:
    """Write what the folder is made with; InputError where it was made with something else."""
    path = folder / SETTINGS
    content = (json.dumps(settings, indent=2) + "\n").encode()
    if not path.exists():
        write_whole(path, content)
    elif path.read_bytes() != content:
        raise InputError(f"{folder} was made with other settings ({path}): name another folder")
