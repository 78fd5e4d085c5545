"""The range test: training at a rate that grows exponentially, until the loss runs away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graft.errors import TrainingError
from graft.runtime.progress import hushed
from graft.training.batches import Examples
from graft.training.fit import fit

if TYPE_CHECKING:
    import keras

    from graft.config.schema import Optimization
    from graft.examples.dataset import Dataset
    from graft.features.store import Views

STEPS = 100
LOWEST, HIGHEST = 1e-6, 1.0
"""The first step's rate, and the one that would follow the last step's."""

MEMORY = 0.9
"""Share of the mean so far in the next smoothed loss."""

RISEN, RAN_AWAY = 0.05, 0.5
"""How far above its least the smoothed loss has risen, and at how far the test ends: shares of the loss of a guess."""

BELOW = 10.0
"""By what the rate from which the loss rises is divided: a whole training wants to be some way below."""


@dataclass(frozen=True)
class Curve:
    """Parallel, in the order of the steps. rates: of the step before. losses: of the batch that then came, as a step
    minimises it. smoothed: the same. guess: the loss of a model that gives all classes the same probability."""

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    guess: float

    @property
    def least(self) -> int:
        """The step with the least smoothed loss."""
        return int(self.smoothed.argmin())

    @property
    def rises(self) -> float:
        """The rate from which on the smoothed loss is RISEN; the last one where it never is.

        Not that of the least loss: a head that fits already, from which fine-tuning starts, leaves nothing to fall.
        """
        risen = self.smoothed[self.least :] > self.smoothed[self.least] + RISEN * self.guess
        return float(self.rates[self.least + int(risen.argmax()) if risen.any() else -1])

    @property
    def suggested(self) -> float:
        """The rate from which on the loss rises, divided by BELOW; two digits."""
        return float(f"{self.rises / BELOW:.1e}")


NOTHING = Examples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
"""Held out: the loss of the batches is what is looked at."""


class _RanAwayError(Exception):
    pass


def measure(views: Views, data: Dataset, model: keras.Model, p: Optimization, seed: int) -> Curve:
    """Train `model` in place for up to STEPS steps, as its stage would but for the rate. views: what it takes.

    Smith 2015, https://arxiv.org/abs/1506.01186, section 3.3; exponential and smoothed as fastai does. Raises
    TrainingError where there is nothing to learn from, or where the second step already has no loss.
    """
    ratio = HIGHEST / LOWEST
    growing = {"schedule": "exponential", "learning_rate": LOWEST, "decay_to": ratio, "warmup_steps": 0}
    length = {"steps": STEPS, "epochs": None, "steps_per_epoch": 1}
    kept = {"monitor": "accuracy", "early_stopping_patience": None}
    losses: list[float] = []
    guess = math.log(len(data.classes))

    def note(step: int, metrics: dict[str, float]) -> None:
        losses.append(metrics.get("loss", math.nan))
        known = smooth(losses)
        if known[-1] > min(known) + RAN_AWAY * guess:
            raise _RanAwayError

    try:
        with hushed():
            fit(
                model,
                p.model_copy(update=growing | length | kept),
                seed,
                len(data.classes),
                data.of("train"),
                lambda rows, step: views.drawn(rows, seed, step),
                NOTHING,
                lambda rows, step: views.plain(rows),
                note,
            )
    except _RanAwayError:
        pass
    except TrainingError:  # the loss is no number any more
        if len(losses) < 2:
            raise
    return curve(losses, guess)


def curve(losses: Sequence[float], guess: float) -> Curve:
    """losses: of the steps from the first on, at least two. The first one was before any rate was applied."""
    rates = LOWEST * (HIGHEST / LOWEST) ** (np.arange(len(losses) - 1) / STEPS)
    return Curve(rates, np.asarray(losses[1:]), np.asarray(smooth(losses)[1:]), guess)


def smooth(losses: Sequence[float]) -> list[float]:
    """The exponential mean so far at each step, as if the first ones had others like them before."""
    found, mean, weight = [], 0.0, 0.0
    for loss in losses:
        if not math.isnan(loss):  # of a batch without any weight
            mean, weight = MEMORY * mean + (1 - MEMORY) * loss, MEMORY * weight + (1 - MEMORY)
        found.append(mean / weight if weight else math.inf)
    return found
