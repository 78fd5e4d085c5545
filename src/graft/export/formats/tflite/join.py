"""Two .tflite graphs as one: what the first puts out is what the second takes in.

TensorFlow's converter quantises a graph as a whole; joined afterwards, the resizing stays in float. The tables are
those of schema.fbs (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema), as
ai-edge-litert has them in Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.export.subject import PROBABILITIES

IDENTIFIER = b"TFL3"


def alone(only: bytes, entry: str) -> Any:
    """schema.ModelT of a graph from `entry` to PROBABILITIES. only: one graph, one input, one output."""
    model = _read(only)
    (graph,) = model.subgraphs
    _name(model, graph, entry)
    return model


def joined(first: bytes, second: bytes, entry: str) -> Any:
    """The same of two. first, second: one graph each, one input, one output."""
    one, two = _read(first), _read(second)
    (a,), (b,) = one.subgraphs, two.subgraphs
    crossing = int(a.outputs[0])
    tensors, buffers, codes = len(a.tensors), len(one.buffers), len(one.operatorCodes)
    replaced = int(b.inputs[0])

    def moved(places: Any) -> Any:
        """Numbers of tensors of the second graph in the joined one; -1 stands for none."""
        if places is None:
            return None
        return np.array(
            [crossing if place == replaced else place + tensors if place >= 0 else place for place in places], np.int32
        )

    for tensor in b.tensors:
        tensor.buffer += buffers
    for operator in b.operators:
        operator.opcodeIndex += codes
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
        operator.intermediates = moved(operator.intermediates)
    a.tensors += b.tensors
    a.operators += b.operators
    a.outputs = moved(b.outputs)
    one.buffers += two.buffers
    one.operatorCodes += two.operatorCodes
    _keep_softmax_in_float(one, a)
    _name(one, a, entry)
    return one


def packed(model: Any) -> bytes:
    """The file of a schema.ModelT."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _read(data: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(data), 0))
    model.metadata = None  # of the converter, by numbers of buffers
    return model


def _keep_softmax_in_float(model: Any, graph: Any) -> None:
    """... SOFTMAX (int8), DEQUANTIZE at the end of a graph become DEQUANTIZE, SOFTMAX: probabilities in steps of 1/256
    would tie, and the small ones be 0."""
    from ai_edge_litert import schema_py_generated as schema

    if len(graph.operators) < 2:
        return
    softmax, dequantise = graph.operators[-2:]
    kinds = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in (softmax, dequantise)]
    if kinds != [schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.DEQUANTIZE]:
        return
    if int(softmax.outputs[0]) != int(dequantise.inputs[0]):
        return
    probabilities, logits = int(dequantise.outputs[0]), int(softmax.outputs[0])
    # The tensor of quantised probabilities becomes that of the logits in float.
    was, now = graph.tensors[probabilities], graph.tensors[logits]
    now.type, now.quantization, now.buffer, now.name = was.type, None, was.buffer, b"logits"
    dequantise.inputs, dequantise.outputs = softmax.inputs, np.array([logits], np.int32)
    softmax.inputs, softmax.outputs = np.array([logits], np.int32), np.array([probabilities], np.int32)
    graph.operators[-2:] = [dequantise, softmax]


def _name(model: Any, graph: Any, entry: str) -> None:
    """The input and output, in the graph and in its one signature, which LiteRT's newer interface goes by."""
    from ai_edge_litert import schema_py_generated as schema

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    ends = {}
    for name, (place,) in ((entry, graph.inputs), (PROBABILITIES, graph.outputs)):
        graph.tensors[place].name = name.encode()
        ends[name] = schema.TensorMapT()
        ends[name].name, ends[name].tensorIndex = name.encode(), int(place)
    signature.inputs, signature.outputs = [ends[entry]], [ends[PROBABILITIES]]
    model.signatureDefs = [signature]
    model.description = b"Exported by graft"
