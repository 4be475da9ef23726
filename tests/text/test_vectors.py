from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.text.vectors import FileVectors, open_vectors


def write_json(path: Path, **vectors: object) -> Path:
    path.write_text(json.dumps(vectors))
    return path


def test_json_and_npz_give_the_same_vectors_of_length_one(tmp_path: Path) -> None:
    text = write_json(tmp_path / "a.json", dog=[3, 4], cat=[0, 2])
    binary = tmp_path / "a.npz"
    np.savez(binary, texts=np.array(["dog", "cat"]), vectors=np.array([[3.0, 4.0], [0.0, 2.0]]))
    for path in (text, binary):
        source = open_vectors(path)
        assert source.width == 2
        found = source.vectors(["cat", "dog", "cat"])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [[0, 1], [0.6, 0.8], [0, 1]], rtol=1e-6)
        assert source.vectors([]).shape == (0, 2)


def test_a_changed_file_has_another_identity(tmp_path: Path) -> None:
    first = FileVectors(write_json(tmp_path / "a.json", dog=[3, 4])).identity
    assert FileVectors(write_json(tmp_path / "b.json", dog=[3, 4])).identity == first
    assert FileVectors(write_json(tmp_path / "b.json", dog=[4, 3])).identity != first


def test_a_text_that_is_missing_is_named(tmp_path: Path) -> None:
    source = FileVectors(write_json(tmp_path / "a.json", dog=[3, 4]))
    with pytest.raises(InputError, match=r"no vector for 1 of 2 texts, such as 'cow'"):
        source.vectors(["dog", "cow"])


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"dog": [0, 0]}, "the vector of 'dog' is zero"),
        ({"dog": [1, float("nan")]}, "'dog' has numbers that are not finite"),
        ({"dog": [1, float("inf")]}, "'dog' has numbers that are not finite"),
        ({"dog": [1, 2], "cat": [1]}, "as many"),
        ({"dog": ["x", "y"]}, "as many"),
        ({"dog": []}, "1 texts need as many vectors"),
        ({"dog": 3}, "1 texts need as many vectors"),
        ({}, "0 texts need as many vectors"),
    ],
)
def test_vectors_that_are_none_are_refused(
    tmp_path: Path, vectors: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        FileVectors(write_json(tmp_path / "a.json", **vectors))


def test_files_of_another_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        FileVectors(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "cut.json").write_text('{"dog": [1')
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    np.savez(tmp_path / "other.npz", dog=np.ones(3))
    for name in ("list.json", "cut.json", "cut.npz", "other.npz"):
        with pytest.raises(InputError, match="is no file of vectors"):
            FileVectors(tmp_path / name)
    np.savez(tmp_path / "twice.npz", texts=np.array(["dog", "dog"]), vectors=np.ones((2, 3)))
    with pytest.raises(InputError, match="has a text twice"):
        FileVectors(tmp_path / "twice.npz")
    np.savez(tmp_path / "short.npz", texts=np.array(["dog"]), vectors=np.ones((2, 3)))
    with pytest.raises(
        InputError, match=r"1 texts need as many vectors of one width, got \(2, 3\)"
    ):
        FileVectors(tmp_path / "short.npz")


def test_what_is_no_file_of_vectors_is_a_clip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"CLIP .* cannot be loaded"):
        open_vectors(tmp_path)
