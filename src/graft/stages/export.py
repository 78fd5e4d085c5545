"""The model for other runtimes: written, judged on validation examples, measured. Off unless `export.to` names some.

A stage for each format, so that another one costs the others nothing (`foreach` in dvc.yaml).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.errors import DataError, GateError, StaleError
from graft.examples import catalogue, dataset
from graft.examples.sources import SOURCES
from graft.export import calibration, parity
from graft.export.run import Judge, export, refuse
from graft.export.subject import Subject
from graft.inputs.image.spec import ImageInput

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Exports, Paths
    from graft.serving.classifier import Classifier

Figures = dict[str, dict[str, dict[str, Any]]]
"""format -> precision -> what was found and measured."""


def run(
    params: Params,
    paths: Paths,
    exports: Exports,
    classifier: Classifier,
    formats: Sequence[str],
    precisions: Sequence[str] = (),
) -> Figures:
    """Write `exports.models/<format>/<precision>/` and `exports.metrics/<format>.json`; returns what the latter got.

    classifier: by its card alone; params say only which images judge and calibrate it. precisions: none means
    `export.precision`. Raises GateError, after all else is written, where a file loses more than
    `export.max_accuracy_drop`.
    """
    precisions = precisions or params.export.precision
    refuse(formats, precisions)
    data = dataset.read(paths.catalogue, paths.split)
    if data.classes != classifier.classes:
        raise StaleError(
            f"{paths.catalogue}: must have the classes of the model that is exported, to judge it by. Got "
            f"{', '.join(data.classes[:5])} where the model has {', '.join(classifier.classes[:5])}. Run "
            "`graft export` in the project of that model."
        )
    rows, training = data.sides.rows["validation"], data.sides.rows["train"]
    if not len(rows):
        raise DataError(
            "data.split: must leave validation examples, to compare an exported file with the model on. Got none."
        )
    read = catalogue.reader(SOURCES[params.data.source], Path(params.data.path))
    files, sha256s = list(data.used["path"]), list(data.sha256s)

    def read_row(place: int) -> bytes:
        return read(files[rows[place]], sha256s[rows[place]])

    @cache
    def squares() -> np.ndarray:
        views = params.extract.views
        spec = ImageInput.from_dict(classifier.card["input"], params.extract.augment.model_dump() if views else None)
        return calibration.squares(spec, read, files, sha256s, training, params.export.calibration_images, views)

    subject = Subject(classifier.network, classifier.card, squares)
    examples = parity.HeldOut(read_row, data.targets[rows], subject.kind)
    judge = Judge(examples, parity.as_graft_does(classifier.network, examples), params.export.max_accuracy_drop)
    found: Figures = {}
    failed: list[str] = []
    for name in formats:
        found[name], faults = export(subject, name, precisions, exports.models / name, judge)
        _write(found[name], precisions, exports.metrics / f"{name}.json")
        failed += faults
    if failed:
        raise GateError("\n".join(failed))
    return found


def _write(figures: dict[str, dict[str, Any]], tried: Sequence[str], path: Path) -> None:
    """What other precisions had stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    kept = {precision: one for precision, one in before.items() if precision not in tried}
    path.write_text(json.dumps(kept | figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")
