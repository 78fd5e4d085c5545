"""Whether what `extract` wrote is what params.yaml asks for; `dvc repro` sees to it, a stage run by hand may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graft.backbones import taps
from graft.errors import StaleError
from graft.features import plan, store

if TYPE_CHECKING:
    from pathlib import Path

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths


def require_current(params: Params, paths: Paths) -> None:
    """Raise StaleError where `meta.json` and params.yaml differ, naming what differs. No output depends on it."""
    for name, folder in ((plan.FEATURES, paths.features), (plan.ACTIVATIONS, paths.activations)):
        meta, stored = store.read_meta(folder)
        expected = plan.declared(params, name) | {"stored": plan.reason(params, name) is None}
        found = meta.made_with | meta.output | {"stored": stored}
        if name == plan.FEATURES:  # not named where they are none
            expected["taps"], found["taps"] = params.extract.taps, found.get("taps", taps.NONE)
        _compare(folder, expected, found)


def _compare(folder: Path, expected: dict[str, Any], found: dict[str, Any]) -> None:
    differing = [
        f"{key} is {found.get(key)!r}, but params.yaml says {value!r}"
        for key, value in expected.items()
        if found.get(key) != value
    ]
    if differing:
        raise StaleError(f"{folder / store.META}: must fit params.yaml. {'; '.join(differing)}. Run `dvc repro`.")
