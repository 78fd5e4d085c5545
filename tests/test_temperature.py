"""Temperature scaling: the number that is found, the head that it changes, what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import PreparedData, trained_pass
from graft.errors import TrainingError
from graft.evaluation import temperature
from graft.models import assemble, card, heads, saving
from graft.stages import evaluate, extract, finetune
from graft.training import history, shards


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def drawn(n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, 4), and classes drawn as they say."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (n, 4))
    return logits, (softmax(logits).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_what_the_logits_were_multiplied_by_is_found(factor: float) -> None:
    logits, targets = drawn()
    got = temperature.fitted(softmax(logits * factor).astype(np.float32), targets, np.ones(len(targets), np.float32))
    assert got == pytest.approx(factor, rel=0.03)
    assert got == round(got, temperature.DIGITS)


def test_examples_without_a_weight_do_not_count() -> None:
    logits, targets = drawn(2000)
    sure = softmax(np.concatenate([logits, logits * 3]))
    weights = np.repeat([1.0, 0.0], len(logits)).astype(np.float32)
    alone = temperature.fitted(sure[: len(logits)], targets, weights[: len(logits)])
    assert temperature.fitted(sure, np.tile(targets, 2), weights) == alone


def test_examples_that_are_all_right_do_not_make_it_sure_of_everything() -> None:
    got = temperature.fitted(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), np.ones(2, np.float32))
    assert got == pytest.approx(temperature.LOWEST, abs=1e-3)


def test_a_head_whose_logits_are_divided_says_what_is_worked_out() -> None:
    features = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
    head = heads.build("mlp", {"pooling": "avg", "hidden_units": [5], "dropout": 0.0}, (8,), 3, 1)
    before = shards.predict(head, features)
    assemble.divide_logits(head, 1.7)
    np.testing.assert_allclose(shards.predict(head, features), temperature.divided(before, 1.7), rtol=1e-5)


@pytest.fixture
def extracted(tmp_path: Path, prepare: Callable[..., PreparedData]) -> tuple[Any, Any]:
    """Parameters and paths of drawings that have a trained head, and whose model is to have a temperature."""
    return trained_pass(tmp_path / "images", prepare, {"finetune.temperature": "validation", "evaluate.top_k": 2})


def judged(params: Any, paths: Any) -> tuple[float, Any]:
    """The card's temperature, and what evaluate says of each model."""
    finetune.run(params, paths, lambda epoch, metrics: None)
    evaluate.run(params, paths)
    return card.read(paths.card)["temperature"], json.loads(paths.metrics.read_text())


@pytest.mark.long
def test_the_model_that_ships_has_it_and_the_evaluation_says_what_it_did(extracted: tuple[Any, Any]) -> None:
    params, paths = extracted
    found, by_model = judged(params, paths)
    assert found != 1
    assert "temperature" not in by_model["head"]["validation"], "it does not ship"
    told = by_model["finetuned"]["validation"]
    assert told["temperature"]["value"] == found
    kept = history.read(paths.finetune_history).query("best == 1").iloc[0]
    assert told["temperature"]["log_loss_before"] == pytest.approx(kept["val_loss"], rel=1e-4)
    assert told["log_loss"] < told["temperature"]["log_loss_before"]
    assert told["accuracy"] == kept["val_accuracy"]


@pytest.mark.slow
def test_without_fine_tuning_the_model_has_it_and_the_head_stays_as_it_was(extracted: tuple[Any, Any]) -> None:
    params, paths = extracted
    params = params.model_copy(update={"finetune": params.finetune.model_copy(update={"enabled": False})})
    extract.run(params, paths)
    before = saving.load(paths.head).get_weights()[0]
    found, by_model = judged(params, paths)
    assert by_model["head"]["validation"]["temperature"]["value"] == found
    assert np.array_equal(saving.load(paths.head).get_weights()[0], before)
    inside = saving.load(paths.model).layers[-1].get_weights()[0]
    assert np.array_equal(inside, before / np.float32(found))


def test_it_needs_validation_examples(extracted: tuple[Any, Any]) -> None:
    params, paths = extracted
    text = paths.split.read_text()
    paths.split.write_text(text.replace(",validation", ",unused"))
    with pytest.raises(TrainingError, match=r"finetune\.temperature: validation needs validation examples"):
        finetune.run(params, paths, lambda epoch, metrics: None)
