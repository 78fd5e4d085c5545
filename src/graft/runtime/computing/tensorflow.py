"""Start TensorFlow and Keras quietly, with the settings that graft relies on."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from graft.errors import GraftError, SurroundingsError
from graft.runtime import cores
from graft.runtime.computing import numerics
from graft.runtime.computing.exact import EXACT
from graft.runtime.progress import say

T = TypeVar("T")

UNUSED = ("matplotlib", "cv2", "sklearn")
"""What Keras imports, if it is there, for plots and wrappers that graft does not use: a third of its start."""


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """As if these modules were not installed, unless they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def start_tensorflow() -> None:
    """Import TensorFlow, look for devices, say which."""
    devices = _quietly(_devices)
    import tensorflow as tf

    names = " and ".join(sorted({device.device_type for device in devices}))
    say(f"TensorFlow {tf.__version__} on {names}")


def configure(threads: int | None = None) -> None:
    """Settings of TensorFlow and Keras, before the first computation: results then do not depend on `threads`.

    threads: that run operations side by side, None for one a core. Each operation runs on one of them
        (`training.shards` says why). Raises RuntimeError where TensorFlow has computed with other settings.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(threads or cores.available())
    tf.config.optimizer.set_experimental_options(EXACT)
    tf.config.experimental.enable_op_determinism()
    configure_keras()


def configure_keras() -> None:
    """What Keras would read from the user's keras.json. Done twice, it changes nothing."""
    with _keras_json():
        import keras

    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    if keras.config.dtype_policy().name != "float32":  # else it stays the very object that layers made so far have
        keras.config.set_dtype_policy("float32")


@contextmanager
def _keras_json() -> Iterator[None]:
    """Around Keras's first import, which TensorFlow's is too.

    Raises SurroundingsError where the user's keras.json keeps it from being imported.
    """
    try:
        yield
    except (ValueError, TypeError, AssertionError) as error:
        folder = os.environ.get("KERAS_HOME") or "~/.keras"
        raise SurroundingsError(
            f"{folder}/keras.json: must be a file that Keras accepts, or none. "
            f"Got: {' '.join(str(error).split()) or type(error).__name__}. "
            "Mend or remove it; what it says is not used by graft."
        ) from None


def import_tensorflow() -> None:
    """Import TensorFlow and leave the devices alone."""
    _quietly(_import)


def _import() -> None:
    numerics.set_keras()
    with _hidden(UNUSED), _keras_json():
        import tensorflow as tf
    tf.config.optimizer.set_experimental_options(EXACT)


def _devices() -> list[Any]:
    _import()
    import tensorflow as tf

    configure()
    return list(tf.config.list_physical_devices())


def _quietly(action: Callable[[], T]) -> T:
    """Without what TensorFlow's C++ parts print before logging can be set; failures are shown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            return action()
        except GraftError:  # says all there is to say
            raise
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
