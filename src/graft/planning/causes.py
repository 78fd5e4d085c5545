"""Why a stage runs, in words: from what DVC says of a dependency or an output to a phrase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graft.config.schema import flattened
from graft.errors import listing
from graft.pipeline.layout import STAGES

CODE = ("src/graft/", ".py")
"""How the path of graft's own code begins or ends, in a checkout."""

LOCK = "graft.lock"
"""What stands for that code in a project of one's own."""

MOST_PARAMETERS = 4
MOST_CHARACTERS = 40
ABSENT = object()


def of_dependency(dep: Any, status: Mapping[str, Any]) -> list[str]:
    """dep: DVC's, no output of another stage. status: what DVC says of it."""
    (state,) = status.values()
    if isinstance(state, Mapping):
        return _parameters(str(dep), dep.hash_info.value or {}, dep.read_params(flatten=False))
    path = str(dep)
    what = "code" if path.startswith(CODE[0]) or path.endswith(CODE[1]) else "data"
    return [f"{what} {path} {'is not here' if state == 'deleted' else 'changed'}"]


def _parameters(file: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each value that differs, old and new; of graft.lock in words, since its values are digests."""
    old, new = flattened(dict(before)), flattened(dict(now))
    differing = [key for key in dict.fromkeys([*new, *old]) if old.get(key, ABSENT) != new.get(key, ABSENT)]
    if file == LOCK:
        return [f"graft's code of {key} is another version's ({file})" for key in differing if key in STAGES] or [file]
    shown = [f"{key} {_text(old, key)} -> {_text(new, key)}" for key in differing[:MOST_PARAMETERS]]
    more = len(differing) - len(shown)
    return [f"{file} {one}" for one in shown] + ([f"{file}: {more} more values"] if more else [])


def _text(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "nothing"
    value = values[key]
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def of_outputs(status: Mapping[str, str]) -> list[str]:
    """status: output -> what DVC says of it; a phrase for those that are gone, and for those that were edited."""
    gone = [path for path, state in status.items() if state in ("deleted", "not in cache")]
    edited = [path for path, state in status.items() if path not in gone]
    phrases = [f"{_outputs(gone)} missing here or in DVC's cache"] if gone else []
    return phrases + ([f"{_outputs(edited)} not as DVC left it"] if edited else [])


def _outputs(paths: list[str]) -> str:
    return f"{'outputs' if len(paths) > 1 else 'output'} {listing(paths, 2)}"
