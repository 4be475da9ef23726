"""The packed form: the bytes themselves, what a round trip costs, and that nothing malformed crashes."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segloop.backends.base import Embedding
from segloop.errors import InputError
from segloop.geometry.frames import Frame
from segloop.predict.wire import pack_embedding, unpack_embedding

VECTORS = Path(__file__).parent.parent / "vectors" / "embedding.json"
CASES = json.loads(VECTORS.read_bytes())["embeddings"]
FRAME = Frame((30, 40), 64, 32)


def embedding_of(features: object, model: str = "0123456789abcdef") -> Embedding:
    return Embedding(np.array(features, dtype=np.float32), FRAME, model)


def random_embedding(seed: int = 0) -> Embedding:
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.normal(0, 3, (32, 1, 1)))
    return embedding_of(rng.normal(size=(32, 8, 8)) * scales)


def with_header(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return b"SGE1" + struct.pack("<I", len(text)) + text + body


HEADER = {
    "model": "m",
    "shape": [1, 2, 2],
    "image_hw": [3, 4],
    "input_size": 8,
    "logit_size": 4,
}
BODY = struct.pack("<f", 0.5) + bytes([1, 2, 3, 255])


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_the_vectors(case: dict) -> None:
    features = np.array(case["features"], dtype=np.float32).reshape(case["shape"])
    frame = Frame(tuple(case["image_hw"]), case["input_size"], case["logit_size"])
    packed = bytes.fromhex(case["packed_hex"])
    assert pack_embedding(Embedding(features, frame, case["model"])) == packed
    found = unpack_embedding(packed)
    assert (found.frame, found.model) == (frame, case["model"])
    expected = np.array(case["unpacked"], dtype=np.float32).reshape(case["shape"])
    np.testing.assert_array_equal(found.features, expected)
    assert found.features.dtype == np.float32


def test_a_round_trip_moves_no_number_by_more_than_half_a_scale() -> None:
    embedding = random_embedding()
    found = unpack_embedding(pack_embedding(embedding))
    largest = np.abs(embedding.features).max(axis=(1, 2), keepdims=True)
    gaps = np.abs(found.features - embedding.features)
    assert (gaps <= largest / 127 * 0.5001).all()


def test_packing_what_was_unpacked_changes_nothing() -> None:
    packed = pack_embedding(random_embedding())
    again = pack_embedding(unpack_embedding(packed))
    first, second = unpack_embedding(packed), unpack_embedding(again)
    np.testing.assert_allclose(first.features, second.features, rtol=1e-6)


def test_the_size_is_a_byte_a_number_and_little_more() -> None:
    embedding = random_embedding()
    assert len(pack_embedding(embedding)) < embedding.features.size + 4 * 32 + 200


@pytest.mark.parametrize("value", [1e-45, 1e-40, 3e38])
def test_the_smallest_and_the_largest_numbers_pack(value: float) -> None:
    found = unpack_embedding(pack_embedding(embedding_of([[[value, -value], [0, 0]]])))
    expected = [[[value, -value], [0, 0]]]
    np.testing.assert_allclose(found.features, expected, rtol=0.01, atol=1e-38)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="not finite"):
        pack_embedding(embedding_of([[[value]]]))


def test_a_well_formed_one_is_read() -> None:
    found = unpack_embedding(with_header(HEADER, BODY))
    assert found.frame == Frame((3, 4), 8, 4)
    np.testing.assert_array_equal(found.features, [[[0.5, 1.0], [1.5, -0.5]]])


MALFORMED = {
    "empty": b"",
    "magic": b"SGE2" + with_header(HEADER, BODY)[4:],
    "only the magic": b"SGE1",
    "header past the end": b"SGE1" + struct.pack("<I", 400) + b"{}",
    "header of odd length": b"SGE1" + struct.pack("<I", 2) + b"{}",
    "header of gigabytes": b"SGE1" + struct.pack("<I", 0xFFFFFFFC),
    "no JSON": with_header(b"{{{{"),
    "no UTF-8": with_header(b"\xff\xfe\xff\xfe"),
    "deep JSON": with_header(b"[" * 60_000),
    "a list": with_header([1, 2]),
    "no sizes": with_header({}),
    "cut": with_header(HEADER, BODY[:-1]),
    "too long": with_header(HEADER, BODY + b"\0"),
    "scale of nothing": with_header(HEADER, struct.pack("<f", 0.0) + BODY[4:]),
    "scale NaN": with_header(HEADER, struct.pack("<f", np.nan) + BODY[4:]),
    "scale below 0": with_header(HEADER, struct.pack("<f", -1.0) + BODY[4:]),
    "not square": with_header({**HEADER, "shape": [1, 2, 3]}, BODY),
    "flat": with_header({**HEADER, "shape": [4]}, BODY),
    "shape of text": with_header({**HEADER, "shape": "122"}, BODY),
    "shape below 0": with_header({**HEADER, "shape": [1, -2, -2]}, BODY),
    "shape of halves": with_header({**HEADER, "shape": [1, 2.0, 2.0]}, BODY),
    "shape past memory": with_header({**HEADER, "shape": [1 << 40, 1 << 30, 1 << 30]}, BODY),
    "image of nothing": with_header({**HEADER, "image_hw": [0, 4]}, BODY),
    "image of one side": with_header({**HEADER, "image_hw": [4]}, BODY),
    "image of none": with_header({**HEADER, "image_hw": None}, BODY),
    "input of truth": with_header({**HEADER, "input_size": True}, BODY),
    "model of no text": with_header({**HEADER, "model": 3}, BODY),
}


@pytest.mark.parametrize("malformed", MALFORMED)
def test_what_is_malformed_is_refused_in_one_line(malformed: str) -> None:
    with pytest.raises(InputError, match="not an embedding that segloop packed") as caught:
        unpack_embedding(MALFORMED[malformed])
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_arbitrary_damage_is_refused_or_read(noise: bytes, place: int) -> None:
    whole = with_header(HEADER, BODY)
    with suppress(InputError):
        assert isinstance(unpack_embedding(noise), Embedding)
    with suppress(InputError):
        damaged = whole[:place] + noise + whole[place + len(noise) :]
        assert isinstance(unpack_embedding(damaged), Embedding)


def test_a_models_name_of_any_letters_travels() -> None:
    embedding = replace(random_embedding(), model="größe ✓")
    assert unpack_embedding(pack_embedding(embedding)).model == "größe ✓"
