"""Optimizers and learning-rate schedules by the names in params.yaml."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from graft.config.schema import Optimization

UNDECAYED = ("bias", "gamma", "beta")
"""Variables that weight decay leaves alone (Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.3)."""


def learning_rates(p: Optimization, total_steps: int) -> Any:
    """The rate by step: `warmup_steps` linear from 0, then down to `decay_to` times the peak at `total_steps`.

    cosine: Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, eq. 5, without restarts.
    linear: polynomial of power 1. exponential: the same factor every step (needs decay_to > 0).
    """
    import keras

    if p.schedule == "constant" and not p.warmup_steps:
        return p.learning_rate

    class Schedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        def __call__(self, step: Any) -> Any:
            ops = keras.ops
            step = ops.cast(step, "float32")
            decay_steps = max(total_steps - p.warmup_steps, 1)
            done = ops.clip((step - p.warmup_steps) / decay_steps, 0.0, 1.0)
            if p.schedule == "cosine":
                share = p.decay_to + (1 - p.decay_to) * 0.5 * (1 + ops.cos(math.pi * done))
            elif p.schedule == "linear":
                share = 1 - (1 - p.decay_to) * done
            elif p.schedule == "exponential":
                share = ops.power(p.decay_to, done)
            else:
                share = ops.ones_like(done)
            warm = ops.minimum(1.0, (step + 1) / (p.warmup_steps + 1)) if p.warmup_steps else 1.0
            return p.learning_rate * share * warm

    return Schedule()


def build(p: Optimization, total_steps: int) -> keras.Optimizer:
    """The optimizer; weight decay is decoupled and skips UNDECAYED. Gradients are clipped by the length of all as one
    (Pascanu et al. 2013, https://arxiv.org/abs/1211.5063, algorithm 1)."""
    import keras

    arguments: dict[str, Any] = {
        "learning_rate": learning_rates(p, total_steps),
        "weight_decay": p.weight_decay or None,
        "global_clipnorm": p.clip_norm,
    }
    if p.optimizer in ("sgd", "rmsprop"):
        arguments["momentum"] = p.momentum
    if p.optimizer in ("adamw", "lion") and arguments["weight_decay"] is None:
        arguments["weight_decay"] = 0.0
    optimizer = keras.optimizers.get({"class_name": p.optimizer, "config": arguments})
    if p.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
    return optimizer
