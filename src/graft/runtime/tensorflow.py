"""Start TensorFlow quietly."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

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


def import_tensorflow() -> None:
    """Import TensorFlow and leave the devices alone."""
    _quietly(_import)


def _import() -> None:
    with _hidden(UNUSED):
        import tensorflow  # noqa: F401


def _devices() -> list[Any]:
    _import()
    import tensorflow as tf

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
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
