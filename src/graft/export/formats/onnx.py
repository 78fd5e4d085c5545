"""ONNX: resizing and network, converted by tf2onnx from TensorFlow's graphs, as one graph.

float16 is how weights are stored; they are computed with in float32, as LiteRT and OpenVINO do with theirs.
int8 is by ONNX Runtime's static quantisation of the network, as QuantizeLinear and DequantizeLinear around operations.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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


def graph(subject: Subject, precision: str, activations: str = "QInt8") -> Any:
    """onnx.ModelProto: image (n, h, w, 3) uint8 -> probabilities (n, n_classes).

    activations: of int8, QInt8 or QUInt8, as ONNX Runtime calls them.
    """
    import onnx

    from graft.export.subject import IMAGE, PIXELS, PROBABILITIES

    network = _converted(subject.frozen_network, PIXELS, PROBABILITIES)
    if precision == "int8":
        network = _quantised(network, subject.squares(), activations)
    elif precision == "float16":
        _store_halves(network.graph)
    resizing = _converted(subject.frozen_resizer, IMAGE, "square")
    # Each part was named for itself.
    resizing = onnx.compose.add_prefix(resizing, "resizing/", rename_inputs=False, rename_outputs=False)
    resizing.ir_version = network.ir_version
    known = {one.domain: one.version for one in network.opset_import}
    for one in resizing.opset_import:
        one.version = known.get(one.domain, one.version)
    whole = onnx.compose.merge_models(resizing, network, io_map=[("square", PIXELS)])
    card = json.dumps(subject.card, sort_keys=True, ensure_ascii=False)
    onnx.helper.set_model_props(whole, {"classes": json.dumps(subject.classes, ensure_ascii=False), "card": card})
    onnx.checker.check_model(whole)
    return whole


def load(folder: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # it warns of every node that it folds
    session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: images})[0])

    return run


def _converted(function: Any, its_input: str, its_output: str) -> Any:
    """A frozen graph of TensorFlow's as ONNX, its one input and output called as given."""
    import tf2onnx

    (entry,), (exit_,) = function.inputs, function.outputs
    model, _ = tf2onnx.convert.from_graph_def(
        function.graph.as_graph_def(), input_names=[entry.name], output_names=[exit_.name], opset=OPSET
    )
    renamed = {entry.name: its_input, exit_.name: its_output}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = renamed.get(value.name, value.name)
    return model


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


def _quantised(network: Any, squares: np.ndarray, activations: str) -> Any:
    """Weights int8, for each channel apart; activations by their ranges over `squares`; the softmax in float."""
    import onnx
    from onnxruntime import quantization

    from graft.export.subject import PIXELS

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(squares)

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self._left, None)
            return None if one is None else {PIXELS: one[None].astype(np.float32)}

    softmax = [node.name for node in network.graph.node if node.op_type == "Softmax"]
    with tempfile.TemporaryDirectory() as folder:
        source, cleaned, target = (Path(folder) / name for name in ("float.onnx", "cleaned.onnx", "int8.onnx"))
        onnx.save(network, str(source))
        quantization.shape_inference.quant_pre_process(str(source), str(cleaned), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(cleaned),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # ONNX Runtime on a processor without VNNI adds two products of uint8 in 16 bits, which overflow
            # (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html), unless weights have
            # seven bits, which cost a MobileNetV2 three points (docs/export.md): hence QInt8 there.
            activation_type=getattr(quantization.QuantType, activations),
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=softmax,
        )
        return onnx.load(str(target))
