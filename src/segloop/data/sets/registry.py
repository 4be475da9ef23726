"""The 23 data sets of the evaluation by point prompts, and how each is opened (paper §7.1, appendix D.1, table 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from segloop.data.sets.coco_json import coco_2017_name, open_coco
from segloop.data.sets.listed import ListedSet
from segloop.errors import InputError


class Opener(Protocol):
    """Lists the paper's part of a set."""

    def __call__(self, folder: Path, *, name: str) -> ListedSet:
        """List the set that lies in a folder as published; InputError where it does not."""
        ...


@dataclass(frozen=True)
class SetInfo:
    """One data set. name: the paper's abbreviation, by which it is asked for.

    home: where to get it. subset: the part that the paper takes. layout: the page or code that shows how the set lies on
    the disk, None where none could be found. num_images and num_masks: as scored in the paper. sam_minus_ritm: published
    difference of the mean IoU after one click, in points of 100 (paper figure 9a).
    """

    name: str
    title: str
    home: str
    subset: str
    num_images: int
    num_masks: int
    sam_minus_ritm: float
    layout: str | None
    open: Opener

    @property
    def label(self) -> str:
        """The title for tables, which says where the layout is a guess."""
        return self.title if self.layout else f"{self.title} (layout unconfirmed)"


_ROWS = (
    SetInfo(
        name="TimberSeg",
        title="TimberSeg 1.0: logs in piles",
        home="https://data.mendeley.com/datasets/y5npsm3gkj",
        subset="all, the prescaled images",
        num_images=220,
        num_masks=2487,
        sam_minus_ritm=28.9,
        layout="https://github.com/norlab-ulaval/logpiles_segmentation (standard_maskrcnn.py)",
        open=partial(
            open_coco, annotations=("prescaled/coco_annotation.json",), images="prescaled"
        ),
    ),
    SetInfo(
        name="LVIS",
        title="LVIS v0.5: many categories on images of COCO",
        home="https://www.lvisdataset.org and https://cocodataset.org (val2017)",
        subset="validation of v0.5, images drawn at random",
        num_images=945,
        num_masks=9642,
        sam_minus_ritm=18.5,
        layout="https://github.com/facebookresearch/detectron2 (detectron2/data/datasets/lvis.py)",
        open=partial(
            open_coco,
            annotations=("lvis_v0.5_val.json",),
            images="val2017",
            image_name=coco_2017_name,
        ),
    ),
    SetInfo(
        name="ZeroWaste-f",
        title="ZeroWaste-f: waste on a conveyor belt",
        home="https://zenodo.org/records/6412647",
        subset="train",
        num_images=2947,
        num_masks=6155,
        sam_minus_ritm=9.1,
        layout="https://github.com/dbash/zerowaste",
        open=partial(
            open_coco,
            annotations=("splits_final_deblurred/train/labels.json",),
            images="splits_final_deblurred/train/data",
        ),
    ),
    SetInfo(
        name="NDISPark",
        title="Night and Day Instance Segmented Park: parking lots",
        home="https://zenodo.org/records/6560823",
        subset="train",
        num_images=111,
        num_masks=2577,
        sam_minus_ritm=2.7,
        layout="https://zenodo.org/records/6560823",
        open=partial(
            open_coco, annotations=("train/train_coco_annotations.json",), images="train/imgs"
        ),
    ),
    SetInfo(
        name="Plittersdorf",
        title="Plittersdorf: animals before a stereo camera trap",
        home="https://zenodo.org/records/7035934",
        subset="train, validation and test",
        num_images=187,
        num_masks=546,
        sam_minus_ritm=1.5,
        layout="https://github.com/luckybird1994/ASAM (its evaluation script)",
        open=partial(
            open_coco, annotations=("train.json", "val.json", "test.json"), images="images"
        ),
    ),
    SetInfo(
        name="PIDRay",
        title="PIDray: prohibited items in X-rays of baggage",
        home="https://github.com/bywang2018/security-dataset",
        subset="test, hard",
        num_images=3733,
        num_masks=8892,
        sam_minus_ritm=-5.8,
        layout="https://github.com/bywang2018/security-dataset",
        open=partial(open_coco, annotations=("annotations/xray_test_hard.json",), images="hard"),
    ),
    SetInfo(
        name="TrashCan",
        title="TrashCan 1.0: trash on the sea floor",
        home="https://conservancy.umn.edu/handle/11299/214865",
        subset="train of the instance version",
        num_images=5936,
        num_masks=9540,
        sam_minus_ritm=-15.0,
        layout="https://conservancy.umn.edu/handle/11299/214865",
        open=partial(
            open_coco,
            annotations=("instance_version/instances_train_trashcan.json",),
            images="instance_version/train",
        ),
    ),
)

SETS = {row.name: row for row in _ROWS}
_by_lower_name: Callable[[str], SetInfo | None] = {row.name.lower(): row for row in _ROWS}.get


def set_info(name: str) -> SetInfo:
    """The set of this name, whatever the case of its letters; InputError names those there are."""
    info = _by_lower_name(name.lower())
    if info is None:
        raise InputError(f"no data set {name}: there are {', '.join(SETS)}")
    return info


def open_set(name: str, folder: str | Path, *, seed: int = 0, subsample: bool = True) -> ListedSet:
    """Open a set that lies in a folder as it was unpacked, the paper's part of it.

    seed draws the images of a set that is too large; subsample=False takes them all. InputError where the set is unknown
    or the folder is not in its layout.
    """
    info = set_info(name)
    listed = info.open(Path(folder), name=info.name)
    return listed.chosen(seed) if subsample else listed
