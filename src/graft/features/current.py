"""Whether features on disk are those that params.yaml asks for; `dvc repro` sees to it, a stage run by hand may not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graft.backbones import cuts
from graft.features import store

if TYPE_CHECKING:
    from graft.params import Params


def require(folder: Path, p: Params) -> None:
    """Raise StaleError where `meta.json` and params.yaml differ, naming what differs. No output depends on it."""
    expected = {
        "backbone": p.backbone.name,
        **{key: getattr(p.backbone, key) for key in ("alpha", "weights", "input_size", "resize", "interpolation")},
        **{key: getattr(p.extract, key) for key in ("precision", "pooling", "dtype", "views")},
        "augment": p.extract.augment.model_dump() if p.extract.views else None,
        "cut": cuts.resolve(cuts.known(p.backbone.name), p.finetune.cut) if p.finetune.cut is not None else None,
    }
    if p.extract.engine != "auto":
        expected["engine"] = p.extract.engine
    store.require_made_with(folder, expected)
