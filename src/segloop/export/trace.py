"""From the PyTorch model to the two ONNX graphs, of standard operators alone.

The decoder's graph is put together from several traces: which form of attention is cheap depends on how many prompts
there are and what they share, and only masks that are wanted are drawn.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from torch import Tensor, nn

from segloop.export.graph import AtLeast, append, choose_by_size, strip
from segloop.model.mask_decoder import NUM_OUTPUTS, sharing_pays
from segloop.model.sam import Sam

OPSET = 20
_CLICK_TOKENS = 2
_SEEN = ("image", "drawing", "predicted_iou")


def trace_encoder(model: Sam) -> ModelProto:
    """The graph from image to features."""
    side = model.config.input_size
    return _trace(_Encode(model), {"image": torch.zeros(1, 3, side, side)}, {}, ("features",))


def trace_decoder(model: Sam) -> ModelProto:
    """The graph from features, prompts and floors to the masks predicted better than their floors.

    It holds three traces of what comes before drawing: prompts with a mask each, many prompts of one image (whose
    projections they share), and few.
    """
    own = _trace_attend(model, has_masks=True, is_shared=False)
    many = _trace_attend(model, has_masks=False, is_shared=True)
    few = _trace_attend(model, has_masks=False, is_shared=False)
    limit = next(
        n
        for n in count(1)
        if sharing_pays(n, _CLICK_TOKENS, model.config.width, model.config.decoder)
    )
    graph = choose_by_size(
        [(AtLeast("mask_logits", 0, 1), own), (AtLeast("coords", 0, limit), many)], few
    )
    _draw_wanted(graph.graph, model)
    _name_sizes(graph.graph)
    return graph


def _trace_attend(model: Sam, *, has_masks: bool, is_shared: bool) -> ModelProto:
    config = model.config
    # Two or three of everything: a size of 1 would be taken for a constant.
    num_prompts, num_tokens = 3, 2
    inputs = {
        "features": torch.zeros(1, config.width, config.grid_size, config.grid_size),
        "coords": torch.zeros(num_prompts, num_tokens, 2),
        "labels": torch.ones(num_prompts, num_tokens, dtype=torch.int64),
    }
    free: dict[str, tuple[int, ...]] = {"coords": (0, 1), "labels": (0, 1)}
    if has_masks:
        side = config.logit_size
        inputs["mask_logits"] = torch.zeros(num_prompts, 1, side, side)
        inputs["has_mask"] = torch.ones(num_prompts)
        free |= {"mask_logits": (0,), "has_mask": (0,)}
    return _trace(_Attend(model, is_shared), inputs, free, _SEEN)


def _draw_wanted(graph: GraphProto, model: Sam) -> None:
    """Append what draws the masks above `floors`, a new input, from the outputs of attend(), two of which it replaces."""
    config = model.config
    inputs = {
        "wanted_image": torch.zeros(3, config.grid_size**2, config.width),
        "wanted_drawing": torch.zeros(3, NUM_OUTPUTS, config.decoder.upscale_widths[1]),
    }
    drawn = _trace(_Draw(model), inputs, dict.fromkeys(inputs, (0,)), ("values",))
    graph.node.extend(_select_prompts())
    append(graph, drawn.graph, "draw/")
    side = config.logit_size
    unfolded = "unfolded" if config.decoder.blur else "logits"
    graph.node.extend(_select_outputs(config.grid_size, unfolded))
    if config.decoder.blur:
        images = {unfolded: torch.zeros(3, side, side)}
        blurred = _trace(model.mask_decoder.blur, images, {unfolded: (0,)}, ("logits",))
        append(graph, blurred.graph, "blur/")
    graph.input.append(helper.make_tensor_value_info("floors", TensorProto.FLOAT, [NUM_OUTPUTS]))
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, side, side])
    (predicted_iou,) = (value for value in graph.output if value.name == "predicted_iou")
    outputs = [logits, helper.make_tensor_value_info("predicted_iou", TensorProto.FLOAT, None)]
    outputs[1].CopyFrom(predicted_iou)
    del graph.output[:]
    graph.output.extend(outputs)


def _select_prompts() -> list[NodeProto]:
    """Keep the prompts that have any mask to draw; a broken model's NaN is drawn."""
    node = helper.make_node
    return [
        node("LessOrEqual", ["predicted_iou", "floors"], ["is_low"]),
        node("Not", ["is_low"], ["is_drawn"]),
        node("Cast", ["is_drawn"], ["is_drawn_number"], to=TensorProto.FLOAT),
        node("Constant", [], ["last_axis"], value_ints=[1]),
        node("ReduceMax", ["is_drawn_number", "last_axis"], ["is_wanted"], keepdims=0),
        node("NonZero", ["is_wanted"], ["wanted_column"]),
        node("Constant", [], ["flat"], value_ints=[-1]),
        node("Reshape", ["wanted_column", "flat"], ["wanted"]),
        node("Gather", ["image", "wanted"], ["wanted_image"]),
        node("Gather", ["drawing", "wanted"], ["wanted_drawing"]),
        node("Gather", ["is_drawn_number", "wanted"], ["wanted_is_drawn"]),
    ]


