"""Converters talk to their developers: what they log and warn of says nothing that a user could mend."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("tensorflow", "absl", "tf2onnx", "root")


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, only errors are logged, and nothing is warned of."""
    loggers = [logging.getLogger(None if name == "root" else name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
