"""ONNX: resizing, if any, and network, converted by tf2onnx from TensorFlow's graphs, as one graph.

float16 is how weights are stored; they are computed with in float32, as LiteRT and OpenVINO do with theirs.
int8 is by ONNX Runtime's static quantisation of the network, as QuantizeLinear and DequantizeLinear around operations;
of texts by its dynamic one, as ONNX Runtime advises for transformers: ranges of activations are those of each call.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.export.formats import overflow

if TYPE_CHECKING:
    from graft.export.subject import Subject

FILE = "model.onnx"
PRECISIONS = ("float32", "float16", "int8")
OPSET = 18
"""Which ONNX Runtime has from 1.14 and OpenVINO from 2023.1 on."""

LARGE = 256
"""Weights of fewer values stay in float32: biases, the constants of the resizing."""


def write(subject: Subject, precision: str, folder: Path) -> None:
    """With classes and card in `metadata_props`."""
    import onnx

    onnx.save(graph(subject, precision), str(folder / FILE))


def graph(subject: Subject, precision: str) -> Any:
    """onnx.ModelProto: the kind's input (n, ...) -> probabilities (n, n_classes)."""
    import onnx

    from graft.export.subject import PROBABILITIES

    kind = subject.kind
    network = _converted(subject.frozen_network, kind.entry if kind.front is None else INSIDE, PROBABILITIES)
    if precision == "int8":
        network = _quantised(network, subject.calibrating() if kind.calibrates else None)
    elif precision == "float16":
        _store_halves(network.graph)
    whole = network if kind.front is None else _behind(subject.frozen_front, kind.entry, network)
    onnx.helper.set_model_props(whole, subject.described)
    onnx.checker.check_model(whole)
    return whole


INSIDE = "pixels"
"""What is between the part before the network and the network."""


def _behind(front: Any, entry: str, network: Any) -> Any:
    """The network behind a graph of TensorFlow's."""
    import onnx

    # Each part was named for itself.
    first = onnx.compose.add_prefix(
        _converted(front, entry, "square"), "resizing/", rename_inputs=False, rename_outputs=False
    )
    first.ir_version = network.ir_version
    known = {one.domain: one.version for one in network.opset_import}
    for one in first.opset_import:
        one.version = known.get(one.domain, one.version)
    return onnx.compose.merge_models(first, network, io_map=[("square", INSIDE)])


def load(folder: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # it warns of every node that it folds
    session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(examples: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: examples})[0])

    return run


def _converted(function: Any, its_input: str, its_output: str) -> Any:
    """A frozen graph of TensorFlow's as ONNX, its one input and output called as given."""
    import tf2onnx

    (entry,), (exit_,) = function.inputs, function.outputs
    model, _ = tf2onnx.convert.from_graph_def(
        function.graph.as_graph_def(), input_names=[entry.name], output_names=[exit_.name], opset=OPSET,
        custom_op_handlers={"Erfc": (_by_erf, [])},
    )  # fmt: skip
    renamed = {entry.name: its_input, exit_.name: its_output}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = renamed.get(value.name, value.name)
    return model


def _by_erf(context: Any, node: Any, name: str, args: Any) -> None:
    """Keras's GELU has the complement of the error function, for which ONNX has no operation: 1 - Erf(x)."""
    node.type = "Erf"
    one = context.make_const(f"{name}/one", np.array(1, np.float32))
    inputs = [one.output[0], node.output[0]]
    context.insert_new_node_on_output("Sub", node.output[0], name=f"{name}/complement", inputs=inputs)


def _store_halves(part: Any) -> None:
    """Weights as float16, made float32 as the file is loaded."""
    import onnx

    for tensor in part.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE:
            name = tensor.name
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}/float16"))
            part.node.insert(
                0, onnx.helper.make_node("Cast", [f"{name}/float16"], [name], f"{name}/cast", to=onnx.TensorProto.FLOAT)
            )


def _quantised(network: Any, examples: np.ndarray | None) -> Any:
    """Weights int8, for each channel apart; activations uint8 by their ranges over `examples`, of None over each call;
    the softmax in float."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter([] if examples is None else examples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self._left, None)
            return None if one is None else {INSIDE: one[None].astype(np.float32)}

    softmax = [node.name for node in network.graph.node if node.op_type == "Softmax"]
    with tempfile.TemporaryDirectory() as folder:
        source, cleaned, target = (Path(folder) / name for name in ("float.onnx", "cleaned.onnx", "int8.onnx"))
        onnx.save(network, str(source))
        quantization.shape_inference.quant_pre_process(str(source), str(cleaned), skip_symbolic_shape=True)
        weights = {
            "per_channel": True,
            "weight_type": quantization.QuantType.QInt8,
            "extra_options": {"TensorQuantOverrides": overflow.ranges(onnx.load(str(cleaned)))},
        }
        if examples is None:
            quantization.quantize_dynamic(str(cleaned), str(target), **weights)
        else:
            quantization.quantize_static(
                str(cleaned),
                str(target),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,  # kernels are made for it
                nodes_to_exclude=softmax,
                **weights,
            )
        return onnx.load(str(target))