def _select_outputs(grid_size: int, name: str) -> list[NodeProto]:
    """Keep the masks to draw and lay them out as unfold_cells does, under this name."""
    node = helper.make_node
    cells, side = [-1, grid_size, grid_size, 2, 2, 2, 2], 4 * grid_size
    return [
        node("NonZero", ["wanted_is_drawn"], ["places_by_axis"]),
        node("Transpose", ["places_by_axis"], ["drawn_places"], perm=[1, 0]),
        node("GatherND", ["values", "drawn_places"], ["drawn_values"]),
        node("Constant", [], ["cells_shape"], value_ints=cells),
        node("Reshape", ["drawn_values", "cells_shape"], ["cells"]),
        node("Transpose", ["cells"], ["pixels"], perm=[0, 1, 3, 5, 2, 4, 6]),
        node("Constant", [], ["logits_shape"], value_ints=[-1, side, side]),
        node("Reshape", ["pixels", "logits_shape"], [name]),
    ]


def _name_sizes(graph: GraphProto) -> None:
    """Call the free sizes N, T, M and K."""
    free = {
        "coords": ("N", "T"),
        "labels": ("N", "T"),
        "mask_logits": ("M",),
        "has_mask": ("M",),
        "logits": ("K",),
        "predicted_iou": ("N",),
    }
    for value in (*graph.input, *graph.output):
        for place, size in enumerate(free.get(value.name, ())):
            value.type.tensor_type.shape.dim[place].dim_param = size


class _Encode(nn.Module):
    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.encode(image)


class _Attend(nn.Module):
    def __init__(self, model: Sam, is_shared: bool) -> None:
        super().__init__()
        self.model = model
        self.is_shared = is_shared

    def forward(
        self,
        features: Tensor,
        coords: Tensor,
        labels: Tensor,
        mask_logits: Tensor | None = None,
        has_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.attend(
            features, coords, labels, mask_logits, has_mask, is_shared=self.is_shared
        )


class _Draw(nn.Module):
    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.decoder = model.mask_decoder

    def forward(self, wanted_image: Tensor, wanted_drawing: Tensor) -> Tensor:
        return self.decoder.draw(wanted_image, wanted_drawing)


def _trace(
    module: nn.Module,
    inputs: dict[str, Tensor],
    free: dict[str, tuple[int, ...]],
    outputs: tuple[str, ...],
) -> ModelProto:
    sizes: dict[str, Any] = {
        name: dict.fromkeys(free.get(name, ()), torch.export.Dim.DYNAMIC) for name in inputs
    }
    program = torch.onnx.export(
        module.eval(),
        tuple(inputs.values()),
        None,
        input_names=list(inputs),
        output_names=list(outputs),
        opset_version=OPSET,
        dynamic_shapes=sizes,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    graph: ModelProto = program.model_proto
    strip(graph)
    return graph


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter's remarks on packages it does not find, and on its own deprecations, from the user."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
