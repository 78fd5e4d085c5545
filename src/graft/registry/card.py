"""The card of a model for people: Markdown, from one template, the same for `graft card` and for the registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from graft.evaluation import summary
from graft.reporting import answers, mistakes
from graft.verdicts import looks

if TYPE_CHECKING:
    from graft.reporting.answers import Evaluated
    from graft.tracking.evidence import Evidence

TEMPLATE = "card.md.j2"

WORST = 5
"""Classes, and pairs of them, that are listed."""

FEW = 30
"""Examples of a class below which its figures say little: of 30, one is three points of recall."""

SPECIAL = re.compile(r"([\\`*\[\]<>|#]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown would take for its own, in the name of a class or a run."""


def plain(text: object) -> str:
    """As Markdown shows it letter by letter, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def write(found: Evidence) -> str:
    """Raises StaleError where the evidence is damaged, DataError where nothing was held out to judge the model by."""
    evaluated = answers.read(found.evaluation, found.predictions)
    split = evaluated.splits[0]
    figures = evaluated.figures[evaluated.ships][split]
    shipped = evaluated.of(evaluated.ships, split, bins=int(found.params["evaluate.calibration_bins"]))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown; `plain` escapes what users named
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    text = environment.get_template(TEMPLATE).render(
        of=found.of,
        params=found.params,
        counts=found.counts,
        card=found.card,
        figures=evaluated.figures,
        ships=evaluated.ships,
        split=split,
        of_split=figures,
        bins=[one for one in mistakes.reliable(shipped.judged).bins if one.images],
        n_wrong=int((~shipped.right).sum()),
        weak=[one for one in mistakes.per_class(figures) if one["f1"] < 1][:WORST],
        pairs=mistakes.worst_pairs(shipped.judged, WORST),
        looks=found.looks,
        corrected=_corrected(evaluated, found.looks),
        limits=_limits(evaluated, split, found.params),
        kind=found.params["data.kind"],
    )
    return text.rstrip() + "\n"


def _corrected(evaluated: Evaluated, models: int) -> tuple[float, float, float] | None:
    """The interval of the test accuracy, and its confidence, for so many models judged; None where it is the first."""
    test = evaluated.figures[evaluated.ships].get("test")
    if test is None or models < 2:
        return None
    confidence = test["accuracy_interval"]["confidence"]
    low, high, _ = looks.corrected_interval(
        round(test["accuracy"] * test["images"]), test["images"], confidence, models
    )
    return low, high, confidence


def _limits(evaluated: Evaluated, split: str, params: Mapping[str, Any]) -> list[str]:
    """What the figures do not say, a sentence each."""
    kind = params["data.kind"]
    classes = evaluated.figures[evaluated.ships][split]["per_class"]
    told = [
        f"It answers with one of its {len(evaluated.classes)} classes whatever it is given: it was never shown "
        f"{kind}s of anything else.",
        f"Held-out {kind}s come from the same source as those it was trained on. What it is worth on {kind}s of "
        "another origin is not measured.",
        "The intervals say what other examples of this source would change. What another seed would change, "
        "the command graft repeat says.",
    ]
    if split != "test":
        told.append("There is no test split: the figures are of validation, which also chose the epoch that ships.")
    few = [name for name, one in classes.items() if one["images"] < FEW]
    if few:
        told.append(f"Of {len(few)} classes fewer than {FEW} {split} {kind}s were judged: their figures are rough.")
    no_history = pd.DataFrame({"epoch": [], "best": []})
    return told + [f"{line[0].upper()}{line[1:]}" for line in summary.warnings(evaluated.figures, no_history)]
