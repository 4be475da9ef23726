"""A user's own masks in every layout that is understood, told apart by what lies there."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segloop.data.annotated import AnnotatedSet, hold_out, open_annotated, survey
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.geometry.rle import encode_rle

Files = dict[str, bytes]
MASK = np.zeros((10, 20), dtype=np.bool_)
MASK[2:7, 4:12] = True


def save_image(path: Path, pixels: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.where(MASK[..., None], 200, 30).astype(np.uint8).repeat(3, axis=2)
    Image.fromarray(pixels).save(path)


def coco_record(**changes: Any) -> dict[str, Any]:
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": [[4, 2, 12, 2, 12, 7, 4, 7]],
    }
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 10, "width": 20}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [annotation],
        **changes,
    }


def write_coco(folder: Path, images: str = "images", file: str = "instances.json") -> str:
    save_image(folder / images / "a.png")
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(coco_record()))
    return str(folder / file)


def write_sa1b(folder: Path) -> str:
    save_image(folder / "a.png")
    annotation = {
        "id": 1,
        "segmentation": encode_rle(MASK).to_json(),
        "bbox": [4, 2, 8, 5],
        "area": 40,
    }
    (folder / "a.json").write_text(json.dumps({"annotations": [annotation]}))
    return str(folder)


def write_yolo(folder: Path) -> str:
    save_image(folder / "images" / "a.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.2 0.2 0.6 0.2 0.6 0.7 0.2 0.7\n")
    (folder / "data.yaml").write_text("names: [cell]\n")
    return str(folder)


def write_labels(folder: Path) -> str:
    save_image(folder / "a.jpg")
    save_image(folder / "a.png", MASK.astype(np.uint8))
    return str(folder)


def write_coco_in_folder(folder: Path) -> str:
    return str(Path(write_coco(folder, "train", "annotations/instances_train.json")).parent.parent)


LAYOUTS: dict[str, Callable[[Path], str]] = {
    "coco": write_coco,
    "coco beside its images": lambda folder: write_coco(folder, "."),
    "coco in a folder": write_coco_in_folder,
    "coco with its images named": lambda folder: (
        f"{write_coco(folder, 'elsewhere/deep')}={folder}/elsewhere/deep"
    ),
    "sa1b": write_sa1b,
    "yolo": write_yolo,
    "yolo by its data.yaml": lambda folder: f"{write_yolo(folder)}/data.yaml",
    "labels": write_labels,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_recognised_and_read(layout: str, tmp_path: Path) -> None:
    dataset = open_annotated(LAYOUTS[layout](tmp_path))
    assert len(dataset) == len(dataset.sample_names) == 1
    assert dataset.name
    sample = dataset.read(0)
    assert Path(sample.name).name == "a"
    assert sample.image.shape == (10, 20, 3)
    assert np.array_equal(sample.annotations[0].mask(), MASK)
    found = survey(dataset)
    assert (found.num_images, found.num_masks, found.empty) == (1, 1, ())
    assert found.categories in ({}, {"cell": 1})
    assert len(pickle.loads(pickle.dumps(dataset)).read(0).annotations) == 1


def test_a_tar_and_a_folder_of_tars(
    tmp_path: Path, paint_files: Callable[..., Files], write_tar: Callable[..., Path]
) -> None:
    first = write_tar(paint_files("a", 12, 20, [(2, 2, 9, 9)]), "first.tar")
    write_tar(paint_files("b", 12, 20, [(2, 2, 9, 9), (10, 2, 15, 9)]), "second.tar")
    assert open_annotated(first).name == "first"
    both = open_annotated(tmp_path)
    assert both.sample_names == ("a", "b")
    assert [len(both.read(index).annotations) for index in (0, 1)] == [1, 2]
    later = both.subset([1])
    assert (len(later), later.sample_names, later.read(0).name) == (1, ("b",), "b")


@pytest.mark.parametrize("where", [".", "run", "run/journal"])
def test_json_without_an_image_is_no_layout(tmp_path: Path, where: str) -> None:
    """Such as the settings of a run whose output folder lies among the data."""
    write_labels(tmp_path)
    (tmp_path / where).mkdir(parents=True, exist_ok=True)
    (tmp_path / where / "config.json").write_text("{}")
    assert open_annotated(tmp_path).sample_names == ("a",)
    write_sa1b(tmp_path)
    assert len(open_annotated(tmp_path).read(0).annotations) == 1


def test_what_is_not_there_or_nothing_known_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        open_annotated(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nothing to train on; give a COCO file"):
        open_annotated(tmp_path)
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(InputError, match="not an uncompressed tar"):
        open_annotated(tmp_path / "text.txt")


def test_a_coco_file_whose_images_are_elsewhere_says_so(tmp_path: Path) -> None:
    file = write_coco(tmp_path)
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(
        InputError, match=r"its image a\.png is not beside it.*instances.json=FOLDER"
    ):
        open_annotated(file)
    Path(file).write_text(json.dumps(coco_record(images=[])))
    with pytest.raises(InputError, match="it names no image"):
        open_annotated(file)


def test_an_annotation_of_an_image_or_class_that_is_missing(tmp_path: Path) -> None:
    file = Path(write_coco(tmp_path))
    file.write_text(json.dumps(coco_record(categories=[])))
    with pytest.raises(InputError, match="annotation 1 is of category 1, which the file lacks"):
        open_annotated(file)
    images = [{"id": 2, "file_name": "a.png", "height": 10, "width": 20}]
    file.write_text(json.dumps(coco_record(images=images)))
    with pytest.raises(InputError, match="annotation 1 is of image 1, which the file lacks"):
        open_annotated(file)


def test_several_coco_files_in_a_folder_must_be_chosen_from(tmp_path: Path) -> None:
    write_coco(tmp_path, "images", "train.json")
    write_coco(tmp_path, "images", "val.json")
    with pytest.raises(InputError, match=r"name one of train\.json, val\.json"):
        open_annotated(tmp_path)


def test_a_class_without_a_mask_is_counted_as_none(tmp_path: Path) -> None:
    folder = Path(write_yolo(tmp_path / "yolo"))
    (folder / "data.yaml").write_text("names: [cell, debris]\n")
    assert survey(open_annotated(folder)).categories == {"cell": 1, "debris": 0}
    file = Path(write_coco(tmp_path / "coco"))
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "debris"}]
    file.write_text(json.dumps(coco_record(categories=categories)))
    assert survey(open_annotated(file)).categories == {"cell": 1, "debris": 0}


class Samples:
    """Images in memory, one mask each where `masks` says so."""

    def __init__(self, masks: list[np.ndarray | None]) -> None:
        self.masks = masks

    def read(self, index: int) -> Sample:
        mask = self.masks[index]
        if mask is None:
            return Sample(f"image{index}", np.zeros((10, 20, 3), dtype=np.uint8), ())
        one = Annotation(encode_rle(mask), float(mask.sum()), (4.0, 2.0, 8.0, 5.0), 1, "cell")
        return Sample(f"image{index}", np.zeros((10, 20, 3), dtype=np.uint8), (one,))


def in_memory(masks: list[np.ndarray | None]) -> AnnotatedSet:
    names = tuple(f"image{index}" for index in range(len(masks)))
    source = Samples(masks)
    return AnnotatedSet("memory", names, tuple((source, index) for index in range(len(masks))))


def test_a_survey_counts_and_finds_what_is_wrong() -> None:
    seen: list[tuple[int, int]] = []
    found = survey(in_memory([MASK, None, MASK, np.zeros_like(MASK)]), lambda *at: seen.append(at))
    assert (found.num_images, found.num_masks) == (4, 2)
    assert found.empty == (1, 3)
    assert found.categories == {"cell": 2}
    assert seen[-1] == (4, 4)
    with pytest.raises(InputError, match="memory: no mask at all in 2 images"):
        survey(in_memory([None, np.zeros_like(MASK)]))
    with pytest.raises(
        InputError, match=r"memory/image0: a mask is \(20, 40\).*the image is \(10, 20\)"
    ):
        survey(in_memory([np.ones((20, 40), dtype=np.bool_)]))


def test_a_survey_names_every_image_that_cannot_be_used() -> None:
    wide = np.ones((20, 40), dtype=np.bool_)
    with pytest.raises(
        InputError, match=r"^2 files cannot be used: memory/image1: a mask.*image3:"
    ):
        survey(in_memory([MASK, wide, MASK, wide]))
    with pytest.raises(InputError, match=r"^12 files .*; and 2 more$") as caught:
        survey(in_memory([MASK, *[wide] * 12]))
    assert "image10" in str(caught.value)
    assert "image11" not in str(caught.value)


def test_classes_are_counted_in_a_part() -> None:
    dataset = in_memory([MASK, None, MASK, MASK])
    found = survey(dataset)
    assert found.categories_in(dataset.subset([0, 1, 2])) == {"cell": 2}
    assert found.categories_in(dataset.subset([1])) == {}


def test_a_part_is_held_out_by_image() -> None:
    dataset = in_memory([MASK] * 40)
    train, test = hold_out(dataset, 0.25)
    assert (len(train), len(test)) == (30, 10)
    assert sorted(train.sample_names + test.sample_names) == sorted(dataset.sample_names)
    assert test.sample_names != dataset.sample_names[-10:]
    backwards = dataset.subset(range(39, -1, -1))
    assert set(hold_out(backwards, 0.25)[1].sample_names) == set(test.sample_names)
    ordered = hold_out(backwards, 0.5, by_name=True)[1]
    assert set(ordered.sample_names) == set(sorted(dataset.sample_names)[20:])


def test_a_share_that_leaves_a_part_empty_is_refused() -> None:
    with pytest.raises(InputError, match="has 1 images with masks: too few to hold out 20%"):
        hold_out(in_memory([MASK]), 0.2)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="lies between 0 and 1"):
            hold_out(in_memory([MASK] * 4), share)
