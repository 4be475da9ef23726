"""Surgery on ONNX graphs: several traces of one network in one file, and weights stored in fewer bytes.

Knows nothing of Segment Anything; nodes used are of the standard operator set alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)

# Smaller tensors (biases, norms, the position code) save nothing and may matter.
_SMALLEST_COMPRESSED = 1024
_LARGEST_HALF = float(np.finfo(np.float16).max)


def strip(model: ModelProto) -> None:
    """Remove what only a debugger reads: notes of the exporter, source lines, inferred shapes."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    graph.doc_string = ""
    del graph.value_info[:]
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


@dataclass(frozen=True)
class AtLeast:
    """The condition that an input's axis has at least so many entries."""

    name: str
    axis: int
    size: int


def choose_by_size(
    options: Sequence[tuple[AtLeast, ModelProto]], otherwise: ModelProto
) -> ModelProto:
    """One model out of several traces with the same outputs: the first whose condition holds runs.

    Its inputs are those of the trace that has most, the other traces' among them. Weights that several hold are stored
    once, outside the branches.
    """
    weights: dict[tuple[int, tuple[int, ...], bytes], TensorProto] = {}
    nodes: list[NodeProto] = []
    branch = _as_branch(otherwise.graph, f"{len(options)}/", weights)
    for index, (condition, model) in reversed(tuple(enumerate(options))):
        size, limit, holds = (f"{part}_{index}" for part in ("size", "limit", "holds"))
        nodes += [
            helper.make_node(
                "Shape", [condition.name], [size], start=condition.axis, end=condition.axis + 1
            ),
            helper.make_node("Constant", [], [limit], value_ints=[condition.size]),
            helper.make_node("GreaterOrEqual", [size, limit], [holds]),
        ]
        choice = helper.make_node(
            "If",
            [holds],
            [f"{index}/chosen/{output.name}" for output in otherwise.graph.output],
            then_branch=_as_branch(model.graph, f"{index}/", weights),
            else_branch=branch,
        )
        values = [
            helper.make_tensor_value_info(name, output.type.tensor_type.elem_type, None)
            for name, output in zip(choice.output, otherwise.graph.output, strict=True)
        ]
        branch = helper.make_graph([choice], f"choice {index}", [], values)
    (choice,) = branch.node
    choice.output[:] = [output.name for output in otherwise.graph.output]
    traces = [otherwise, *(model for _, model in options)]
    graph = helper.make_graph(
        [*nodes, choice],
        otherwise.graph.name,
        max((list(trace.graph.input) for trace in traces), key=len),
        list(otherwise.graph.output),
        initializer=list(weights.values()),
    )
    return helper.make_model(
        graph, opset_imports=list(otherwise.opset_import), ir_version=otherwise.ir_version
    )


def append(graph: GraphProto, tail: GraphProto, prefix: str) -> None:
    """Run `tail` after `graph`, on values of its inputs' names; the outputs it names are among the graph's values then."""
    kept = {value.name: value.name for value in (*tail.input, *tail.output)}

    def renamed(name: str) -> str:
        return name and kept.get(name, prefix + name)

    for tensor in tail.initializer:
        own = graph.initializer.add()
        own.CopyFrom(tensor)
        own.name = renamed(tensor.name)
    for node in tail.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        copy.input[:] = [renamed(name) for name in node.input]
        copy.output[:] = [renamed(name) for name in node.output]


def _as_branch(
    graph: GraphProto, prefix: str, weights: dict[tuple[int, tuple[int, ...], bytes], TensorProto]
) -> GraphProto:
    """The graph without inputs and weights: it sees those of the graph around it."""
    names = {given.name: given.name for given in graph.input}
    for tensor in graph.initializer:
        content = numpy_helper.to_array(tensor).tobytes()
        key = (tensor.data_type, tuple(tensor.dims), content)
        if key not in weights:
            shared = TensorProto()
            shared.CopyFrom(tensor)
            shared.name = f"weight_{len(weights)}"
            weights[key] = shared
        names[tensor.name] = weights[key].name

    def renamed(values: Iterable[str]) -> list[str]:
        return [value and names.setdefault(value, prefix + value) for value in values]

    nodes = []
    for node in graph.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        copy.input[:] = renamed(node.input)
        copy.output[:] = renamed(node.output)
        nodes.append(copy)
    outputs = []
    for output in graph.output:
        (own_name,) = renamed([output.name])
        outputs.append(
            helper.make_tensor_value_info(own_name, output.type.tensor_type.elem_type, None)
        )
    return helper.make_graph(nodes, prefix.rstrip("/"), [], outputs)


def compress(model: ModelProto, precision: Precision) -> None:
    """Store large float32 weights in fewer bytes; nodes in front restore them when a session folds constants.

    float16 halves them. int8 quarters them, with a scale per channel. The arithmetic stays float32: fewer bytes, same time.
    """
    if precision == "float32":
        return
    restore: list[NodeProto] = []
    kept: list[TensorProto] = []
    for tensor in model.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.dtype != np.float32 or weight.size < _SMALLEST_COMPRESSED:
            kept.append(tensor)
            continue
        stored, nodes = (_halve if precision == "float16" else _quantize)(tensor.name, weight)
        kept.extend(stored)
        restore.extend(nodes)
    nodes = [*restore, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)


def _halve(name: str, weight: npt.NDArray[np.float32]) -> tuple[list[TensorProto], list[NodeProto]]:
    half = np.clip(weight, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
    stored = f"{name}_half"
    cast = helper.make_node("Cast", [stored], [name], f"{name}_restore", to=TensorProto.FLOAT)
    return [numpy_helper.from_array(half, stored)], [cast]


def _quantize(
    name: str, weight: npt.NDArray[np.float32]
) -> tuple[list[TensorProto], list[NodeProto]]:
    levels, scale = min(
        (_round_along(weight, axis) for axis in _channel_axes(weight)),
        key=lambda pair: float(
            np.log(pair[1]).mean()
        ),  # the finer steps, each channel counting alike
    )
    stored, wide, factor = f"{name}_int8", f"{name}_wide", f"{name}_scale"
    tensors = [numpy_helper.from_array(levels, stored), numpy_helper.from_array(scale, factor)]
    nodes = [
        helper.make_node("Cast", [stored], [wide], f"{name}_widen", to=TensorProto.FLOAT),
        helper.make_node("Mul", [wide, factor], [name], f"{name}_restore"),
    ]
    return tensors, nodes


def _channel_axes(weight: npt.NDArray[np.float32]) -> tuple[int, ...]:
    """Axes that may hold output channels: the first of a convolution, either of a matrix (exporters transpose them)."""
    return (0,) if weight.ndim > 2 else tuple(range(weight.ndim))


def _round_along(
    weight: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    others = tuple(other for other in range(weight.ndim) if other != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


def check_graph(model: ModelProto) -> None:
    """Raise onnx.checker.ValidationError for a graph that breaks the standard."""
    onnx.checker.check_model(model, full_check=True)
