"""A CLIP of random weights that knows the small letters."""

from __future__ import annotations

import json
import shutil
import string
import sys
from pathlib import Path

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.text.clip import ClipVectors
from segloop.text.vectors import open_vectors

WIDTH, MAX_TOKENS = 6, 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    words = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: row for row, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=WIDTH,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def test_every_text_has_its_own_vector_whatever_stands_beside_it(clip: Path) -> None:
    source = open_vectors(clip)
    assert source.width == WIDTH
    both = source.vectors(["dog", "a cat"])
    assert both.shape == (2, WIDTH)
    assert both.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(source.vectors(["dog"])[0], both[0], atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 0.01
    assert source.vectors([]).shape == (0, WIDTH)


def test_vectors_are_those_of_transformers(clip: Path) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    tokens = AutoTokenizer.from_pretrained(clip)(["dog"], return_tensors="pt")
    with torch.inference_mode():
        model = CLIPTextModelWithProjection.from_pretrained(clip).eval()
        expected = torch.nn.functional.normalize(model(**tokens).text_embeds, dim=-1).numpy()
    np.testing.assert_allclose(ClipVectors(str(clip)).vectors(["dog"]), expected, atol=1e-6)


def test_more_texts_than_a_batch_come_in_their_order(clip: Path) -> None:
    source = ClipVectors(str(clip))
    texts = [one + other for one in "abcd" for other in string.ascii_lowercase]
    found = source.vectors(texts)
    assert found.shape == (104, WIDTH)
    np.testing.assert_allclose(found[100], source.vectors([texts[100]])[0], atol=1e-5)


def test_other_weights_have_another_identity(clip: Path, tmp_path: Path) -> None:
    import torch
    from transformers import CLIPTextModelWithProjection

    identity = ClipVectors(str(clip)).identity
    assert ClipVectors(str(clip)).identity == identity
    shutil.copytree(clip, tmp_path / "other")
    model = CLIPTextModelWithProjection.from_pretrained(clip)
    with torch.no_grad():
        model.text_projection.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "other")
    broken = ClipVectors(str(tmp_path / "other"))
    assert broken.identity != identity
    with pytest.raises(InputError, match="the vector of 'dog' has numbers that are not finite"):
        broken.vectors(["dog"])


def test_a_text_that_is_too_long_is_refused_not_cut(clip: Path) -> None:
    with pytest.raises(InputError, match="reads 12 tokens, 'abcdefghijk' has 13"):
        ClipVectors(str(clip)).vectors(["dog", "abcdefghijk"])


def test_says_in_one_line_why_a_clip_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"CLIP .* cannot be loaded") as raised:
        ClipVectors(str(tmp_path))
    assert "\n" not in str(raised.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r'pip install "segloop\[torch,text\]"'):
        ClipVectors(str(tmp_path))


def test_weights_of_something_else_are_refused(clip: Path, tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    shutil.copytree(clip, tmp_path / "other")
    CLIPTextModel(CLIPTextConfig.from_pretrained(clip)).save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match=r"no CLIP with a text model.*: no text_projection"):
        ClipVectors(str(tmp_path / "other"))
