"""A page about the model that ships: how good it is, what it got wrong, where it looked. One file, self-contained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from graft.errors import DataError, StaleError, listing
from graft.models import card as cards
from graft.models import saving
from graft.reporting import answers, mistakes, read
from graft.reporting.answers import Answers, Evaluated
from graft.reporting.kinds import KINDS

if TYPE_CHECKING:
    from graft.pipeline.layout import Paths

TEMPLATES = Path(__file__).parent

MOST_IN_A_TABLE = 20
"""Classes up to which every pair of them is a cell; of more, the worst pairs are listed."""

MOST_PAIRS = {True: 10, False: 40}
"""Pairs listed: beside a table, and instead of one."""

MOST_CLASSES = 200
"""Rows of the table of classes, the worst first."""


@dataclass(frozen=True)
class Shown:
    """An example on the page. truth: what it is labelled. probability: of what was predicted; of_truth: of the label.

    link: address of its file, None where it has none of its own. before: what the other model said.
    """

    path: str
    truth: str
    predicted: str
    probability: float
    of_truth: float
    link: str | None
    before: str = ""


def write(source: str, root: Path, paths: Paths, output: Path, split: str | None, most: int, bins: int) -> Evaluated:
    """Read what `finetune` and `evaluate` wrote, and the examples; what is not here leaves its place empty.

    source, root: data.source and data.path. split: whose examples, None for the one that says most. most: of a kind.
    bins: of confidence.
    Raises StaleError where a file is missing, damaged or of another run, DataError where the split has no images.
    """
    needed = (paths.metrics, paths.predictions, paths.model, paths.card)
    if missing := [str(path) for path in needed if not path.exists()]:
        raise StaleError(f"{listing(missing)}: must exist to be reported. Run `dvc repro` or `dvc pull`.")
    evaluated = answers.read(paths.metrics, paths.predictions)
    split = split or evaluated.splits[0]
    if split not in evaluated.splits:
        raise DataError(
            f"--split: must be one that has examples, {' or '.join(evaluated.splits)}. Got {split}: hold some out "
            "(data.split in params.yaml) and run `dvc repro`, or leave it out."
        )
    context = _numbers(evaluated, split, bins)
    shipped, compared = context["shipped"], context["sides"]
    card = cards.read(paths.card)
    model = saving.load(paths.model)

    def show(place: int, before: Answers | None = None) -> Shown:
        return _shown(shipped, place, root, before)

    wrong = [show(place) for place in mistakes.surest_wrong(shipped, most)]
    unsure = [show(place) for place in mistakes.least_sure_right(shipped, most)]
    changed = {
        name: [show(place, compared.first_answers) for place in getattr(compared, name)[:most]] if compared else []
        for name in ("lost", "gained")
    }
    reader = read.reader(source, root, paths.catalogue)
    wanted = list(dict.fromkeys(one.path for one in [*wrong, *unsure, *changed["lost"], *changed["gained"]]))
    number = {name: place for place, name in enumerate(evaluated.classes)}
    questions = [(one.path, number[name]) for one in wrong for name in (one.predicted, one.truth)]
    questions += [(one.path, number[one.predicted]) for one in unsure]
    kind = KINDS[card["input"]["kind"]]
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = pages.get_template(kind.template).render(
        context
        | kind.context(model, card, reader, wanted, questions)
        | {
            "many": kind.many,
            "seen_as": kind.seen_as,
            "source": source,
            "root": root,
            "card": card,
            "wrong": wrong,
            "unsure": unsure,
            **changed,
            "number": number,
            "absent": reader is None,
            "predictions": paths.predictions,
        }
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text + "\n", encoding="utf-8")
    return evaluated


def _numbers(evaluated: Evaluated, split: str, bins: int) -> dict[str, Any]:
    """What the page shows beside pictures."""
    ships = evaluated.ships
    shipped = evaluated.of(ships, split, bins)
    judged = shipped.judged
    others = [name for name in evaluated.figures if name != ships and split in evaluated.figures[name]]
    counts = mistakes.confusion(judged)
    in_a_table = len(evaluated.classes) <= MOST_IN_A_TABLE
    classes = mistakes.per_class(evaluated.figures[ships][split])
    return {
        "figures": evaluated.figures,
        "ships": ships,
        "split": split,
        "of_split": evaluated.figures[ships][split],
        "shipped": shipped,
        "n_wrong": int((~shipped.right).sum()),
        "classes": evaluated.classes,
        "counts": counts.tolist() if in_a_table else [],
        "totals": counts.sum(axis=1).tolist(),
        "pairs": mistakes.worst_pairs(judged, MOST_PAIRS[in_a_table]),
        "n_pairs": int((counts > 0).sum() - (counts.diagonal() > 0).sum()),
        "per_class": classes[:MOST_CLASSES],
        "more_classes": max(0, len(classes) - MOST_CLASSES),
        "reliable": mistakes.reliable(judged),
        "before": mistakes.before_temperature(judged),
        "sides": mistakes.sides(others[0], evaluated.of(others[0], split, bins), ships, shipped) if others else None,
    }


def _shown(shipped: Answers, place: int, root: Path, before: Answers | None) -> Shown:
    judged = shipped.judged
    target, predicted = int(judged.targets[place]), int(judged.predicted[place])
    return Shown(
        shipped.paths[place],
        judged.classes[target],
        judged.classes[predicted],
        float(judged.probabilities[place, predicted]),
        float(judged.probabilities[place, target]),
        read.link(root, shipped.paths[place]),
        before.judged.classes[int(before.judged.predicted[place])] if before else "",
    )
