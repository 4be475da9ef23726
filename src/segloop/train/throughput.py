"""How fast a run goes and what holds it up: waiting for data against computing, and the share of the device's peak (MFU).

Floating point operations are counted once at the start, on a copy of the model without weights, so nothing is computed and
neither compilation nor recomputed activations change the number.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segloop.model.sam import Sam

T = TypeVar("T")
ModuleT = TypeVar("ModuleT", bound=nn.Module)

_NUM_TOKENS = 4
# Dense peak of one device in 10^12 operations a second, makers' data sheets: bfloat16 with float32 sums (None: not built
# in), and float32 outside the tensor cores. The first row whose words all stand in the device's name counts.
_PEAKS: tuple[tuple[frozenset[str], float | None, float], ...] = (
    (frozenset({"B200"}), 2250.0, 75.0),
    (frozenset({"H200"}), 989.4, 66.9),
    (frozenset({"GH200"}), 989.4, 66.9),
    (frozenset({"H100", "PCIE"}), 756.5, 51.2),
    (frozenset({"H100", "NVL"}), 835.5, 60.0),
    (frozenset({"H100"}), 989.4, 66.9),
    (frozenset({"A100"}), 312.0, 19.5),
    (frozenset({"A40"}), 149.7, 37.4),
    (frozenset({"A10"}), 125.0, 31.2),
    (frozenset({"A6000"}), 154.8, 38.7),
    (frozenset({"L40S"}), 362.0, 91.6),
    (frozenset({"L40"}), 181.0, 90.5),
    (frozenset({"L4"}), 121.0, 30.3),
    (frozenset({"V100", "PCIE"}), None, 14.0),
    (frozenset({"V100"}), None, 15.7),
    (frozenset({"T4"}), None, 8.1),
    (frozenset({"3090"}), 71.0, 35.6),
    (frozenset({"4090"}), 165.2, 82.6),
    (frozenset({"5090"}), 209.5, 104.8),
)
# Words of devices that are less than what the rest of their name says.
_LESSER = frozenset({"MIG", "LAPTOP", "D", "TI", "MAX"})


@dataclass(frozen=True)
class SamFlops:
    """Operations, two to a multiply-add: of the encoder for one image, and of one round of the decoder for one object.

    Forward and backward together, each once. Weights that are not trained save their part of the backward.
    """

    encoder: int
    decoder: int

    def of_step(self, num_images: int, num_objects: int, num_rounds: int) -> int:
        """Operations of a step over so many images and objects in so many rounds."""
        return num_images * self.encoder + num_objects * num_rounds * self.decoder


def count_sam_flops(model: Sam) -> SamFlops:
    """Count for the model as it stands, its frozen weights and low-rank additions included.

    Call it before the weights are shared among processes.
    """
    twin, config = without_weights(model).eval(), model.config
    images = torch.empty(1, 3, config.input_size, config.input_size, device="meta")
    grid, side = config.grid_size, config.logit_size
    trained = any(one.requires_grad for one in model.image_encoder.parameters())
    features = torch.empty(1, config.width, grid, grid, device="meta", requires_grad=trained)
    coords = torch.empty(1, _NUM_TOKENS, 2, device="meta")
    labels = torch.ones(1, _NUM_TOKENS, dtype=torch.int64, device="meta")
    logits = torch.empty(1, 1, side, side, device="meta")

    def decode() -> tuple[Tensor, ...]:
        # A round never projects the image for several prompts at once: each has its own logits.
        parts = twin.attend(features, coords, labels, logits, is_shared=False)
        return twin.mask_decoder.finish(*parts, None), parts[2]

    return SamFlops(
        encoder=count_flops(lambda: _there_and_back(twin.encode(images))),
        decoder=count_flops(lambda: _there_and_back(*decode())),
    )


def count_flops(call: Callable[[], object]) -> int:
    """Operations that a call carries out, two to a multiply-add, those of its backward passes included."""
    with (
        torch.compiler.set_stance("force_eager"),
        FlopCounterMode(display=False, custom_mapping=_CORRECTED) as counter,
    ):
        call()
    return int(counter.get_total_flops())


def without_weights(module: ModuleT) -> ModuleT:
    """A copy whose weights have shape and gradient but no content (device "meta"): to count, not to compute."""
    memo: dict[int, Any] = {}
    for one in module.parameters():
        empty = torch.empty_like(one, device="meta")
        memo[id(one)] = nn.Parameter(empty, requires_grad=one.requires_grad)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, memo)


def peak_flops(device_name: str, precision: Literal["float32", "bfloat16"]) -> float | None:
    """Dense peak of a device (torch.cuda.get_device_name) in operations a second; None where it is not in the table."""
    words = frozenset(re.split(r"[^A-Z0-9]+", device_name.upper()))
    if words & _LESSER:
        return None
    for name, bfloat16, float32 in _PEAKS:
        if name <= words:
            peak = bfloat16 if precision == "bfloat16" else float32
            return None if peak is None else peak * 1e12
    return None


@dataclass(frozen=True)
class Elapsed:
    """Seconds of a stretch of a run, and those of them spent waiting for data."""

    seconds: float
    waited: float

    def speed(
        self, num_images: int, flops: int | None = None, peak: float | None = None
    ) -> dict[str, float]:
        """The stretch as metrics: images a second, the share of waiting, and MFU where operations and peak are known.

        All three of one process or all of the whole run. MFU is over all the time, waiting included.
        """
        seconds = max(self.seconds, 1e-9)
        found = {"images_per_second": num_images / seconds, "data_wait": self.waited / seconds}
        if flops is not None and peak is not None:
            found["mfu"] = flops / seconds / peak
        return found


class StepClock:
    """Measures a run between two readings. The loop waits for its device in each step, so what is left is computing.

    now: gives seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._start = now()
        self._waited = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within as waiting for data."""
        start = self._now()
        try:
            yield
        finally:
            self._waited += self._now() - start

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time each takes to come is waiting."""
        source = iter(batches)
        while True:
            with self.waiting():
                try:
                    batch = next(source)
                except StopIteration:
                    return
            yield batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time within at all: validation, checkpoints."""
        start = self._now()
        try:
            yield
        finally:
            self._start += self._now() - start

    def read(self) -> Elapsed:
        """What passed since the last reading."""
        now = self._now()
        elapsed = Elapsed(now - self._start, self._waited)
        self._start, self._waited = now, 0.0
        return elapsed


def _there_and_back(*outputs: Tensor) -> None:
    trained = [one.sum() for one in outputs if one.requires_grad]
    if trained:
        torch.autograd.backward(trained)


def _convolution_backward(
    grad_shape: tuple[int, ...],
    in_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    *rest: Any,
    **_: Any,
) -> int:
    """Each of the two gradients takes as much as the forward pass.

    PyTorch's own formula forgets the groups: a depthwise convolution would count as many times as it has channels.
    """
    transposed, wanted = rest[4], rest[7]
    places = in_shape if transposed else grad_shape
    forward = (
        2 * grad_shape[0] * int(torch.Size(places[2:]).numel()) * torch.Size(weight_shape).numel()
    )
    return forward * (bool(wanted[0]) + bool(wanted[1]))


_CORRECTED = {torch.ops.aten.convolution_backward: _convolution_backward}
