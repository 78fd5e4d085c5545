"""What quantisation adds to each logit on average, taken off again: bias correction, of the last layer.

Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.2,
https://arxiv.org/abs/1906.04721; by images, as in its appendix D.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MOST = 200
"""Images whose mean is taken."""

FLOOR = 1e-9
"""Below it, a probability says no more of its logit."""


def correct(quantised: Any, original: Any, squares: np.ndarray) -> None:
    """Shift the biases of the last layer of `quantised`, in place, where that is a fully connected one.

    quantised, original: schema.ModelT as `join.joined` makes them, of the same network. squares: (n, side, side, 3)
    uint8.
    """
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = quantised.subgraphs
    made_by = {int(one.outputs[0]): one for one in graph.operators}
    softmax = graph.operators[-1]
    dequantise = made_by.get(int(softmax.inputs[0]))
    last = made_by.get(int(dequantise.inputs[0])) if dequantise is not None else None
    if last is None or len(last.inputs) < 3 or int(last.inputs[2]) < 0:
        return
    if quantised.operatorCodes[last.opcodeIndex].builtinCode != schema.BuiltinOperator.FULLY_CONNECTED:
        return
    bias = graph.tensors[int(last.inputs[2])]
    if bias.type != schema.TensorType.INT32:
        return
    some = squares[:: -(-len(squares) // MOST)]
    shift = np.mean(_logits(original, some) - _logits(quantised, some), axis=0)
    shift -= shift.mean()  # what all logits share, the softmax takes off
    buffer = quantised.buffers[bias.buffer]
    values = np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), np.int32)
    steps = np.round(shift / np.asarray(bias.quantization.scale, np.float64))
    buffer.data = np.frombuffer((values + steps.astype(np.int32)).astype(np.int32).tobytes(), np.uint8)


def _logits(model: Any, squares: np.ndarray) -> np.ndarray:
    """(n, n_classes), but for a constant of each image."""
    from ai_edge_litert.interpreter import Interpreter

    from graft.export.formats.tflite import join

    interpreter = Interpreter(model_content=join.packed(model))
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(entry, (1, *squares.shape[1:]))
    interpreter.allocate_tensors()
    found = []
    for one in squares:
        interpreter.set_tensor(entry, one[None])
        interpreter.invoke()
        found.append(np.log(np.maximum(interpreter.get_tensor(exit_)[0].astype(np.float64), FLOOR)))
    return np.stack(found)
