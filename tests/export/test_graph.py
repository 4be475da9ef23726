"""Graph surgery on small hand-made graphs, run in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from segloop.export.graph import AtLeast, append, check_graph, choose_by_size, compress, strip

WEIGHT = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)


def model_of(operator: str, extra: np.ndarray | None = None) -> ModelProto:
    """y = operator(x @ WEIGHT, extra)."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], "first", doc_string="a source line")
    ]
    weights = [numpy_helper.from_array(WEIGHT, "w")]
    inputs = ["product"]
    if extra is not None:
        weights.append(numpy_helper.from_array(extra, "extra"))
        inputs.append("extra")
    nodes.append(helper.make_node(operator, inputs, ["y"], "second"))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["M", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["M", 30])],
        initializer=weights,
        value_info=[helper.make_tensor_value_info("product", TensorProto.FLOAT, ["M", 30])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: ModelProto, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"x": rows})
    return np.asarray(result)


def rows(num: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(num, 40)).astype(np.float32)


def test_the_branch_goes_by_the_number_of_rows() -> None:
    bias = np.ones(30, dtype=np.float32)
    model = choose_by_size([(AtLeast("x", 0, 2), model_of("Add", bias))], model_of("Neg"))
    check_graph(model)
    np.testing.assert_allclose(run(model, rows(1)), -(rows(1) @ WEIGHT), rtol=1e-4, atol=1e-5)
    for num in (2, 5):
        expected = rows(num) @ WEIGHT + bias
        np.testing.assert_allclose(run(model, rows(num)), expected, rtol=1e-4, atol=1e-5)


def test_a_weight_of_both_branches_is_stored_once() -> None:
    single, joined = (
        model_of("Neg"),
        choose_by_size([(AtLeast("x", 0, 2), model_of("Abs"))], model_of("Neg")),
    )
    stored = [tensor for tensor in joined.graph.initializer if tensor.dims == [40, 30]]
    assert len(stored) == 1
    assert joined.ByteSize() < 1.5 * single.ByteSize()


def test_a_condition_may_have_the_name_of_a_branchs_own_value() -> None:
    first = model_of("Neg")
    for node in first.graph.node:
        for names in (node.input, node.output):
            names[:] = ["holds_0" if name == "product" else name for name in names]
    model = choose_by_size([(AtLeast("x", 0, 2), model_of("Abs"))], first)
    np.testing.assert_allclose(run(model, rows(1)), -(rows(1) @ WEIGHT), rtol=1e-4, atol=1e-5)


def test_the_first_option_that_holds_is_taken() -> None:
    options = [(AtLeast("x", 0, 5), model_of("Abs")), (AtLeast("x", 0, 3), model_of("Relu"))]
    model = choose_by_size(options, model_of("Neg"))
    check_graph(model)
    product = rows(6) @ WEIGHT
    for num, expected in ((6, np.abs(product)), (3, np.maximum(product[:3], 0))):
        np.testing.assert_allclose(run(model, rows(6)[:num]), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(model, rows(6)[:2]), -product[:2], rtol=1e-4, atol=1e-5)


def test_a_tail_runs_on_the_values_of_the_head() -> None:
    model, tail = model_of("Neg"), model_of("Abs")
    for names in (tail.graph.node[0].output, tail.graph.node[1].input):
        names[:] = ["y" if name == "product" else name for name in names]
    head, second = helper.make_node("Identity", ["y"], ["in"], "pass"), tail.graph
    del second.input[:], second.node[0], second.initializer[:]
    second.input.append(helper.make_tensor_value_info("in", TensorProto.FLOAT, ["M", 30]))
    second.output[0].name = "out"
    second.node[0].input[:], second.node[0].output[:] = ["in"], ["out"]
    model.graph.node.append(head)
    append(model.graph, second, "tail/")
    model.graph.output[0].name = "out"
    check_graph(model)
    np.testing.assert_allclose(run(model, rows(2)), np.abs(rows(2) @ WEIGHT), rtol=1e-4, atol=1e-5)


def test_stripping_leaves_no_notes_and_the_same_results() -> None:
    model = model_of("Neg")
    model.graph.node[0].metadata_props.add(key="stack", value="somewhere.py, line 3")
    expected = run(model, rows(3))
    strip(model)
    text = model.SerializeToString()
    assert b"somewhere" not in text
    assert b"a source line" not in text
    assert not model.graph.value_info
    np.testing.assert_array_equal(run(model, rows(3)), expected)


@pytest.mark.parametrize(
    ("precision", "bytes_each", "share"), [("float16", 2, 1e-3), ("int8", 1, 1e-2)]
)
def test_compressed_weights_are_smaller_and_nearly_the_same(
    precision: str, bytes_each: int, share: float
) -> None:
    expected = run(model_of("Neg"), rows(3))
    model = model_of("Neg")
    compress(model, precision)  # type: ignore[arg-type]
    check_graph(model)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    assert len(largest.raw_data) == WEIGHT.size * bytes_each
    difference = np.abs(run(model, rows(3)) - expected).max()
    assert 0 < difference < share * np.abs(expected).max()


def test_float32_changes_nothing() -> None:
    model = model_of("Neg")
    before = model.SerializeToString()
    compress(model, "float32")
    assert model.SerializeToString() == before


def test_small_tensors_stay_as_they_are() -> None:
    bias = np.random.default_rng(2).normal(size=30).astype(np.float32)
    model = model_of("Add", bias)
    compress(model, "float16")
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(kept["extra"], bias)


def test_a_weight_beyond_half_precision_stays_finite() -> None:
    model = model_of("Neg")
    huge = WEIGHT.copy()
    huge[0, 0] = 1e6
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(huge, "w"))
    compress(model, "float16")
    assert np.isfinite(run(model, rows(2))).all()


def test_int8_scales_each_channel_by_its_own_largest() -> None:
    model = model_of("Neg")
    uneven = WEIGHT * np.logspace(-4, 4, 30, dtype=np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(uneven, "w"))
    expected = -(rows(3) @ uneven)
    compress(model, "int8")
    error = np.abs(run(model, rows(3)) - expected).max(axis=0) / np.abs(expected).max(axis=0)
    assert error.max() < 0.05


def test_a_broken_graph_is_noticed() -> None:
    model = model_of("Neg")
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(onnx.checker.ValidationError):
        check_graph(model)
