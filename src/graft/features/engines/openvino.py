"""The same graph, compiled by OpenVINO for the CPU: about twice as fast again, more with bfloat16."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.features.engines.base import OF_ANY_LENGTH, CannotRunError, Forward, frozen, is_open
from graft.inputs.spec import USUAL, Arrays, Signature
from graft.runtime.computing import numerics
from graft.runtime.cores import available

if TYPE_CHECKING:
    import keras


CALL_SECONDS = 0.008
"""A call should take this long: one example of a large network, whose activations then stay in the processor's caches;
several of a small one, for which the call itself costs as much. It changes no value (benchmarks/RESULTS.md)."""

MOST_EXAMPLES, TRIES = 16, 3


def forward(network: keras.Model, signature: Signature, precision: str, capped: bool) -> Forward:
    """One stream of one thread for each core: cores that share an example would wait for each other while others
    decode, and how many there are must not matter to a sum.

    Read as a file by OpenVINO's TensorFlow frontend: its Python converter reports its use over the network.
    """
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    cores = available()
    graph = frozen(network, signature)
    with tempfile.TemporaryDirectory() as folder, numerics.instructions(capped):
        from openvino import Core

        file = Path(folder) / "graph.pb"
        file.write_bytes(graph.graph.as_graph_def().SerializeToString())
        try:
            # Pinned, which is its default, the threads of every process would be on the first cores of the machine.
            settings = {"NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores, "ENABLE_CPU_PINNING": False}
            compiled = Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": hint} | settings)
            ports = [compiled.output(tensor.name) for tensor in graph.outputs]
            places = [compiled.input(tensor.name) for tensor in graph.inputs]
            blank = [np.ones((1, *(size or USUAL for size in shape)), dtype) for shape, dtype in signature.values()]
            # Not `compiled(blank)`, which shares the memory of its inputs: after several of those, requests on other
            # threads crashed now and then (OpenVINO 2026.4).
            first = compiled.create_infer_request()
            first.infer(blank)
            seconds = _seconds(lambda: first.infer(blank))
        except RuntimeError as error:
            raise CannotRunError(str(error)) from None
    requests = threading.local()

    def run(arrays: Arrays) -> tuple[np.ndarray, ...]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        found = requests.own.infer({place: arrays[name] for place, name in zip(places, signature, strict=True)})
        return tuple(np.array(found[port], np.float32) for port in ports)

    fastest = max(1, min(MOST_EXAMPLES, int(CALL_SECONDS / seconds)))
    return Forward(run, OF_ANY_LENGTH if is_open(signature) else fastest)


def _seconds(call: Callable[[], object]) -> float:
    """The shortest of a few calls."""
    found = []
    for _ in range(TRIES):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return min(found)
