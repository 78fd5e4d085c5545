"""Ways to run a network. To add an engine, add a module with its `forward`, called as its package, and a row."""

from __future__ import annotations

from graft.errors import BackboneError
from graft.features.engines import openvino, tensorflow
from graft.features.engines.base import CannotRunError, Engine, Forward
from graft.runtime.progress import say

ENGINES: dict[str, Engine] = {
    "tensorflow": tensorflow.forward,
    "openvino": openvino.forward,
}


def ready(made: Forward) -> str:
    """A name under which this process has a network on an engine as it is, for who computes with it again and again."""
    name = f"ready {len(ENGINES)}"
    ENGINES[name] = lambda *_: made
    return name


def resolve(wanted: str, numerics: str, openvino_is_portable: bool) -> str:
    """A name of ENGINES. wanted: one, or auto: openvino on a CPU, tensorflow where there is a GPU.

    openvino_is_portable: whether it gives the same bytes on every processor; where `numerics: portable` asks for that
    and it does not, auto is tensorflow. Raises BackboneError where openvino was asked for all the same.
    """
    import tensorflow as tf

    lacking = numerics == "portable" and not openvino_is_portable
    if wanted == "openvino" and lacking:
        raise BackboneError(
            "extract.engine: must be auto or tensorflow for this network and numerics: portable, since OpenVINO gives "
            "other late decimals of it on other processors. Got openvino; or set numerics: native."
        )
    if wanted != "auto":
        return wanted
    return "tensorflow" if lacking or tf.config.list_physical_devices("GPU") else "openvino"


def instead(wanted: str, failed: str, precision: str, error: CannotRunError) -> str:
    """The engine to use where `failed` cannot run a network, after a word; raises BackboneError where there is none."""
    reason = " ".join(str(error).split())[:300]
    if wanted == "auto" and failed == "openvino" and precision == "float32":
        say(f"note: OpenVINO cannot run this network ({reason}); using the tensorflow engine")
        return "tensorflow"
    raise BackboneError(
        f"extract.engine: {failed} must be able to run the network in {precision}. Got: {reason}. "
        "Set extract.engine: tensorflow and extract.precision: float32."
    ) from None
