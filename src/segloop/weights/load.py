"""A Sam from a file, and a file from a Sam.

Read: official .pth, Hugging Face and our own .safetensors, told apart by what is in them. Written: safetensors with our
names and the model's configuration. Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from segloop.errors import WeightsError
from segloop.model.config import CompactConfig, DecoderConfig, ModelConfig, ViTConfig
from segloop.model.sam import Sam
from segloop.weights.convert import check_state, infer_config, resize_positions, to_native

_ENCODERS = {"vit": ViTConfig, "compact": CompactConfig}
_CONFIG_KEY = "segloop_config"
_EXACT = ("prompt_encoder.position_code.matrix",)


def load_sam(
    path: str | Path, *, input_size: int | None = None, num_heads: int | None = None
) -> Sam:
    """The model in a weights file, on the CPU, in float32 and in evaluation mode.

    input_size: for a ViT, another side of the input square than the trained one. num_heads: the decoder's, where the
    file does not say and infer_config would be wrong. Raises WeightsError for a file that is missing, damaged, or of
    something else.
    """
    tensors, stored_config = read_tensors(path)
    try:
        state = to_native(tensors)
        config = stored_config or infer_config(state, num_heads)
        check_state(state, config)
        state = {name: tensor.float() for name, tensor in state.items()}
        if input_size is not None:
            state, config = resize_positions(state, config, input_size)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    with torch.device("meta"):
        model = Sam(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def save_sam(model: Sam, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the model to a .safetensors file, whole or not at all; float16 halves it at little cost.

    The position code stays in float32: its rounding would move every point a little.
    """
    state = {
        name: tensor.detach().to("cpu", torch.float32 if name in _EXACT else dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_safetensors(state, Path(path), {_CONFIG_KEY: config_to_json(model.config)})


def weights_digest(model: Sam) -> str:
    """Sixteen hex digits that tell these weights apart."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def write_safetensors(state: Mapping[str, Tensor], target: Path, metadata: dict[str, str]) -> None:
    """Write a .safetensors file, whole or not at all, which those may read who may read other new files."""
    partial = target.with_name(target.name + ".partial")
    try:
        # The library makes files that their owner alone may read; one that is there keeps its mode.
        partial.touch()
        mode = partial.stat().st_mode
        save_file(dict(state), partial, metadata=metadata)
        partial.chmod(mode)
        os.replace(partial, target)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(f"cannot write {target}: {error}") from error


def config_to_json(config: ModelConfig) -> str:
    """The configuration as one line of JSON; config_from_json reads it back."""
    fields = asdict(config)
    kind = next(name for name, cls in _ENCODERS.items() if isinstance(config.encoder, cls))
    fields["encoder"] = {"kind": kind, **fields["encoder"]}
    return json.dumps(fields)


def config_from_json(text: str) -> ModelConfig:
    """What config_to_json wrote; WeightsError for anything else."""
    try:
        fields = _tuples(json.loads(text))
        encoder = fields.pop("encoder")
        return ModelConfig(
            encoder=_ENCODERS[encoder.pop("kind")](**encoder),
            decoder=DecoderConfig(**fields.pop("decoder")),
            **fields,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            "the model's configuration in the file is damaged or of a later version"
        ) from error


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    """All tensors of a weights file under the names they have there, and the configuration if it holds ours."""
    file = Path(path)
    if file.is_dir():
        raise WeightsError(f"{file}: expected a weights file, found a folder")
    try:
        with file.open("rb") as stream:
            head = stream.read(16)
        return _read_safetensors(file) if head[8:9] == b"{" else (_read_pytorch(file), None)
    except FileNotFoundError as error:
        raise WeightsError(f"{file}: no such file") from error
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error.strerror or error}") from error


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    try:
        with safe_open(file, framework="pt") as stored:
            text = (stored.metadata() or {}).get(_CONFIG_KEY)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it is no dict)
        return tensors, None if text is None else config_from_json(text)
    except SafetensorError as error:
        raise _unreadable(file) from error
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error


def _read_pytorch(file: Path) -> dict[str, Tensor]:
    content: Any
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of what it then refuses
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # damaged bytes make an unpickler raise nearly anything
        raise _unreadable(file) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise WeightsError(f"{file}: expected a table of tensors, found {_kind(content)}")
    return {str(name): tensor for name, tensor in content.items()}


def _kind(content: object) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    odd = next(name for name, value in content.items() if not isinstance(value, Tensor))
    return f"{type(content[odd]).__name__} under {odd!r}"


def _unreadable(file: Path) -> WeightsError:
    return WeightsError(
        f"{file}: expected a PyTorch or safetensors weights file, found {_describe(file)}"
    )


def _describe(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(256)
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (fetch the real file with: git lfs pull)"
    if head.lstrip()[:1] == b"<":
        return f"a web page of {size} bytes"
    if head.startswith(b"PK"):
        return f"a truncated or damaged PyTorch file of {size} bytes, or one with more than tensors in it"
    if head[8:9] == b"{":
        return f"a truncated or damaged safetensors file of {size} bytes"
    return f"{size} bytes of something else"


def _tuples(value: Any) -> Any:
    """The same value with its lists as tuples, as our configurations have them."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
