"""How runs are called: by what differs from the committed params.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config import yaml_file
from graft.config.load import FILE
from graft.config.schema import flattened
from graft.errors import ParamsError
from graft.tracking import git, identity

if TYPE_CHECKING:
    from graft.config.schema import Params

MOST = 4
"""Differences that are named."""

MAIN = "train."
"""The section whose names need no prefix."""

UNNAMED = ("tracking.", *identity.WHERE)
"""What differs here tells no runs apart."""

ABSENT = object()


def of(params: Params) -> str:
    """`learning_rate=0.003`; the DVC experiment's name before it; what is trained where nothing differs."""
    changed = _differences()
    experiment = os.environ.get("DVC_EXP_NAME")
    what = _listed(changed) if changed else _described(params)
    return f"{experiment}: {what}" if experiment else what


def _differences() -> dict[str, Any]:
    """The values of params.yaml that the last commit has otherwise, or does not have."""
    text = git.committed(Path.cwd(), FILE)
    if text is None:
        return {}
    try:
        committed = flattened(yaml_file.parse(text.decode("utf-8", "replace"), f"{FILE} of HEAD"))
        now = flattened(yaml_file.read(FILE))
    except ParamsError:
        return {}
    return {
        key: value for key, value in now.items() if not key.startswith(UNNAMED) and committed.get(key, ABSENT) != value
    }


def _listed(changed: dict[str, Any]) -> str:
    named = [f"{_short(key)}={_text(value)}" for key, value in list(changed.items())[:MOST]]
    more = f" and {len(changed) - MOST} more" if len(changed) > MOST else ""
    return ", ".join(named) + more


def _short(key: str) -> str:
    """`train.learning_rate` -> `learning_rate`, `data.split.method` -> `split.method`"""
    return ".".join(key.removeprefix(MAIN).split(".")[-2:])


def _text(value: Any, most: int = 40) -> str:
    text = "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _described(params: Params) -> str:
    """The head, where fine-tuning starts, the backbone."""
    tuned = f"from {params.finetune.cut}" if params.finetune.enabled else "frozen"
    alpha = f" {params.backbone.width:g}" if params.backbone.width is not None else ""
    return f"{params.train.head}, {tuned}, {params.backbone.name}{alpha} {Path(params.backbone.weights).name}"
