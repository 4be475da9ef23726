from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from segloop.errors import WeightsError
from segloop.model.config import ViTConfig, model_config
from segloop.model.mae import MaeConfig, MaskedAutoencoder
from segloop.model.sam import Sam
from segloop.train.mae_step import MaeBatch, mae_step
from segloop.weights.mae import MAE_NAMES, is_mae, load_mae, load_mae_encoder, save_mae

SIDE, PATCH = 64, 8
NUM_PATCHES = (SIDE // PATCH) ** 2

# The official names of transformers' tensors; q, k and v are one tensor there.
_HUGGINGFACE = {
    "vit.embeddings.cls_token": "cls_token",
    "vit.embeddings.position_embeddings": "pos_embed",
    "vit.embeddings.patch_embeddings.projection": "patch_embed.proj",
    "vit.layernorm": "norm",
    "decoder.mask_token": "mask_token",
    "decoder.decoder_pos_embed": "decoder_pos_embed",
    "decoder.decoder_embed": "decoder_embed",
    "decoder.decoder_norm": "decoder_norm",
    "decoder.decoder_pred": "decoder_pred",
}


def official(model: ViTMAEForPreTraining) -> dict[str, Tensor]:
    """The state of transformers' autoencoder under the official names."""
    state = dict(model.state_dict())
    found: dict[str, Tensor] = {}
    for name in list(state):
        for theirs, ours in _HUGGINGFACE.items():
            if name == theirs or name.startswith(theirs + "."):
                found[ours + name[len(theirs) :]] = state[name]
    for part, blocks in (("vit.layers", "blocks"), ("decoder.decoder_layers", "decoder_blocks")):
        depth = len({name.split(".")[2] for name in state if name.startswith(part)})
        for row in range(depth):
            old, new = f"{part}.{row}", f"{blocks}.{row}"
            for kind in ("weight", "bias"):
                names = [f"{old}.attention.{one}_proj.{kind}" for one in "qkv"]
                found[f"{new}.attn.qkv.{kind}"] = torch.cat([state[one] for one in names])
                for theirs, ours in (
                    ("attention.o_proj", "attn.proj"),
                    ("layernorm_before", "norm1"),
                    ("layernorm_after", "norm2"),
                    ("mlp.fc1", "mlp.fc1"),
                    ("mlp.fc2", "mlp.fc2"),
                ):
                    found[f"{new}.{ours}.{kind}"] = state[f"{old}.{theirs}.{kind}"]
    return found


@pytest.fixture(scope="module")
def reference() -> ViTMAEForPreTraining:
    torch.manual_seed(0)
    config = ViTMAEConfig(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        image_size=SIDE,
        patch_size=PATCH,
        decoder_hidden_size=64,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=256,
        norm_pix_loss=True,
        layer_norm_eps=1e-6,
    )
    return ViTMAEForPreTraining(config).eval()


@pytest.fixture
def checkpoint(reference: ViTMAEForPreTraining, tmp_path: Path) -> Path:
    torch.save({"model": official(reference)}, tmp_path / "mae.pth")
    return tmp_path / "mae.pth"


def test_an_official_checkpoint_gives_the_outputs_of_transformers(
    reference: ViTMAEForPreTraining, checkpoint: Path
) -> None:
    model = load_mae(checkpoint)
    images, noise = torch.randn(2, 3, SIDE, SIDE), torch.rand(2, NUM_PATCHES)
    order = noise.argsort(dim=1)
    visible, hidden = order[:, : NUM_PATCHES // 4], order[:, NUM_PATCHES // 4 :]
    with torch.inference_mode():
        expected = reference(images, noise=noise)
        embedding = reference.vit(images, noise=noise).last_hidden_state
        torch.testing.assert_close(model.encode(images, visible), embedding, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model(images, visible), expected.logits, atol=1e-4, rtol=1e-4)
        loss = mae_step(model, MaeBatch(images, visible, hidden), 0).loss / 2
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-4)


def test_names_go_there_and_back(reference: ViTMAEForPreTraining) -> None:
    names = list(official(reference))
    assert len(names) == len(
        MaskedAutoencoder(MaeConfig(ViTConfig(128, 2, 2, ()), 64, 64, 1, 2)).state_dict()
    )
    for name in names:
        native = MAE_NAMES.to_native(name)
        assert native is not None
        assert MAE_NAMES.to_foreign(native) == name


def test_an_encoder_without_its_decoder_is_enough(
    reference: ViTMAEForPreTraining, tmp_path: Path
) -> None:
    state = {
        name: value
        for name, value in official(reference).items()
        if not name.startswith(("decoder", "mask_token"))
    }
    torch.save({"model": state}, tmp_path / "encoder.pth")
    assert is_mae(tmp_path / "encoder.pth")
    model = load_mae(tmp_path / "encoder.pth")
    torch.testing.assert_close(model.norm.weight, state["norm.weight"])


def test_there_and_back_in_our_own_form(tmp_path: Path) -> None:
    config = MaeConfig(ViTConfig(32, 2, 2, (1,), patch_size=8, window_size=4), 64, 32, 2, 2)
    model = MaskedAutoencoder(config)
    save_mae(config, model.state_dict(), tmp_path / "mae.safetensors")
    found = load_mae(tmp_path / "mae.safetensors")
    assert found.config == config
    torch.testing.assert_close(found.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_a_sam_takes_the_encoder(tmp_path: Path) -> None:
    """Same patches, same grid: everything as it was, positions in row order, relative ones and the neck untouched."""
    config = MaeConfig(ViTConfig(32, 2, 2, (1,), patch_size=8, window_size=4), 64, 32, 2, 2)
    model = MaskedAutoencoder(config)
    save_mae(config, model.state_dict(), tmp_path / "mae.safetensors")
    sam = Sam(model_config("toy"))
    neck = sam.image_encoder.neck[0].weight.clone()
    load_mae_encoder(tmp_path / "mae.safetensors", sam)
    own, given = sam.image_encoder.state_dict(), model.state_dict()
    assert torch.equal(own["patch_embedding.weight"], given["patch_embedding.weight"])
    assert torch.equal(own["position_table"][0, 2, 5], given["positions"][0, 1 + 2 * 8 + 5])
    for name in ("blocks.1.attention.qkv.weight", "blocks.0.mlp.2.bias", "blocks.1.norm2.weight"):
        assert torch.equal(own[name], given[name])
    assert own["blocks.0.attention.relative_height"].eq(0).all()
    assert torch.equal(own["neck.0.weight"], neck)


def test_other_grids_and_patches_are_resized(tmp_path: Path) -> None:
    """As from the official ViT-H, whose patches are of 14 pixels and whose grid is 16 wide."""
    config = MaeConfig(ViTConfig(32, 2, 2, (), patch_size=7), 28, 32, 2, 2)
    model = MaskedAutoencoder(config)
    with torch.no_grad():
        model.patch_embedding.weight.fill_(0.25)
    save_mae(config, model.state_dict(), tmp_path / "mae.safetensors")
    sam = Sam(model_config("toy"))
    load_mae_encoder(tmp_path / "mae.safetensors", sam)
    weight = sam.image_encoder.patch_embedding.weight
    torch.testing.assert_close(weight, torch.full_like(weight, 0.25))
    table = sam.image_encoder.position_table
    assert table.shape == (1, 8, 8, 32)
    # The first number is the sine of the column: from 0 to 3 over four columns, then over eight.
    assert table[0, 3, :, 0].tolist() == pytest.approx(
        torch.nn.functional.interpolate(
            torch.arange(4.0).sin().reshape(1, 1, 1, 4).expand(1, 1, 4, 4), (8, 8), mode="bicubic"
        )[0, 0, 3].tolist(),
        abs=1e-5,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("norm.bias"), "1 tensors missing, 0 unknown, such as norm.bias"),
        (lambda state: state.update(head=torch.ones(3)), "found the tensor 'head'"),
        (lambda state: state.update({"norm.bias": torch.ones(3)}), "expected norm.bias of shape"),
        (lambda state: state.pop("patch_embed.proj.weight"), "expected a masked autoencoder"),
        (lambda state: state.pop("patch_embed.proj.bias"), "such as patch_embedding.bias"),
        (lambda state: state.pop("blocks.1.attn.qkv.weight"), "such as blocks.1.attention.qkv"),
        (lambda state: state.update(pos_embed=torch.ones(3)), "expected a masked autoencoder"),
        (lambda state: state.update(pos_embed=torch.ones(1, 64, 128)), "expected positions of"),
        (lambda state: state.pop("decoder_embed.weight"), "expected a masked autoencoder"),
    ],
)
def test_what_does_not_fit_is_one_line(
    reference: ViTMAEForPreTraining, tmp_path: Path, change: object, message: str
) -> None:
    """A Sam that starts from the file refuses it as well: what is missing would stay random."""
    state = official(reference)
    change(state)  # type: ignore[operator]
    torch.save({"model": state}, tmp_path / "mae.pth")
    sam = Sam(replace(model_config("toy"), encoder=ViTConfig(128, 2, 2, (1,), patch_size=8)))
    for load in (load_mae, partial(load_mae_encoder, sam=sam)):
        with pytest.raises(WeightsError, match=message) as caught:
            load(tmp_path / "mae.pth")
        assert "\n" not in str(caught.value)


