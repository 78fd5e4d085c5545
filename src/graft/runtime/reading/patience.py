"""Trying again what fails for a reason that passes, and telling such reasons from others.

Each storage raises errors of its own, and fsspec lets most of them through: they are told by the number of the server's
answer, or by the names of their classes, so that no storage's package need be imported for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Before each further try of what failed for a reason that passes; no two processes wait equally long."""

BUSY = {408, 425, 429, 500, 502, 503, 504}
"""Answers of a server that may be others in a moment."""

PASSING = {"ConnectionError", "TimeoutError", "ClientConnectionError", "ClientPayloadError", "HTTPClientError"}
"""Names of errors of Python's, aiohttp's and botocore's, and of what is derived from them, that may pass."""

MAKERS = {
    "adlfs", "aiobotocore", "aiohttp", "asyncssh", "azure", "botocore", "dvc", "dvc_objects", "fsspec", "gcsfs",
    "google", "s3fs",
}  # fmt: skip
"""Packages whose errors are about a storage."""


def patiently(action: Callable[[], T]) -> T:
    """What `action` gives, tried again after growing waits where it fails for a reason that passes."""
    for wait in WAITS_SECONDS:
        try:
            return action()
        except Exception as error:
            if not _passes(error):
                raise
        time.sleep(wait * random.SystemRandom().uniform(0.5, 1.0))
    return action()


def status(error: BaseException) -> int | None:
    """The number of a server's answer, where that is what went wrong: 404, 412, 503."""
    for one in (error, error.__cause__):
        answer = getattr(one, "response", None)
        found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
        for name in ("status", "status_code", "code"):  # aiohttp's, azure-core's, gcsfs's
            found = found if isinstance(found, int) else getattr(one, name, None)
        if isinstance(found, int):
            return found
    return None


def is_storages(error: BaseException) -> bool:
    """Whether an error is a storage's, by who made its class: they have no base in common."""
    return isinstance(error, OSError) or bool(MAKERS & {kind.__module__.split(".")[0] for kind in type(error).__mro__})


def is_gone(error: BaseException) -> bool:
    """Whether an error says that nothing is there, rather than that nobody could tell."""
    return isinstance(error, FileNotFoundError) and status(error) in (None, 404, 410) and not _passes(error)


def _passes(error: BaseException) -> bool:
    """By the error itself, else by what caused it: fsspec takes a server that is away for a missing file."""
    if PASSING & _classes(error):
        return True
    number = status(error)
    return number in BUSY if number is not None else bool(PASSING & names_of(error))


def names_of(error: BaseException) -> set[str]:
    """Of the classes of an error, and of what caused it."""
    return _classes(error) | (_classes(error.__cause__) if error.__cause__ is not None else set())


def _classes(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
