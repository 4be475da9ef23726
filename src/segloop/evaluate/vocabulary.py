"""The categories of a dataset as text vectors: "a photo of a NAME", unchanged, as the paper asks for objects (§7.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segloop.backends.base import BackendSpec
from segloop.data.coco_instances import CocoInstances
from segloop.data.sa1b import SA1BDataset
from segloop.data.sample import Annotation
from segloop.errors import InputError
from segloop.evaluate.truth import SampleSource
from segloop.geometry.frames import FloatArray
from segloop.text.vectors import TextVectors

TEMPLATE = "a photo of a {}"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """K categories and their text vectors (K, C) float32; identity tells it from another."""

    names: tuple[str, ...]
    vectors: FloatArray
    identity: str

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    def vector(self, name: str) -> FloatArray:
        """The vector of a category; InputError for one that is not among them."""
        if name not in self.names:
            raise InputError(f"there is no text vector for the category {name!r}")
        return np.asarray(self.vectors[self.names.index(name)], dtype=np.float32)

    def draw_other(self, name: str, rng: np.random.Generator) -> str | None:
        """Any other category, each as likely; None where there is no other."""
        others = [other for other in self.names if other != name]
        return others[int(rng.integers(len(others)))] if others else None


def build_vocabulary(
    names: Sequence[str], source: TextVectors, template: str = TEMPLATE
) -> Vocabulary:
    """The categories of these names with their vectors; {} in the template is the name, its underscores as spaces.

    Raises InputError for a template without {}, for no names, and for vectors that are not finite or of another width than
    the source says.
    """
    if "{}" not in template:
        raise InputError(f"the template has no {{}} where the category goes: {template!r}")
    if not names:
        raise InputError("no annotation has a category: there is nothing to ask for by words")
    texts = [template.replace("{}", name.replace("_", " ")) for name in names]
    vectors = np.asarray(source.vectors(texts), dtype=np.float32)
    if vectors.shape != (len(names), source.width):
        raise InputError(
            f"{len(names)} texts need vectors ({len(names)}, {source.width}), got {vectors.shape}"
        )
    for name, vector in zip(names, vectors, strict=True):
        if not np.isfinite(vector).all():
            raise InputError(f"the text vector of {name!r} has numbers that are not finite")
    digest = hashlib.sha256("\0".join((source.identity, *texts)).encode("utf-8", "surrogatepass"))
    return Vocabulary(tuple(names), vectors, digest.hexdigest()[:16])


def category_names(dataset: SampleSource) -> tuple[str, ...]:
    """The categories of a dataset in alphabetical order, whichever of its images are scored; none where it has none."""
    if isinstance(dataset, CocoInstances):
        return tuple(sorted(category.name for category in dataset.categories))
    found = {one.category for one in _annotations(dataset) if one.category is not None}
    return tuple(sorted(found))


def check_takes_text(spec: BackendSpec, width: int | None = None) -> None:
    """Raise InputError for a model that takes no text, or none as vectors of this width."""
    if spec.text_width is None:
        raise InputError(f"model {spec.name} takes no text: name one that was trained with it")
    if width not in {None, spec.text_width}:
        raise InputError(
            f"model {spec.name} takes text vectors of {spec.text_width} numbers, these have {width}"
        )


def _annotations(dataset: SampleSource) -> Iterator[Annotation]:
    for index in range(len(dataset)):
        if isinstance(dataset, SA1BDataset):  # without decoding its images
            yield from dataset.read_annotations(index)
        else:
            yield from dataset.read(index).annotations