def test_an_encoder_of_other_sizes_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="a ViT 128 wide and 2 deep, this model is 32 wide"):
        load_mae_encoder(checkpoint, Sam(model_config("toy")))
    with pytest.raises(WeightsError, match="starts a ViT, this model is a compact one"):
        load_mae_encoder(checkpoint, Sam(model_config("compact")))
    wide = ViTConfig(128, 2, 2, (1,), patch_size=8, mlp_ratio=2.0)
    with pytest.raises(WeightsError, match=r"expected blocks\.0\.mlp\.0\.weight of shape \(256"):
        load_mae_encoder(checkpoint, Sam(replace(model_config("toy"), encoder=wide)))
    config = MaeConfig(ViTConfig(32, 2, 4, (), patch_size=8), 64, 32, 1, 2)
    save_mae(config, MaskedAutoencoder(config).state_dict(), tmp_path / "four.safetensors")
    with pytest.raises(WeightsError, match="a ViT of 4 heads, this model has 2"):
        load_mae_encoder(tmp_path / "four.safetensors", Sam(model_config("toy")))


def test_a_sam_is_no_autoencoder(tmp_path: Path) -> None:
    torch.save(Sam(model_config("toy")).state_dict(), tmp_path / "sam.pth")
    assert not is_mae(tmp_path / "sam.pth")
