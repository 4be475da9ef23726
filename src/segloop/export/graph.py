"""Surgery on ONNX graphs: two traces of one network in one file, and weights stored in fewer bytes.

Knows nothing of Segment Anything; nodes used are of the standard operator set alone.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def choose_by_rows(one_row: ModelProto, many_rows: ModelProto, name: str) -> ModelProto:
    """One model out of two traces with the same inputs and outputs: one_row runs where input `name` has a single row.

    Weights that both hold are stored once, outside the two branches.
    """
    weights: dict[tuple[int, tuple[int, ...], bytes], TensorProto] = {}
    branches = [
        _as_branch(graph, prefix, weights)
        for graph, prefix in ((one_row.graph, "one/"), (many_rows.graph, "many/"))
    ]
    num_rows = helper.make_node("Shape", [name], ["num_rows"], start=0, end=1)
    is_one = helper.make_node("Equal", ["num_rows", "one_row"], ["has_one_row"])
    outputs = many_rows.graph.output
    choice = helper.make_node(
        "If",
        ["has_one_row"],
        [output.name for output in outputs],
        then_branch=branches[0],
        else_branch=branches[1],
    )
    one = numpy_helper.from_array(np.array([1], dtype=np.int64), "one_row")
    graph = helper.make_graph(
        [num_rows, is_one, choice],
        many_rows.graph.name,
        list(many_rows.graph.input),
        list(outputs),
        initializer=[*weights.values(), one],
    )
    return helper.make_model(
        graph, opset_imports=list(many_rows.opset_import), ir_version=many_rows.ir_version
    )


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
