"""One format in some precisions: written aside, judged, measured, and only then given its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import GateError, GraftError
from graft.export import parity, speed
from graft.export.formats import FORMATS
from graft.export.kind import Kind
from graft.export.parity import HeldOut
from graft.export.quiet import quietly
from graft.export.subject import Subject

CARD = "card.json"
MEGABYTE = 1e6


@dataclass(frozen=True)
class Judge:
    """What every exported file is held against.

    before: (n, n_classes) probabilities of the Keras model on `examples`. most_lost: accuracy that a file may lose.
    measure: (name, folder, examples by the names of their figures) -> what it costs.
    """

    examples: HeldOut
    before: np.ndarray
    most_lost: float
    measure: Callable[[str, Path, Mapping[str, np.ndarray]], dict[str, Any]] = speed.measured


def refuse(names: Sequence[str], precisions: Sequence[str]) -> None:
    """Raises GraftError where a format cannot be written in a precision, or its libraries are missing."""
    for name in names:
        lacking = [one for one in precisions if one not in FORMATS[name].precisions]
        if lacking:
            raise GraftError(
                f"export.precision: must be {' or '.join(FORMATS[name].precisions)} for {name}. Got {lacking[0]}; "
                f"export {name} by itself."
            )
        FORMATS[name].require(name)


def export(
    subject: Subject, name: str, precisions: Sequence[str], folder: Path, judge: Judge
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Writes `folder/<precision>/` with the file, `card.json` beside it, for each precision that passes the gate.

    Returns the figures of those, by precision, and a sentence for each that failed: it leaves no file.
    """
    figures: dict[str, dict[str, Any]] = {}
    failed = []
    for precision in precisions:
        final, partial = folder / precision, folder / f".partial-{precision}"
        for one in (final, partial):
            shutil.rmtree(one, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            figures[precision] = _one(subject, name, precision, partial, judge)
            partial.rename(final)
        except GateError as error:
            failed.append(str(error))
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return figures, failed


def _one(subject: Subject, name: str, precision: str, folder: Path, judge: Judge) -> dict[str, Any]:
    """Raises GateError."""
    with quietly():
        FORMATS[name].write(subject, precision, folder)
    for file, text in subject.kind.beside.items():
        (folder / file).write_text(text, encoding="utf-8")
    megabytes = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) / MEGABYTE
    card = dict(subject.card) | {"export": {"format": name, "precision": precision}}
    (folder / CARD).write_text(json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    found = parity.of(FORMATS[name].load(folder, None), judge.before, judge.examples, f"{name} {precision}")
    _gate(name, precision, found, judge.most_lost, subject.kind)
    costs = judge.measure(name, folder, subject.kind.timed(_few(judge.examples)))
    return found.figures(subject.kind) | {"megabytes": round(megabytes, 3)} | costs


def _gate(name: str, precision: str, found: parity.Parity, most_lost: float, kind: Kind) -> None:
    """Not within rounding: losing exactly what is allowed is allowed."""
    if found.drop <= most_lost + 1e-9:
        return
    said = found.figures(kind)
    hint = " More export.calibration_images may help, or float16." if precision == "int8" and kind.calibrates else ""
    raise GateError(
        f"{name} {precision}: must lose at most export.max_accuracy_drop, {most_lost:g}, of validation accuracy. Got "
        f"{said['accuracy']:.4f} where the Keras model has {said['keras_accuracy']:.4f} of {said[kind.nouns]} "
        f"{kind.nouns} (labels agree on {found.agreement:.4f}, McNemar's p {said['mcnemar_p']:.3g}); no file was "
        f"kept.{hint}"
    )


def _few(examples: HeldOut) -> list[np.ndarray]:
    """The first ones, as callers give them."""
    return [examples.kind.given(examples.read(i)) for i in range(min(9, len(examples.targets)))]
