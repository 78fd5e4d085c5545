"""The learning-rate range test: what it reads off a curve, what it measures, the command."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conftest import params_of, paths_in
from graft.errors import TrainingError
from graft.range_test import measure, picture, subjects
from test_training import FEATURES, HELD_OUT, TRAIN, head, values


class Blobs:
    def drawn(self, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        return FEATURES[rows]

    plain = drawn


DATA: Any = SimpleNamespace(classes=["a", "b", "c"], of=lambda side: TRAIN if side == "train" else HELD_OUT)


def test_a_curve_is_read_as_by_hand() -> None:
    """100 steps over six decades; the loss is flat, falls from step 40 to 60, and rises after 80."""
    step = np.arange(101)
    losses = 2.0 - np.clip((step - 40) / 20, 0, 1) + np.clip((step - 80) / 5, 0, None)
    got = measure.curve(list(losses), guess=2.0)
    assert got.rates[[0, 50]] == pytest.approx([1e-6, 1e-3])
    assert got.losses[0] == losses[1], "the first rate shows in the second loss"
    assert 78 <= got.least <= 81
    assert got.rates[82] < got.rises < got.rates[88], "where the smoothed loss is 0.1 above its least"
    assert got.suggested == pytest.approx(got.rises / 10, rel=0.05)


def test_a_start_that_fits_already_has_a_rate_too() -> None:
    """Its loss cannot fall: it is next to nothing, and then it rises."""
    got = measure.curve([0.001] + [0.02] * 60 + [0.02 * 1.5**k for k in range(20)], guess=2.0)
    assert got.least < 5
    assert got.rates[60] < got.rises < got.rates[78]


def test_smoothing_starts_at_the_first_loss() -> None:
    assert measure.smooth([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert measure.smooth([1.0, 2.0])[1] == pytest.approx((0.9 * 1 + 2) / 1.9)


def test_it_goes_from_too_low_to_too_high_and_stops_there() -> None:
    got = measure.measure(Blobs(), DATA, head(), values(optimizer="sgd", momentum=0.95), 0)
    assert got.rates[0] == measure.LOWEST
    assert got.smoothed[0] == pytest.approx(got.smoothed[5], rel=0.5), "nothing is learnt at first"
    assert 1e-3 < got.rates[got.least] <= measure.HIGHEST
    assert got.smoothed[got.least] < 0.8 * got.smoothed[0]


def test_the_same_seed_is_the_same_curve() -> None:
    first, second = (measure.measure(Blobs(), DATA, head(), values(), 3) for _ in range(2))
    assert np.array_equal(first.losses, second.losses)


def test_a_loss_that_runs_away_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "HIGHEST", 1e9)
    got = measure.measure(Blobs(), DATA, head(), values(optimizer="sgd", momentum=0.0), 0)
    assert len(got.rates) < measure.STEPS - 1
    assert np.isfinite(got.losses).all()


def test_a_stage_that_is_off_has_no_rate(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"finetune\.enabled: must be true for its learning rate"):
        subjects.of("finetune", params_of({"finetune.enabled": False}), paths_in(tmp_path))


def test_a_head_that_is_solved_has_no_rate(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.head: must be one that is trained\. ridge is solved"):
        subjects.of("train", params_of({"train.head": "ridge"}), paths_in(tmp_path))


def test_the_picture_names_both_rates() -> None:
    figure = picture.draw(measure.curve([2.0, 1.5, 1.0, 3.0], 1.1), 0.01, "train")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels[2].startswith("suggested: ")
    assert labels[3] == "params.yaml: 0.01"
