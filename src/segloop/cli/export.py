"""segloop export: from trained weights to the ONNX graphs that run without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from segloop.cli.console import CommandError, require
from segloop.cli.downloads import fetch_model
from segloop.cli.options import OutOption


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="default, vit_b, vit_l, vit_h, or a .pth, .pt or .safetensors file.",
        ),
    ],
    out: OutOption,
    precision: Annotated[
        str, typer.Option(help="Of the stored weights: float32, float16 or int8.")
    ] = "float32",
    name: Annotated[
        str | None,
        typer.Option(
            help="What results call the model; the file's name by default.", show_default=False
        ),
    ] = None,
) -> None:
    """Write encoder.onnx, decoder.onnx and model.json, checked against PyTorch.

    [bold]Examples[/bold]

      segloop export runs/compact/model.safetensors -o exported --precision float16
      segloop segment photo.jpg --point 500,375 --model exported -o out
    """
    require("torch", "torch")
    require("onnxscript", "torch")
    from segloop.export.graph import Precision
    from segloop.export.onnx import ExportError, export_onnx
    from segloop.weights.load import load_sam

    fetch_model(model)
    file = weights_file(model)
    try:
        report = export_onnx(
            load_sam(file),
            out,
            name=name or (model if file.name != Path(model).name else file.stem),
            precision=cast("Precision", precision),
            source=file.name,
        )
    except ExportError as error:
        raise CommandError(str(error)) from error
    total = (report.encoder_bytes + report.decoder_bytes) / 1e6
    typer.echo(
        f"{report.folder}: {report.precision}, {total:.1f} MB, "
        f"mask IoU with PyTorch {report.agreement.mask_iou:.4f}"
    )


def weights_file(model: str) -> Path:
    """The weights file that a name or a path means; a published checkpoint is fetched first."""
    from segloop.weights.catalog import CHECKPOINTS, default_weights, fetch

    if model == "default":
        return default_weights().model
    return fetch(CHECKPOINTS[model]) if model in CHECKPOINTS else Path(model)
