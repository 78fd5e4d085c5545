"""Verdicts: tests give the published values, intervals hold as often as they say, unlike things are left out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from graft.evaluation import metrics, predictions
from graft.verdicts import looks, matching, paired
from graft.verdicts.paired import Paired
from graft.verdicts.words import Compared, Reproduced

APPROVAL = Paired(both_right=794, only_a_right=150, only_b_right=86, both_wrong=570)
"""Agresti 1990, Categorical Data Analysis, p. 350, as in R's help for `mcnemar.test`."""


def test_mcnemar_gives_the_published_value() -> None:
    """R's `exact2x2::mcnemar.exact` of the same table: p-value = 3.716e-05."""
    assert paired.mcnemar(APPROVAL) == pytest.approx(3.716e-05, rel=1e-4)
    assert paired.verdict(APPROVAL, 0.95) is Compared.WORSE


@pytest.mark.parametrize(
    ("lost", "gained", "p", "verdict"),
    [
        (0, 0, 1.0, Compared.WITHIN_NOISE),
        (3, 3, 1.0, Compared.WITHIN_NOISE),
        (0, 5, 2 / 2**5, Compared.WITHIN_NOISE),
        (0, 6, 2 / 2**6, Compared.BETTER),
        (6, 0, 2 / 2**6, Compared.WORSE),
        (1, 8, 2 * (1 + 9) / 2**9, Compared.BETTER),
    ],
)
def test_mcnemar_counts_coin_throws(lost: int, gained: int, p: float, verdict: Compared) -> None:
    pairs = Paired(90, lost, gained, 4)
    assert paired.mcnemar(pairs) == pytest.approx(p)
    assert paired.verdict(pairs, 0.95) is verdict


def test_pairs_are_counted() -> None:
    a, b = np.array([1, 1, 1, 0, 0, 0, 0], bool), np.array([1, 0, 0, 1, 1, 1, 0], bool)
    pairs = paired.count(a, b)
    assert pairs == Paired(1, 2, 3, 1)
    assert (pairs.images, pairs.a_right, pairs.b_right) == (7, 3, 4)
    assert pairs.difference == pytest.approx(b.mean() - a.mean())


def test_the_interval_is_that_of_scipys_paired_bootstrap() -> None:
    a = np.repeat([1, 1, 0, 0], [300, 10, 22, 40])
    b = np.repeat([1, 0, 1, 0], [300, 10, 22, 40])
    expected = stats.bootstrap(
        (b - a,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    found = paired.difference_interval(paired.count(a == 1, b == 1), 0.95)
    assert found == pytest.approx(tuple(expected), abs=1.5 / len(a))
    assert found == paired.difference_interval(Paired(300, 10, 22, 40), 0.95), "the same every time"


def test_the_interval_holds_as_often_as_it_says() -> None:
    """250 test sets drawn from a known truth: 95 % cover it, give or take three standard errors."""
    truth = np.array([0.85, 0.03, 0.07, 0.05])
    drawn = np.random.default_rng(0).multinomial(500, truth, size=250)
    intervals = [paired.difference_interval(Paired(*map(int, counts)), 0.95) for counts in drawn]
    covered = np.mean([low <= truth[2] - truth[1] <= high for low, high in intervals])
    assert abs(covered - 0.95) < 3 * (0.95 * 0.05 / 250) ** 0.5


def test_two_equal_models_are_told_apart_no_more_often_than_by_chance() -> None:
    drawn = np.random.default_rng(0).multinomial(400, [0.86, 0.04, 0.04, 0.06], size=250)
    found = [paired.verdict(Paired(*map(int, counts)), 0.95) for counts in drawn]
    assert np.mean([word is not Compared.WITHIN_NOISE for word in found]) <= 0.05


def test_a_first_look_needs_no_correction() -> None:
    low, high, each = looks.corrected_interval(356, 359, 0.95, 1)
    judged = metrics.Judged(np.eye(2)[[0] * 356 + [1] * 3], np.zeros(359, np.int64), ["a", "b"], 1, 5, 0.95)
    assert {"low": low, "high": high, "confidence": each} == pytest.approx(metrics.accuracy_interval(judged))


def test_more_looks_widen_the_interval() -> None:
    found = [looks.corrected_interval(340, 372, 0.95, k) for k in (1, 2, 10, 100)]
    for (low, high, _), (wider_low, wider_high, _) in itertools.pairwise(found):
        assert wider_low < low
        assert high < wider_high
    assert [each for *_, each in found] == pytest.approx([0.95, 0.975, 0.995, 0.9995])


def judged(answers: dict[str, tuple[str, str]], split: str = "test", model: str = "head") -> pd.DataFrame:
    """A table of predictions: path -> (label, prediction), of the classes a and b."""
    scores = np.array([[guess == "a", guess == "b"] for _, guess in answers.values()], float)
    labels = [label for label, _ in answers.values()]
    return predictions.table(model, split, list(answers), labels, scores, ["a", "b"])


def test_the_shipped_models_are_matched_image_by_image() -> None:
    first = judged({"1": ("a", "a"), "2": ("a", "b"), "3": ("b", "b"), "4": ("b", "b")})
    head = judged({"1": ("a", "b"), "2": ("a", "b"), "3": ("b", "a"), "4": ("b", "a")})
    tuned = judged({"4": ("b", "a"), "3": ("b", "b"), "2": ("a", "a"), "1": ("a", "a")}, model="finetuned")
    matched = matching.match(first, pd.concat([head, tuned]), None)
    assert matched.models == ("head", "finetuned")
    assert matched.differences == []
    assert matched.table.to_numpy().tolist() == [
        ["1", "a", "a", "a"], ["2", "a", "b", "a"], ["3", "b", "b", "b"], ["4", "b", "b", "a"],
    ]  # fmt: skip
    assert matched.changed["path"].tolist() == ["4", "2"], "what was lost comes first"


def test_only_what_both_were_judged_on_counts() -> None:
    a = judged({"1": ("a", "a"), "2": ("a", "b"), "only": ("b", "b")})
    b = judged({"1": ("a", "a"), "2": ("b", "b"), **{f"new{i}": ("a", "a") for i in range(5)}})
    matched = matching.match(a, b.rename(columns={"p:b": "p:c"}), None)
    assert matched.table["path"].tolist() == ["1"]
    assert matched.differences == [
        "classes that only A knows: 1: b",
        "classes that only B knows: 1: c",
        "test examples that only A was judged on: 1: only",
        "test examples that only B was judged on: 5: new0, new1, new2, ...",
        "examples with another label: 1: 2 (a in A, b in B)",
    ]


def test_the_split_is_one_that_both_have() -> None:
    validation = judged({"1": ("a", "a")}, split="validation")
    both = pd.concat([validation, judged({"2": ("a", "a")})])
    assert matching.match(both, both, None).split == "test"
    assert matching.match(both, validation, None).split == "validation"
    assert matching.match(both, both, "validation").table["path"].tolist() == ["1"]
    assert len(matching.match(both, validation, "test").table) == 0


def test_a_table_without_images_has_nothing_in_common() -> None:
    matched = matching.match(predictions.nothing(["a", "b"]), judged({"1": ("a", "a")}), None)
    assert matched.models == (None, "head")
    assert len(matched.table) == 0


def test_both_vocabularies_say_not_comparable_alike() -> None:
    assert str(Reproduced.NOT_COMPARABLE) == str(Compared.NOT_COMPARABLE) == "not comparable"
