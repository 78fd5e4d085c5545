"""`graft lr-find`: the learning-rate range test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from graft.cli.stages import ready_for_features

if TYPE_CHECKING:
    from graft.range_test.measure import Curve


def lr_find(
    stage: Annotated[
        Literal["train", "finetune"], typer.Argument(help="train: the head. finetune: the layers above the cut.")
    ] = "train",
    plot: Annotated[
        Path | None, typer.Option(help="Where the picture goes; otherwise plots/lr-find-STAGE.png.", show_default=False)
    ] = None,
) -> None:
    """Try learning rates from far too low to far too high in 100 steps, and say which one params.yaml might have.

    Uses what `dvc repro` has cached and trained; changes none of it, and no parameter.
    """
    params, paths = ready_for_features(stage)
    from graft.evaluation import plots
    from graft.range_test import measure, picture, subjects

    values = params.train if stage == "train" else params.finetune
    model, views, data = subjects.of(stage, params, paths)
    curve = measure.measure(views, data, model, values, params.seed)
    file = plot or paths.pictures.parent / f"lr-find-{stage}.png"
    plots.save(
        picture.draw(curve, values.learning_rate, f"{stage}: {values.optimizer}, batch {values.batch_size}"), file
    )
    typer.echo(_told(curve, stage, values.learning_rate))
    typer.echo(f"picture: {file}")


def _told(curve: Curve, stage: str, now: float) -> str:
    """The suggestion with its reason, beside what params.yaml has."""
    return (
        f"{stage}.learning_rate: about {curve.suggested:g}; params.yaml has {now:g}.\n"
        f"From a rate of {curve.rises:.2g} on the smoothed loss rises, of which this is a tenth.\n"
        "It is the peak from which a schedule comes down: try it, and judge by validation."
    )
