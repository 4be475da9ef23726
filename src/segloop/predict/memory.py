"""How much memory a process holds, and how many prompts may be decoded together within a promise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from segloop.backends.base import Backend, BackendSpec
from segloop.errors import InputError

# Full-size arrays that may live at once: the decoded file, RGB, the prepared input's source, logits of a mask as large as
# the image in two copies, its bits, and its columns for run lengths.
_BYTES_PER_PIXEL = 3 + 3 + 3 + 4 + 4 + 1 + 2
# Float arrays of embedding size per prompt in the decoder, at its widest.
_EMBEDDINGS_PER_PROMPT = 12
# Encoder activations in units of input pixels: what PyTorch and ONNX Runtime were seen to take, rounded up.
_ENCODER_BYTES_PER_INPUT_PIXEL = 1024
# What the allocator keeps of memory that was given back.
_SLACK = 1.15


def resident_bytes() -> int:
    """Memory that this process holds now, in bytes; where the system does not say, the most it has held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return peak_bytes()


def peak_bytes() -> int:
    """The most memory this process has held, in bytes; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        # Not ru_maxrss, which counts the parent's memory at the time of the fork.
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


def prompt_bytes(spec: BackendSpec) -> int:
    """Memory that one prompt takes while it is decoded, in bytes."""
    embedding = 4 * spec.num_channels * spec.grid_size**2
    return _EMBEDDINGS_PER_PROMPT * embedding + 8 * 4 * spec.logit_size**2


def needed_bytes(backend: Backend, image_hw: tuple[int, int], batch_size: int) -> int:
    """Memory that everything in an image takes beside what the process holds before, in bytes: an upper estimate."""
    height, width = image_hw
    spec = backend.spec
    encoder = _ENCODER_BYTES_PER_INPUT_PIXEL * spec.input_size**2
    work = max(encoder, backend.num_workers * batch_size * prompt_bytes(spec))
    return int(_SLACK * (work + _BYTES_PER_PIXEL * height * width))


def batch_size_within(backend: Backend, image_hw: tuple[int, int], max_bytes: int) -> int:
    """Prompts to decode together so that this process stays below max_bytes; InputError where not even one would fit."""
    held = resident_bytes()
    for batch_size in range(backend.batch_size, 0, -1):
        if held + needed_bytes(backend, image_hw, batch_size) <= max_bytes:
            return batch_size
    least = held + needed_bytes(backend, image_hw, 1)
    height, width = image_hw
    raise InputError(
        f"an image of {width} x {height} pixels needs {least / 1e6:.0f} MB with model {backend.spec.name}, only "
        f"{max_bytes / 1e6:.0f} MB are allowed: allow more, take fewer threads, or shrink the image"
    )
