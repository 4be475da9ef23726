from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data.sets.hypersim import in_subset, instance_label
from segloop.data.sets.label_maps import Label
from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]
LABELS = np.array([[-1, 2, 2], [5, 2, -1]], dtype=np.int16)


@pytest.fixture
def scene(tmp_path: Path, save_picture: Save) -> Path:
    h5py = pytest.importorskip("h5py")
    images = tmp_path / "scenes" / "ai_001_010" / "images"
    labels = images / "scene_cam_00_geometry_hdf5" / "frame.0007.semantic_instance.hdf5"
    labels.parent.mkdir(parents=True)
    with h5py.File(labels, "w") as content:
        content["dataset"] = LABELS
    image = images / "scene_cam_00_final_preview" / "frame.0007.tonemap.jpg"
    save_picture(str(image.relative_to(tmp_path)), LABELS.shape)
    return tmp_path


def test_instances_are_read(scene: Path) -> None:
    listed = open_set("Hypersim", scene)
    sample = listed.read(0)
    assert sample.name == "ai_001_010/scene_cam_00/frame.0007"
    two, five = sample.annotations
    assert np.array_equal(two.mask(), LABELS == 2)
    assert np.array_equal(five.mask(), LABELS == 5)


def test_labels_without_image_are_refused(scene: Path) -> None:
    next(scene.rglob("*.jpg")).unlink()
    with pytest.raises(InputError, match="annotated, but there is no image"):
        open_set("Hypersim", scene)


def test_only_the_papers_volumes_are_taken() -> None:
    taken = [volume for volume in range(60) if in_subset(Path(f"ai_{volume:03d}_001"))]
    assert taken == [volume for volume in range(1, 56) if volume not in (20, 25, 40, 49)]
    assert not in_subset(Path("ai_001_001.zip"))


def test_pixels_of_no_instance_are_left_out() -> None:
    assert instance_label(-1) is None
    assert instance_label(3) == Label()
