"""The 23 data sets of the evaluation by point prompts, and how each is opened (paper §7.1, appendix D.1, table 7)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from segloop.data.sets.ade20k import open_ade20k
from segloop.data.sets.cityscapes import open_cityscapes
from segloop.data.sets.coco_json import coco_2017_name, open_coco
from segloop.data.sets.dram import open_dram
from segloop.data.sets.egohos import open_egohos
from segloop.data.sets.hypersim import open_hypersim
from segloop.data.sets.label_maps import open_label_maps
from segloop.data.sets.listed import ListedSet
from segloop.data.sets.mask_files import open_bbbc038, open_doors
from segloop.data.sets.via_json import open_via
from segloop.data.sets.video_json import open_videos
from segloop.data.sets.visor import open_visor
from segloop.data.sets.woodscape import open_woodscape
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


_PLANTS = (("Plant/Ara2012", "Plant/Ara2012"), ("Plant/Tobacco", "Plant/Tobacco"))
_SHAPES = ("antenna", "branch", "fence", "hanger", "log", "wire")
_ISHAPE = tuple((f"{shape}/val/image", f"{shape}/val/instance_map") for shape in _SHAPES)

# In the order of the paper's figure 9a.
_ROWS = (
    SetInfo(
        name="PPDLS",
        title="Plant Phenotyping: leaves of rosette plants",
        home="https://www.plant-phenotyping.org/datasets-home",
        subset="the single plants Ara2012 and Tobacco",
        num_images=182,
        num_masks=2347,
        sam_minus_ritm=46.9,
        layout="https://github.com/luckybird1994/ASAM at 4a69032 (sam_continue_learning/main.py); "
        "Evaluate_Task.m 0.2, which comes with the set",
        open=partial(
            open_label_maps,
            folders=_PLANTS,
            image_suffixes=("_rgb.png",),
            label_suffix="_label.png",
        ),
    ),
    SetInfo(
        name="BBBC038v1",
        title="BBBC038v1: cell nuclei under microscopes",
        home="https://bbbc.broadinstitute.org/BBBC038",
        subset="train of stage 1, images drawn at random",
        num_images=227,
        num_masks=10506,
        sam_minus_ritm=44.7,
        layout="https://bbbc.broadinstitute.org/BBBC038",
        open=open_bbbc038,
    ),
    SetInfo(
        name="DOORS",
        title="DOORS: a boulder on a rendered surface",
        home="https://zenodo.org/records/7107409",
        subset="DS1 of the part for segmentation, images drawn at random",
        num_images=10000,
        num_masks=10000,
        sam_minus_ritm=41.1,
        layout="https://github.com/dataset-ninja/doors (src/convert.py)",
        open=open_doors,
    ),
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
        name="NDD20",
        title="Northumberland Dolphin Dataset 2020: above and under water",
        home="https://doi.org/10.25405/data.ncl.c.4982342",
        subset="all",
        num_images=4402,
        num_masks=6100,
        sam_minus_ritm=21.1,
        layout="https://github.com/WildlifeDatasets/wildlife-datasets",
        open=partial(
            open_via, files=(("ABOVE_LABELS.json", "ABOVE"), ("BELOW_LABELS.json", "BELOW"))
        ),
    ),
    SetInfo(
        name="LVIS",
        title="LVIS v0.5: many categories on images of COCO",
        home="https://www.lvisdataset.org",
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
        name="STREETS",
        title="STREETS: cars before traffic cameras",
        home="https://databank.illinois.edu/datasets/IDB-3671567",
        subset="all, images drawn at random",
        num_images=819,
        num_masks=9854,
        sam_minus_ritm=17.3,
        layout="https://github.com/corey-snyder/STREETS",
        open=partial(
            open_via,
            files=(
                (
                    "vehicleannotations/annotations/vehicle-annotations.json",
                    "vehicleannotations/images",
                ),
            ),
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
        layout="https://github.com/luckybird1994/ASAM at 4a69032 (sam_continue_learning/main.py); "
        "https://github.com/UlinduP/SegTTO (clip-dinoiser/segmentation/configs/_base_/datasets/zerowaste.py)",
        open=partial(
            open_coco,
            annotations=("splits_final_deblurred/train/labels.json",),
            images="splits_final_deblurred/train/data",
        ),
    ),
    SetInfo(
        name="iShape",
        title="iShape: antennas, branches, fences, hangers, logs and wires",
        home="https://ishape.github.io",
        subset="validation, images drawn at random",
        num_images=754,
        num_masks=9742,
        sam_minus_ritm=8.8,
        layout="https://github.com/iShape/iShape.github.io (dataset_README.md)",
        open=partial(open_label_maps, folders=_ISHAPE),
    ),
    SetInfo(
        name="ADE20K",
        title="ADE20K: scenes, their objects and the parts of those",
        home="https://groups.csail.mit.edu/vision/datasets/ADE20K",
        subset="validation, objects and parts, images drawn at random",
        num_images=302,
        num_masks=10128,
        sam_minus_ritm=7.8,
        layout="https://github.com/CSAILVision/ADE20K",
        open=open_ade20k,
    ),
    SetInfo(
        name="OVIS",
        title="OVIS: videos of objects that hide one another",
        home="https://songbai.site/ovis",
        subset="train, frames drawn at random",
        num_images=2044,
        num_masks=10011,
        sam_minus_ritm=7.0,
        layout="https://github.com/qjy981010/CMaskTrack-RCNN",
        open=partial(
            open_videos,
            annotations=("annotations_train.json", "annotations/annotations_train.json"),
            images=("train", "train_images"),
        ),
    ),
    SetInfo(
        name="Hypersim",
        title="Hypersim: rendered rooms",
        home="https://github.com/apple/ml-hypersim",
        subset="Evermotion volumes 1 to 55 less 20, 25, 40 and 49, images drawn at random",
        num_images=338,
        num_masks=9445,
        sam_minus_ritm=6.1,
        layout="https://github.com/apple/ml-hypersim",
        open=open_hypersim,
    ),
    SetInfo(
        name="NDISPark",
        title="Night and Day Instance Segmented Park: parking lots",
        home="https://zenodo.org/records/6560823",
        subset="train",
        num_images=111,
        num_masks=2577,
        sam_minus_ritm=2.7,
        layout="https://github.com/luckybird1994/ASAM at 4a69032 (sam_continue_learning/main.py)",
        open=partial(
            open_coco, annotations=("train/train_coco_annotations.json",), images="train/imgs"
        ),
    ),
    SetInfo(
        name="VISOR",
        title="EPIC-KITCHENS VISOR: hands and what they use",
        home="https://epic-kitchens.github.io/VISOR",
        subset="validation, frames drawn at random",
        num_images=1864,
        num_masks=10141,
        sam_minus_ritm=1.8,
        layout="https://github.com/epic-kitchens/VISOR-VIS",
        open=open_visor,
    ),
    SetInfo(
        name="Plittersdorf",
        title="Plittersdorf: animals before a stereo camera trap",
        home="https://zenodo.org/records/7035934",
        subset="train, validation and test",
        num_images=187,
        num_masks=546,
        sam_minus_ritm=1.5,
        layout="https://github.com/luckybird1994/ASAM at 4a69032 (sam_continue_learning/main.py)",
        open=partial(
            open_coco, annotations=("train.json", "val.json", "test.json"), images="images"
        ),
    ),
    SetInfo(
        name="EgoHOS",
        title="EgoHOS: hands and what they hold",
        home="https://github.com/owenzlz/EgoHOS",
        subset="train, the images of Ego4D and THU-READ, drawn at random",
        num_images=2940,
        num_masks=9961,
        sam_minus_ritm=0.8,
        layout="https://github.com/owenzlz/EgoHOS",
        open=open_egohos,
    ),
    SetInfo(
        name="IBD",
        title="InstanceBuilding 2D: roofs seen by drones",
        home="https://californiachen.github.io/datasets/InstanceBuilding",
        subset="train of the 2D annotations",
        num_images=467,
        num_masks=11953,
        sam_minus_ritm=-0.3,
        layout=None,
        open=partial(
            open_label_maps, folders=(("train", "train_labels"),), image_suffixes=(".png", ".jpg")
        ),
    ),
    SetInfo(
        name="WoodScape",
        title="WoodScape: fisheye images around a car",
        home="https://woodscape.valeo.com",
        subset="the first set released, images drawn at random",
        num_images=107,
        num_masks=10266,
        sam_minus_ritm=-0.6,
        layout="https://github.com/valeoai/WoodScape (scripts/parsers)",
        open=open_woodscape,
    ),
    SetInfo(
        name="Cityscapes",
        title="Cityscapes: streets",
        home="https://www.cityscapes-dataset.com",
        subset="validation, as in the panoptic task, images drawn at random",
        num_images=293,
        num_masks=9973,
        sam_minus_ritm=-2.0,
        layout="https://github.com/mcordts/cityscapesScripts (preparation/createPanopticImgs.py)",
        open=open_cityscapes,
    ),
    SetInfo(
        name="PIDRay",
        title="PIDray: prohibited items in X-rays of baggage",
        home="https://github.com/bywang2018/security-dataset",
        subset="test, hard",
        num_images=3733,
        num_masks=8892,
        sam_minus_ritm=-5.8,
        layout="https://github.com/luckybird1994/ASAM at 4a69032 (sam_continue_learning/main.py)",
        open=partial(open_coco, annotations=("annotations/xray_test_hard.json",), images="hard"),
    ),
    SetInfo(
        name="DRAM",
        title="DRAM: paintings of four movements and more",
        home="https://faculty.runi.ac.il/arik/site/artseg/Dram-Dataset.html",
        subset="test, one mask for each class in an image",
        num_images=718,
        num_masks=1179,
        sam_minus_ritm=-6.5,
        layout="https://github.com/blumenstiel/MESS (mess/prepare_datasets/prepare_dram.py)",
        open=open_dram,
    ),
    SetInfo(
        name="TrashCan",
        title="TrashCan 1.0: trash on the sea floor",
        home="https://conservancy.umn.edu/handle/11299/214865",
        subset="train of the instance version",
        num_images=5936,
        num_masks=9540,
        sam_minus_ritm=-15.0,
        layout="https://github.com/dataset-ninja/trash-can (src/convert.py)",
        open=partial(
            open_coco,
            annotations=("instance_version/instances_train_trashcan.json",),
            images="instance_version/train",
        ),
    ),
    SetInfo(
        name="GTEA",
        title="Georgia Tech Egocentric Activities: hands",
        home="https://cbs.ic.gatech.edu/fpv",
        subset="the hands of GTEA in hand2K_dataset",
        num_images=652,
        num_masks=1208,
        sam_minus_ritm=-21.4,
        layout="https://github.com/luckybird1994/ASAM at 4a69032 (utils/dataloader_gtea.py)",
        open=partial(open_label_maps, folders=(("GTEA/Images", "GTEA/Masks"),)),
    ),
)

SETS = {row.name: row for row in _ROWS}


def set_info(name: str) -> SetInfo:
    """The set of this name, whatever the case of its letters; InputError names those there are."""
    for info in _ROWS:
        if info.name.lower() == name.lower():
            return info
    raise InputError(
        f"no data set {name}: there are {', '.join(SETS)}, and your own as MODULE:FUNCTION"
    )


def open_set(name: str, folder: str | Path, *, seed: int = 0, subsample: bool = True) -> ListedSet:
    """Open a set that lies in a folder as it was unpacked, the paper's part of it.

    name: one of SETS, or MODULE:FUNCTION for an opener of your own that Python can import. seed draws the images of a set
    that is too large; subsample=False takes them all. InputError where the set is unknown or the folder is not in its
    layout.
    """
    if ":" in name:
        listed = _import_opener(name)(Path(folder), name=name.partition(":")[0].rpartition(".")[2])
    else:
        info = set_info(name)
        listed = info.open(Path(folder), name=info.name)
    return listed.chosen(seed) if subsample else listed


def _import_opener(name: str) -> Opener:
    module, _, function = name.partition(":")
    try:
        opener: Opener = getattr(importlib.import_module(module), function)
    except (AttributeError, ImportError, ValueError) as error:
        raise InputError(f"{name} cannot be imported as MODULE:FUNCTION ({error})") from error
    return opener
