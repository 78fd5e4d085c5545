"""What each candidate is worth: a ridge head on the images it has not seen, and which candidates cannot be told apart.

An image counts once for each candidate: a training image by the head without it, a validation image by the head of all
training images. Test images are never looked at.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from graft.backbones.taps import Tap
from graft.convex import ridge
from graft.errors import TrainingError
from graft.verdicts import looks, paired

if TYPE_CHECKING:
    from graft.examples.dataset import Dataset
    from graft.probing.passes import Passed
    from graft.probing.tuning import Tuned

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Candidate:
    """network: as in `graft backbones`, with its width and input size. layer, cut: of the tap; or all layers together,
    as `train.head: taps` reads them.

    left_out, validation: accuracies. log_loss: of left-out training images. hits: (n,) bool over training, then
    validation images. milliseconds: of one image up to the layer, on one thread; the whole network's by the share of
    compute. seconds: that judging took. stored_bytes: of one image's activations there. imagenet: top-1, if published.
    """

    network: str
    layer: str
    cut: str | None
    channels: int
    left_out: float
    validation: float
    log_loss: float
    hits: np.ndarray
    milliseconds: float
    seconds: float
    stored_bytes: int
    imagenet: float | None
    together: bool = False

    @property
    def accuracy(self) -> float:
        """Of all images, each by a head that has not seen it."""
        return float(self.hits.mean())


def judged(network: str, imagenet: float | None, passed: Passed, data: Dataset) -> list[Candidate]:
    """A candidate for each tap, and one for all of them together.

    network, imagenet: as a candidate has them. passed: of all of `data.used`.

    Raises TrainingError where the split has no training example with a weight.
    """
    train, validation = data.of("train"), data.of("validation")
    if not train.weights.any():
        raise TrainingError("the split has no training examples with a weight: there is nothing to judge a layer by.")
    every = Tap(f"all {len(passed.taps)} layers", None, passed.features.shape[1], 1.0, passed.features[:1].nbytes)
    scale = ridge.by_group([tap.channels for tap in passed.taps])
    subjects: list[tuple[Tap, np.ndarray, np.ndarray | None]] = [
        *((tap, passed.of(number), None) for number, tap in enumerate(passed.taps)),
        (every, passed.features, scale),
    ]
    found = []
    for tap, pooled, scales in subjects:
        began = time.perf_counter()
        features = pooled[:, None]
        read = features[train.rows].__getitem__
        solved = ridge.solve(read, train.targets, train.weights, len(data.classes), scales)
        answers = (features[validation.rows, 0] @ solved.kernel + solved.bias).argmax(axis=1)
        right = solved.left_out == train.targets, answers == validation.targets
        found.append(
            Candidate(
                network,
                tap.layer,
                tap.cut,
                tap.channels,
                float(right[0].mean()),
                float(right[1].mean()) if len(right[1]) else float("nan"),
                solved.log_loss,
                np.concatenate(right),
                1e3 * passed.seconds_per_example * tap.below,
                time.perf_counter() - began,
                tap.stored_bytes,
                imagenet,
                together=tap is every,
            )
        )
    return found


class Judged(Protocol):
    """Whatever says of the same images which it answered right."""

    @property
    def hits(self) -> np.ndarray:
        """(n,) bool."""


def against(best: Judged, other: Judged) -> float:
    """Probability of images that change sides as unevenly, or more, were both worth the same: McNemar's exact test."""
    return paired.mcnemar(paired.count(best.hits, other.hits))


def interval(candidate: Judged) -> tuple[float, float]:
    """Wilson's interval of its accuracy at CONFIDENCE."""
    low, high, _ = looks.corrected_interval(int(candidate.hits.sum()), len(candidate.hits), CONFIDENCE, looks=1)
    return low, high


@dataclass(frozen=True)
class Choice:
    """ranked: the best first. within_noise: of each, whether McNemar's test at 1 - CONFIDENCE cannot tell it from the
    best. cheapest: that of the fewest milliseconds among them. by_imagenet: the last layer of the network with the
    highest published accuracy on ImageNet, at the largest size; None where none is published.
    """

    ranked: list[Candidate]
    within_noise: list[bool]
    cheapest: Candidate
    by_imagenet: Candidate | None

    @property
    def best(self) -> Candidate:
        return self.ranked[0]


def choose(candidates: Sequence[Candidate]) -> Choice:
    """Equal accuracies are ranked by the log loss of left-out images."""
    ranked = sorted(candidates, key=lambda one: (-one.accuracy, one.log_loss))
    within = [against(ranked[0], one) >= 1 - CONFIDENCE for one in ranked]
    cheapest = min((one for one, near in zip(ranked, within, strict=True) if near), key=lambda one: one.milliseconds)
    last = [one for one in candidates if one.cut is None and not one.together and one.imagenet is not None]
    return Choice(ranked, within, cheapest, max(last, key=lambda one: (one.imagenet, one.milliseconds), default=None))


def cuts_table(tuned: Sequence[Tuned]) -> pd.DataFrame:
    """A row per cut, the best first, as it is logged."""
    return pd.DataFrame(
        {
            "cut": one.cut,
            "validation_accuracy": one.accuracy,
            "validation_log_loss": one.log_loss,
            "p_against_best": against(tuned[0], one),
            "seconds_to_train": one.seconds,
            "stored_mb_per_1000": one.stored_bytes / 1e3,
        }
        for one in tuned
    )


def table(choice: Choice, kind: str) -> pd.DataFrame:
    """A row per candidate, the best first, as it is logged. kind: of the examples."""
    return pd.DataFrame(
        {
            "network": one.network,
            "layer": one.layer,
            "cut": one.cut or "",
            "channels": one.channels,
            "accuracy": one.accuracy,
            "left_out_accuracy": one.left_out,
            "validation_accuracy": one.validation,
            "left_out_log_loss": one.log_loss,
            "p_against_best": against(choice.best, one),
            f"milliseconds_per_{kind}": one.milliseconds,
            "stored_mb_per_1000": one.stored_bytes / 1e3,
            "seconds_to_judge": one.seconds,
            "imagenet_top1": one.imagenet,
        }
        for one in choice.ranked
    )
