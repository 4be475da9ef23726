from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.data.sets.label_maps import Label, LabelMaps, open_label_maps, read_labels
from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]
LABELS = np.array([[0, 0, 7, 7], [0, 3, 7, 7], [3, 3, 3, 0]], dtype=np.uint8)

# Each set of this layout: where an image lies, and where its labels do.
LAYOUTS = {
    "PPDLS": ("Plant/Tobacco/tobacco_plant001_rgb.png", "Plant/Tobacco/tobacco_plant001_label.png"),
    "iShape": ("wire/val/image/1.jpg", "wire/val/instance_map/1.png"),
    "IBD": ("train/DJI_1.png", "train_labels/DJI_1.png"),
    "GTEA": ("GTEA/Images/s1_tea.jpg", "GTEA/Masks/s1_tea.png"),
}
OTHER_FOLDERS = {
    "PPDLS": ("Plant/Ara2012",),
    "iShape": tuple(
        f"{shape}/val/{kind}"
        for shape in ("antenna", "branch", "fence", "hanger", "log")
        for kind in ("image", "instance_map")
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_sets_are_read_as_they_were_unpacked(name: str, tmp_path: Path, save_picture: Save) -> None:
    image, labels = LAYOUTS[name]
    save_picture(image, (3, 4))
    save_picture(labels, LABELS, "P" if name == "PPDLS" else None)
    for folder in OTHER_FOLDERS.get(name, ()):
        (tmp_path / folder).mkdir(parents=True)
    listed = open_set(name, tmp_path)
    sample = listed.read(0)
    assert len(listed) == 1
    assert sample.name == labels.replace("Masks", "Images").replace(
        "instance_map", "image"
    ).removesuffix("_label.png").removesuffix(".png").replace("train_labels", "train")
    three, seven = sample.annotations
    assert np.array_equal(three.mask(), LABELS == 3)
    assert np.array_equal(seven.mask(), LABELS == 7)
    assert [three.id, seven.id] == [1, 2]


def test_labels_are_indices_grey_values_or_colors(save_picture: Save) -> None:
    deep = LABELS.astype(np.uint16) * 1000
    assert np.array_equal(read_labels(save_picture("deep.png", deep)), deep)
    assert np.array_equal(read_labels(save_picture("indices.png", LABELS, "P")), LABELS)
    color = np.stack([LABELS, LABELS * 2, LABELS * 3], axis=-1)
    expected = LABELS.astype(np.int64) * (1 + 2 * 256 + 3 * 65536)
    assert np.array_equal(read_labels(save_picture("color.png", color)), expected)


def describe(label: int) -> Label | None:
    return {3: Label("hand"), 7: Label("hands", is_crowd=True)}.get(label)


def test_labels_are_described_and_crowds_not_counted(save_picture: Save) -> None:
    truth = LabelMaps((save_picture("a.png", LABELS), save_picture("b.png", LABELS.T)), describe)
    assert truth.count() == 2
    with pytest.raises(InputError, match=r"b\.png is \(4, 3\) \(height, width\), the image is"):
        truth.annotations((3, 4))
    hand, hands = LabelMaps(truth.paths[:1], describe).annotations((3, 4))
    assert (hand.category, hand.is_crowd, hand.area) == ("hand", False, 4.0)
    assert (hands.category, hands.is_crowd, hands.area) == ("hands", True, 4.0)


def test_a_picture_of_labels_without_image_is_refused(tmp_path: Path, save_picture: Save) -> None:
    (tmp_path / "images").mkdir()
    save_picture("labels/a.png", LABELS)
    with pytest.raises(InputError, match=r"^Hands/images/a: annotated, but there is no image"):
        open_label_maps(tmp_path, name="Hands", folders=(("images", "labels"),))


def test_only_names_of_the_subset_are_listed(tmp_path: Path, save_picture: Save) -> None:
    for name in ("a", "b/a", "b/c"):
        save_picture(f"images/{name}.jpg", (3, 4))
        save_picture(f"labels/{name}.png", LABELS)
    listed = open_label_maps(
        tmp_path,
        name="Hands",
        folders=(("images", "labels"),),
        takes=lambda inner: inner.endswith("a"),
    )
    assert [entry.name for entry in listed.entries] == ["images/a", "images/b/a"]


def test_labels_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"cannot read the labels .*a\.png"):
        read_labels(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="pip install h5py"):
        read_labels(tmp_path / "a.hdf5")


def test_transparency_says_nothing_about_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    Image.merge("LA", (Image.fromarray(LABELS), Image.new("L", (4, 3), 255))).save(path)
    assert np.array_equal(read_labels(path), LABELS)
