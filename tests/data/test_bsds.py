from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segloop.data.bsds import open_bsds, read_boundaries
from segloop.errors import InputError

HW = (12, 16)


def mat(maps: list[np.ndarray]) -> bytes:
    """The bytes of a .mat as the set has them: a row of structures, each with a map."""
    people = np.empty((1, len(maps)), dtype=object)
    for number, one in enumerate(maps):
        boundaries = np.empty((1, 1), dtype=[("Segmentation", object), ("Boundaries", object)])
        boundaries[0, 0] = (np.ones(HW, dtype=np.uint16), one.astype(np.uint8))
        people[0, number] = boundaries
    stream = io.BytesIO()
    savemat(stream, {"groundTruth": people})
    return stream.getvalue()


def boundary(row: int) -> np.ndarray:
    one = np.zeros(HW, dtype=bool)
    one[row] = True
    return one


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, maps: list[np.ndarray], split: str = "test") -> Path:
        for part in ("images", "groundTruth"):
            (tmp_path / "BSDS500" / "data" / part / split).mkdir(parents=True, exist_ok=True)
        data = tmp_path / "BSDS500" / "data"
        Image.new("RGB", HW[::-1], (9, 99, 200)).save(data / f"images/{split}/{name}.jpg")
        (data / f"groundTruth/{split}/{name}.mat").write_bytes(mat(maps))
        return tmp_path / "BSDS500"

    return write


def test_a_folder_is_read_split_by_split(write: Callable[..., Path]) -> None:
    write("200", [boundary(3), boundary(7)])
    folder = write("100", [boundary(1)])
    write("300", [boundary(1)], split="val")
    dataset = open_bsds(folder)
    assert (dataset.name, len(dataset)) == ("bsds500-test", 2)
    first, second = dataset.read(0), pickle.loads(pickle.dumps(dataset)).read(1)
    assert (first.name, second.name) == ("100", "200")
    assert first.image.shape == (*HW, 3)
    np.testing.assert_array_equal(second.boundaries, [boundary(3), boundary(7)])
    assert [open_bsds(folder, "val").read(0).name] == ["300"]


def test_a_tar_is_read_too(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write("100", [boundary(2)])
    with tarfile.open(tmp_path / "bsds.tar", "w") as archive:
        archive.add(folder / "data" / "images", "images")
        archive.add(folder / "data" / "groundTruth", "groundTruth")
    (sample,) = (open_bsds(tmp_path / "bsds.tar").read(0),)
    np.testing.assert_array_equal(sample.boundaries, [boundary(2)])


def test_what_is_missing_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write("100", [boundary(2)])
    with pytest.raises(InputError, match="no such tar or folder"):
        open_bsds(tmp_path / "none")
    with pytest.raises(InputError, match="holds no images/train"):
        open_bsds(folder, "train")
    with pytest.raises(InputError, match="the splits test, val, train, not 'all'"):
        open_bsds(folder, "all")
    write("200", [boundary(2)])
    (folder / "data/groundTruth/test/200.mat").unlink()
    with pytest.raises(InputError, match="test/200 has its image, but no boundaries"):
        open_bsds(folder)
    (folder / "data/images/test/100.jpg").rename(folder / "data/images/test/200.jpg")
    with pytest.raises(InputError, match="test/100 has its boundaries, but no image"):
        open_bsds(folder)


def test_what_cannot_be_used_names_its_sample(write: Callable[..., Path]) -> None:
    folder = write("100", [boundary(2)])
    Image.new("RGB", (5, 5)).save(folder / "data/images/test/100.jpg")
    with pytest.raises(InputError, match=r"test/100: its boundaries are \(12, 16\) .* \(5, 5\)"):
        open_bsds(folder).read(0)
    (folder / "data/images/test/100.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="bsds500-test/100: "):
        open_bsds(folder).read(0)


def test_a_file_that_is_no_truth_is_refused() -> None:
    stream = io.BytesIO()
    savemat(stream, {"other": np.ones(3)})
    for content in (b"", b"no mat", stream.getvalue(), mat([boundary(1)])[:300]):
        with pytest.raises(InputError, match="no boundaries of BSDS500, or is damaged"):
            read_boundaries(content)
    with pytest.raises(InputError, match="maps of several sizes"):
        read_boundaries(mat([boundary(1), np.ones((3, 3), dtype=bool)]))


def test_the_real_set_is_read(shared_dir: Path) -> None:
    dataset = open_bsds(shared_dir / "data" / "bsds500" / "test.tar")
    assert len(dataset) == 200
    sample = dataset.read(0)
    assert sample.name == "100007"
    assert sample.boundaries.shape == (5, 321, 481)
    assert 0.002 < sample.boundaries.mean() < 0.05
