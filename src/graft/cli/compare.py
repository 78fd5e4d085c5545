"""`graft compare`: whether a model is better than another one, or whether these examples cannot tell."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft.config.load import load
from graft.pipeline.layout import WORKSPACE
from graft.verdicts.words import EXIT_CODE_NOT_COMPARABLE, Compared

if TYPE_CHECKING:
    import pandas as pd

    from graft.tracking.outcomes import Outcome
    from graft.verdicts.matching import Matched

LAST_COMMIT = "HEAD"
WIDTH = 90
SHOWN = 20
"""Examples that changed sides, where not all are asked for."""


class Split(StrEnum):
    TEST = "test"
    VALIDATION = "validation"


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A git revision, a DVC experiment, a run in MLflow (name or id), or `workspace`."
        ),
    ] = LAST_COMMIT,
    b: Annotated[str, typer.Argument(metavar="B", help="The same; `workspace` is the files here.")] = WORKSPACE,
    split: Annotated[
        Split | None, typer.Option(help="The split to compare on; without it test, where both have one.")
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="List every example that changed sides.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, with every example.")] = False,
    against_published: Annotated[
        bool, typer.Option("--against-published", help="Compare the files here with what others published instead.")
    ] = False,
) -> None:
    """Say whether B is better than A, worse, or within noise, on the examples that both were judged on.

    Exit code 2: not comparable.
    """
    params = load()
    if against_published:
        from graft.cli import published

        published.show(params.evaluate.confidence)
        return
    from graft.tracking import outcomes
    from graft.verdicts import matching

    first, second = (outcomes.resolve(name, params.tracking.experiment) for name in (a, b))
    matched = matching.match(first.predictions, second.predictions, split)
    found = judged(matched, (first, second), params.evaluate.confidence)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show(found, SHOWN if not images else None, params.data.kind)
    if found["verdict"] == Compared.NOT_COMPARABLE:
        raise typer.Exit(EXIT_CODE_NOT_COMPARABLE)


def judged(matched: Matched, pair: tuple[Outcome, Outcome], confidence: float) -> dict[str, Any]:
    """All that is known, as `--json` has it."""
    from graft.verdicts import paired

    sides = zip(("a", "b"), pair, matched.models, strict=True)
    found: dict[str, Any] = {side: {"name": one.name, "model": model} for side, one, model in sides}
    found |= {"split": matched.split, "images": len(matched.table), "not_compared": list(matched.differences)}
    if not len(matched.table):
        return found | {"verdict": Compared.NOT_COMPARABLE.value}
    pairs = paired.count(matched.a_right.to_numpy(), matched.b_right.to_numpy())
    low, high = paired.difference_interval(pairs, confidence)
    for side, right in (("a", pairs.a_right), ("b", pairs.b_right)):
        found[side] |= {"right": right, "accuracy": right / pairs.images}
    changed = matched.changed
    return found | {
        "difference": {"value": pairs.difference, "low": low, "high": high, "confidence": confidence},
        "only_a_right": pairs.only_a_right,
        "only_b_right": pairs.only_b_right,
        "same_predictions": bool((matched.table["a"] == matched.table["b"]).all()),
        "p": paired.mcnemar(pairs),
        "verdict": paired.verdict(pairs, confidence).value,
        "changed_sides": changed.to_dict("records"),
    }


def show(found: dict[str, Any], most: int | None, kind: str = "image") -> None:
    """kind: of the examples here, which those of A and B are too."""
    import pandas as pd

    console = Console(width=max(WIDTH, Console().width), highlight=False)
    for difference in found["not_compared"]:
        console.print(f"Not compared: {difference}", markup=False, soft_wrap=True)
    if found["verdict"] == Compared.NOT_COMPARABLE:
        console.print(
            f"A, {found['a']['name']}, and B, {found['b']['name']}: {found['verdict']}. They have no {found['split']} "
            f"{kind} in common, of the same path and label.",
            markup=False,
            soft_wrap=True,
        )
        return
    console.print(_accuracies(found, kind))
    for line in _sentences(found, kind):
        console.print(line, markup=False, soft_wrap=True)
    changed = pd.DataFrame(found["changed_sides"])
    if len(changed):
        console.print(_images(changed.head(len(changed) if most is None else most), kind))
    if most is not None and len(changed) > most:
        console.print(f"... and {len(changed) - most} more (--images: all)")


def _accuracies(found: dict[str, Any], kind: str) -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("", "what", "model", f"right of {found['images']} {found['split']} {kind}s", "accuracy"):
        table.add_column(column, justify="right" if column.startswith(("right", "acc")) else "left")
    for side in ("a", "b"):
        one = found[side]
        table.add_row(side.upper(), escape(one["name"]), one["model"], f"{one['right']}", f"{one['accuracy']:.4f}")
    return table


def _sentences(found: dict[str, Any], kind: str) -> list[str]:
    if found["same_predictions"]:
        return [f"Verdict: {found['verdict']}. Both predict the same for every {kind}."]
    gap, alpha = found["difference"], 1 - found["difference"]["confidence"]
    meaning = {
        Compared.BETTER: f"B is better than A: p is below {alpha:.2g}.",
        Compared.WORSE: f"B is worse than A: p is below {alpha:.2g}.",
        Compared.WITHIN_NOISE: f"These {kind}s cannot tell B from A: p is not below {alpha:.2g}.",
    }
    return [
        f"B less A: {gap['value']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f}, {gap['confidence']:.0%} by paired "
        "bootstrap)",
        f"Changed sides: {found['only_a_right']} that only A has right, {found['only_b_right']} that only B has right; "
        f"p = {found['p']:.2g} (McNemar, exact)",
        f"Verdict: {found['verdict']}. {meaning[Compared(found['verdict'])]}",
    ]


def _images(changed: pd.DataFrame, kind: str) -> Table:
    table = Table(box=None, header_style="bold")
    for column in (kind, "label", "A says", "B says"):
        table.add_column(column, overflow="fold")
    for row in changed.itertuples():
        table.add_row(*(escape(str(value)) for value in (row.path, row.label, row.a, row.b)))
    return table
