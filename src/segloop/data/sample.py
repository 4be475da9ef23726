"""One image with its annotations, whatever dataset it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from segloop.data.image import ImageArray
from segloop.geometry.frames import BoolArray
from segloop.geometry.rle import Rle, decode_rle

Frequency = Literal["frequent", "common", "rare"]


@dataclass(frozen=True)
class Annotation:
    """One mask of an image, kept compressed; bbox_xywh and area in pixels. frequency: of its category, in LVIS."""

    rle: Rle
    area: float
    bbox_xywh: tuple[float, float, float, float]
    id: int
    category: str | None = None
    is_crowd: bool = False
    frequency: Frequency | None = None

    def mask(self) -> BoolArray:
        """The mask (H, W), decoded now."""
        return decode_rle(self.rle)


@dataclass(frozen=True)
class Labelling:
    """Which categories were looked for in an image of a federated dataset (LVIS), beside those that are annotated.

    absent: looked for and not there. incomplete: there, but not every one is annotated.
    """

    absent: frozenset[str]
    incomplete: frozenset[str]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image (H, W, 3) uint8 RGB and its annotations.

    id: the image's number where the dataset has numbers. labelling: None where every category was looked for.
    """

    name: str
    image: ImageArray
    annotations: tuple[Annotation, ...]
    id: int | None = None
    labelling: Labelling | None = None


class SampleSet(Protocol):
    """A dataset of any layout: images with their annotations, by number, each under a name."""

    @property
    def name(self) -> str:
        """What the set is called."""

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Name of each sample."""

    def __len__(self) -> int:
        """How many samples there are."""

    def read(self, index: int) -> Sample:
        """Decode sample `index`; InputError names the sample that cannot be used."""
