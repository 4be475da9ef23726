"""An embedding is a value: it cannot change, and a file brings it back."""

from __future__ import annotations

import dataclasses
import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from segloop.backends.base import Embedding
from segloop.errors import InputError
from segloop.geometry.frames import Frame


def embedding() -> Embedding:
    features = np.random.default_rng(0).normal(size=(8, 4, 4)).astype(np.float32)
    return Embedding(features, Frame((30, 47), 32, 16), "0123456789abcdef")


def test_features_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        embedding().features[0, 0, 0] = 1.0


def test_a_file_brings_everything_back(tmp_path: Path) -> None:
    saved = embedding()
    saved.save(tmp_path / "photo.npz")
    loaded = Embedding.load(tmp_path / "photo.npz")
    np.testing.assert_array_equal(loaded.features, saved.features)
    assert loaded.features.dtype == np.float32
    assert not loaded.features.flags.writeable
    assert loaded.frame == saved.frame
    assert loaded.model == saved.model
    assert [path.name for path in tmp_path.iterdir()] == ["photo.npz"]


def test_the_image_is_kept_and_written_where_asked(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (30, 47, 3), dtype=np.uint8)
    saved = dataclasses.replace(embedding(), pixels=pixels)
    assert saved.pixels is not None
    assert not saved.pixels.flags.writeable
    saved.save(tmp_path / "without.npz")
    assert Embedding.load(tmp_path / "without.npz").pixels is None
    saved.save(tmp_path / "with.npz", pixels=True)
    loaded = Embedding.load(tmp_path / "with.npz")
    np.testing.assert_array_equal(loaded.pixels, pixels)
    np.testing.assert_array_equal(loaded.features, saved.features)


def test_an_image_of_another_size_than_the_frame_is_refused(tmp_path: Path) -> None:
    wrong = dataclasses.replace(embedding(), pixels=np.zeros((3, 4, 3), dtype=np.uint8))
    wrong.save(tmp_path / "photo.npz", pixels=True)
    with pytest.raises(InputError, match="is damaged"):
        Embedding.load(tmp_path / "photo.npz")


def test_the_name_is_taken_as_it_is(tmp_path: Path) -> None:
    embedding().save(tmp_path / "photo.embedding")
    assert Embedding.load(tmp_path / "photo.embedding").model == "0123456789abcdef"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_breaks_off_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "photo.npz"
    embedding().save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match="not an embedding written by segloop, or is damaged"):
        Embedding.load(path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, features=np.zeros((1, 1, 1)))
    with pytest.raises(InputError, match="not an embedding"):
        Embedding.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="not an embedding"):
        Embedding.load(path)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    stream = io.BytesIO()
    header = np.array([{"frame": 1}], dtype=object)
    np.savez(stream, features=np.zeros((1, 1, 1)), header=header)
    path = tmp_path / "evil.npz"
    path.write_bytes(stream.getvalue())
    with pytest.raises(InputError, match="not an embedding"):
        Embedding.load(path)
    path.write_bytes(pickle.dumps(header))
    with pytest.raises(InputError, match="not an embedding"):
        Embedding.load(path)


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.npz: no such file"):
        Embedding.load(tmp_path / "absent.npz")
    with pytest.raises(InputError, match="cannot write"):
        embedding().save(tmp_path / "absent" / "photo.npz")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        embedding().save(tmp_path / "file" / "photo.npz")
