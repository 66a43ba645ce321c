"""Names that a pass gives and names that an exporter gave never meet in one file."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from platon_compress.export.model_file import write_model
from platon_compress.export.passes._graph import add_constant

# The traced graph calls its own values as our constants are called.
_TEXT = """
<ir_version: 10, opset_import: ["": 18]>
graph (float[N, 2] one_1d) => (float[N, 2] gelu_1) {
  gelu_half = Add (one_1d, one_1d)
  gelu_1 = Mul (gelu_half, gelu_half)
}
"""


def test_constants_give_way_to_the_names_of_the_graph(tmp_path):
    model = ir.from_proto(onnx.parser.parse_model(_TEXT))
    for name, number in (("gelu_half", 3.0), ("gelu_1", 5.0), ("one_1d", 7.0)):
        constant = add_constant(model.graph, name, np.array(number, np.float32))
        last = model.graph[-1]
        last.replace_input_with(0, _times(model.graph, last.inputs[0], constant))
    write_model(model, tmp_path / "m.onnx")
    session = ort.InferenceSession(tmp_path / "m.onnx")
    assert [value.name for value in session.get_inputs()] == ["one_1d"]
    assert [value.name for value in session.get_outputs()] == ["gelu_1"]
    x = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_allclose(session.run(None, {"one_1d": x})[0], 4 * x * x * 3 * 5 * 7)


def test_one_constant_serves_equal_requests_only():
    model = ir.from_proto(onnx.parser.parse_model(_TEXT))
    one, same, other = (
        add_constant(model.graph, "scale", np.array(number, np.float32)) for number in (1.0, 1.0, 2.0)
    )
    assert one is same
    assert other is not one
    assert float(other.const_value.numpy()) == 2.0


def _times(graph, value, constant):
    node = ir.node("Mul", [value, constant])
    graph.insert_before(graph[-1], node)
    return node.outputs[0]
