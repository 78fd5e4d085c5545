"""Ranges of int8 weights at which no sum overflows on a processor without VNNI.

There ONNX Runtime and OpenVINO multiply activations, 0 to 255, by weights and add the products of two neighbours in
16 bits (the instruction vpmaddubsw; ONNX Runtime's page on quantisation names the fault). So two weights of one sign
that meet must not exceed 128 together: 255 * 128 < 2 ** 15. Seven bits for all weights, the usual remedy, lose more.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def ranges(network: Any) -> dict[str, list[dict[str, Any]]]:
    """Names of weights -> the range of each of their channels, as ONNX Runtime's `TensorQuantOverrides` take them.

    network: onnx.ModelProto. Symmetric: -r to r become -127 to 127. Weights of convolutions, Gemm and MatMul only.
    """
    import onnx

    weights = {one.name: one for one in network.graph.initializer}
    found = {}
    for node in network.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in weights:
            continue
        values = onnx.numpy_helper.to_array(weights[node.input[1]])
        if node.op_type != "Conv" and values.ndim != 2:
            continue
        axis = 0 if node.op_type == "Conv" or _is_transposed(node) else 1
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        # What a larger window or a group has for neighbours, each kernel decides for itself.
        neighbours = node.op_type != "Conv" or (rows.shape[1] == values.shape[1] > 1)
        found[node.input[1]] = [
            {"axis": axis, "rmin": np.float32(-one), "rmax": np.float32(one)} for one in limits(rows, neighbours)
        ]
    return found


def _is_transposed(node: Any) -> bool:
    return any(one.name == "transB" and one.i == 1 for one in node.attribute)


def limits(rows: np.ndarray, neighbours: bool) -> np.ndarray:
    """What 127 stands for: (c,) float32, at least the largest weight of a channel.

    rows: (c, k) float, the weights of each channel in the order of its inputs. neighbours: only the first and second,
    the third and fourth, ... are added; otherwise any two may be.
    """
    pairs = np.stack([np.maximum(rows, 0), np.maximum(-rows, 0)])
    if neighbours:
        odd = rows.shape[1] % 2
        together = np.pad(pairs, ((0, 0), (0, 0), (0, odd))).reshape(*pairs.shape[:2], -1, 2).sum(3).max(2)
    else:
        together = np.sort(pairs, axis=2)[:, :, -2:].sum(2)
    # Two that are 127 together are 128 at most once they are rounded.
    return np.asarray(np.maximum(together.max(0), np.abs(rows).max(1)), np.float32)
