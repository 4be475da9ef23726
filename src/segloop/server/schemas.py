"""What travels as JSON. The OpenAPI page, and with it the browser's client, is made from these.

Coordinates are pixels of the image as a viewer shows it, points (x, y), sizes (height, width).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Pixel = Annotated[int, Field(ge=0, le=1_000_000)]
Score = Annotated[float, Field(allow_inf_nan=False)]
Label = Literal[0, 1]
Region = Annotated[
    tuple[Pixel, Pixel, Pixel, Pixel],
    Field(description="A part of the image: x0, y0, x1, y1 in whole pixels, ends exclusive."),
]
Level = Literal["whole", "part", "subpart"]


class Strict(BaseModel):
    """A request's part: fields that are not known are an error, not a riddle."""

    model_config = ConfigDict(extra="forbid")


class Error(BaseModel):
    """What went wrong."""

    detail: str = Field(description="One sentence for a person.")


class Health(BaseModel):
    """The server is there."""

    status: Literal["ok"]
    version: str


class Decoder(BaseModel):
    """The decoder graph that a browser runs itself."""

    url: str = Field(description="Where it is; the content behind one address never changes.")
    sha256: str
    num_bytes: int


class Model(BaseModel):
    """The model that the server runs, and what a client must know to decode with it."""

    name: str
    identity: str = Field(description="Tells embeddings of different weights apart.")
    input_size: int = Field(description="Side of the square that the encoder sees, in pixels.")
    logit_size: int = Field(description="Side of the square of mask logits.")
    num_channels: int = Field(description="Channels C of an embedding.")
    grid_size: int = Field(description="Rows and columns G of an embedding.")
    fills_boxes: bool = Field(description="Whether a box without a mask brings its rectangle.")
    tidies: bool = Field(description="Whether crumbs of its masks are taken away.")
    sharpens: bool = Field(description="Whether its masks follow the edges of the image.")
    takes_text: bool
    mask_magnitude: float = Field(
        description="Logits of a mask prompt: this within, minus without."
    )
    box_magnitude: float = Field(description="The same for the rectangle of a box.")
    automatic_thresholds: tuple[float, float] | None = Field(
        description="Predicted IoU and stability above which automatic masks are worth keeping."
    )
    decoder: Decoder | None = Field(description="Null where the client must ask segment_image.")
    version: str = Field(description="Of the server.")


class Image(BaseModel):
    """One image of the server."""

    id: str = Field(description="First 32 hex digits of the SHA-256 of the file.")
    name: str = Field(description="To be shown; it names no file.")
    height: int
    width: int
    num_bytes: int
    media_type: str


class Rle(Strict):
    """A mask as COCO's compressed run lengths."""

    size: tuple[Pixel, Pixel] = Field(description="Height and width.")
    counts: str = Field(max_length=8_000_000)


class PromptRequest(Strict):
    """Everything that describes one object."""

    points: list[tuple[Coordinate, Coordinate, Label]] = Field(
        default=[], max_length=256, description="x, y and 1 for the object or 0 for not the object."
    )
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = Field(
        default=None, description="x0, y0, x1, y1."
    )
    mask: Rle | None = Field(default=None, description="A rough mask of the image's size.")


class SegmentRequest(Strict):
    """Objects to segment in one image."""

    prompts: list[PromptRequest] = Field(min_length=1, max_length=64)
    outputs: Literal["auto", "single", "three", "best"] = Field(
        default="auto",
        description="auto: three masks for a single point, else one; best: of three the best.",
    )
    region: Region | None = Field(
        default=None, description="Look at this part alone, in more detail."
    )


class Mask(BaseModel):
    """One mask."""

    rle: Rle
    box: tuple[int, int, int, int] = Field(description="x0, y0, x1, y1, last pixels included.")
    area: int = Field(description="In pixels.")
    predicted_iou: Score
    stability_score: Score
    prompt: int = Field(description="Which prompt it answers, or which point of the grid.")
    output: int = Field(description="0 the single mask, 1 to 3 the three of an ambiguous prompt.")


class SegmentResponse(BaseModel):
    """The masks, by prompt and then output."""

    masks: list[Mask]


class EverythingRequest(Strict):
    """How to look for everything; what is left out is as the preset and the model have it."""

    preset: Literal["default", "sa1b"] = "default"
    points_per_side: int | None = Field(default=None, ge=1, le=128)
    predicted_iou_threshold: float | None = Field(default=None, ge=0, le=2)
    stability_threshold: float | None = Field(default=None, ge=0, le=1)
    box_nms_threshold: float | None = Field(default=None, ge=0, le=1)
    mask_nms_threshold: float | None = Field(default=None, ge=0, le=1)
    crop_layers: int | None = Field(default=None, ge=0, le=2)
    min_region_px: int | None = Field(default=None, ge=0, le=1_000_000)
    region: Region | None = None


class ProgressLine(BaseModel):
    """How far the work has come, in points asked for."""

    kind: Literal["progress"]
    done: int
    total: int


class MaskLine(Mask):
    """One mask of everything, the best predicted first."""

    kind: Literal["mask"]
    parent: int | None = Field(description="Which mask, in the order sent, it lies in.")
    level: Level | int = Field(description="A name for the first three, then the depth from 3 on.")


class EndLine(BaseModel):
    """All masks have been sent."""

    kind: Literal["end"]
    num_masks: int


class ErrorLine(BaseModel):
    """The work ended early."""

    kind: Literal["error"]
    detail: str


EverythingLine = Annotated[
    ProgressLine | MaskLine | EndLine | ErrorLine, Field(discriminator="kind")
]
