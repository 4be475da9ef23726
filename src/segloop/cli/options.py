"""Options that several commands take, each said once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from segloop.cli.console import one_line_errors
from segloop.errors import InputError

PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Images, folders and all below them, patterns such as 'shots/**/*.jpg', uncompressed tars.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|PATH",
        help="default, vit_b, vit_l, vit_h, a folder of ONNX graphs, or a weights file.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads; all by default.", show_default=False),
]
MAX_PIXELS = 100_000_000
"""As segloop.data.image has it, which takes long to load."""

MaxPixelsOption = Annotated[
    int, typer.Option("--max-pixels", min=1, help="Refuse larger images, before decoding them.")
]
CloserOption = Annotated[
    bool | None,
    typer.Option(
        "--closer/--no-closer",
        help="Look again at what is small; by default as suits the model.",
        show_default=False,
    ),
]


@one_line_errors
def folder_name(text: str | Path) -> Path:
    """The folder that -o names; the empty name would be the current folder, and - no standard output."""
    if str(text) in ("", "-"):
        raise InputError(f"-o {str(text)!r} is no folder: name one to write to")
    return Path(text)


OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        parser=folder_name,
        metavar="FOLDER",
        help="Where to write.",
        show_default=False,
    ),
]


def use_threads(threads: int | None) -> None:
    """Let PyTorch compute on so many CPU threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def parse_bytes(text: str, option: str) -> int:
    """Bytes from 800M, 1.2G or 1.2 GB, by thousands; GiB and the like by 1024. InputError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b?", text.strip().lower())
    if found is None or not float(found[1]):
        raise InputError(f"{option} {text!r}: give a size such as 800M or 1.2G")
    unit = 1024 if found[3] else 1000
    return int(float(found[1]) * unit ** (1 + "kmgt".index(found[2])))
