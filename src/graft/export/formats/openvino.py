"""OpenVINO's IR, read from the ONNX graph: int8 too, whose QuantizeLinear OpenVINO turns into its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.export.formats import onnx
from graft.runtime.computing import numerics

if TYPE_CHECKING:
    from graft.export.subject import Subject

FILE = "model.xml"
PRECISIONS = ("float32", "float16", "int8")


def write(subject: Subject, precision: str, folder: Path) -> None:
    """`model.xml`, and `model.bin` beside it. Classes and card are in `rt_info`."""
    import onnx as library
    import openvino

    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / onnx.FILE
        library.save(onnx.graph(subject, "int8" if precision == "int8" else "float32"), str(source))
        model = openvino.Core().read_model(str(source))
        _describe(model, subject)
        # Not `openvino.convert_model`, which reports its use over the network.
        openvino.save_model(model, str(folder / FILE), compress_to_fp16=precision == "float16")


def _describe(model: Any, subject: Subject) -> None:
    """Under `graft` as JSON; under `model_info` as OpenVINO's Model API reads it, blanks between labels."""
    for name, said in subject.described.items():
        model.set_rt_info(said, ["graft", name])
    model.set_rt_info(" ".join(name.replace(" ", "_") for name in subject.classes), ["model_info", "labels"])


def load(folder: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """With all instructions that the processor has, whatever `numerics` leaves to graft: so will it run elsewhere."""
    import openvino

    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    with numerics.instructions(capped=False):
        compiled = openvino.Core().compile_model(str(folder / FILE), "CPU", config)
        request = compiled.create_infer_request()

    def run(examples: np.ndarray) -> np.ndarray:
        return np.array(request.infer([examples])[compiled.output(0)], np.float32)

    return run
