"""Labels that are flipped at random: how many does `graft audit` rank first, and how many does cleanlab?

    python benchmarks/audit.py PROJECT [PROJECT...] [--share 0.03] [--seeds 3,4,5] [--logistic]

PROJECT: a folder in which `dvc repro extract` has run. Needs what graft does not: `pip install cleanlab==2.9.0
datasets`. Both get the same features and the same flips; cleanlab also gets the
probabilities of graft's head, which has seen no image that it judges, and with --logistic those that its own tutorials
compute: scikit-learn's LogisticRegression in five folds. Precision is that of the first as many as were flipped.
Labels that were wrong before count as mistakes of whoever names them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graft.audit import belief, findings, subject
from graft.config.load import load
from graft.convex import ridge
from graft.pipeline import layout
from graft.runtime.computing import numerics

GRAFT, HEAD = "graft audit", "graft's head alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--seeds", default="3,4,5")
    parser.add_argument("--logistic", action="store_true")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    seeds = [int(seed) for seed in given.seeds.split(",")]
    table: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for project in given.projects:
        read = read_project(project)
        print(f"{project.name}: {len(read.targets)} images, {read.features.shape[1]} features", flush=True)
        for seed in seeds:
            targets, flipped = flip(read.targets, len(read.classes), given.share, seed)
            for name, (precision, seconds) in compare(read, targets, flipped, given.logistic).items():
                table.setdefault(name, {}).setdefault(project.name, []).append((precision, seconds))
                print(f"  seed {seed}, {name}: precision {precision:.4f}, {seconds:.1f} s", flush=True)
    report(table, [project.name for project in given.projects])


def read_project(folder: Path) -> subject.Subject:
    """The labels of the source, without decisions."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        params, paths = load(), layout.read()
        numerics.apply(params.numerics)
        return subject.read(paths, None)
    finally:
        os.chdir(before)


def flip(targets: np.ndarray, n_classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets of which `share` have another class, each other one as likely; (n,) bool, which."""
    rng = np.random.default_rng(seed)
    n = round(share * len(targets))
    rows = rng.choice(len(targets), n, replace=False)
    changed = targets.copy()
    changed[rows] = (targets[rows] + rng.integers(1, n_classes, n)) % n_classes
    flipped = np.zeros(len(targets), bool)
    flipped[rows] = True
    return changed, flipped


def compare(
    read: subject.Subject, targets: np.ndarray, flipped: np.ndarray, logistic: bool
) -> dict[str, tuple[float, float]]:
    """name -> precision, seconds: of all that it takes from features to a ranking, outliers and near-duplicates."""
    n_classes = len(read.classes)
    formed, seconds = timed(lambda: belief.form(read.features, targets, n_classes, read.copies, read.scale))
    _, more = timed(lambda: findings.find(formed, targets))
    found = {GRAFT: (precision(formed.own(targets), flipped), seconds + more)}
    head, seconds = timed(
        lambda: ridge.left_out(lambda rows: read.features[rows][:, None], targets, n_classes, read.scale)
    )
    ways = {HEAD: (softmax(head.logits), seconds)}
    if logistic:
        ways["logistic, five folds"] = timed(lambda: folds(read.features, targets))
    for name, (probabilities, before) in ways.items():
        scores, seconds = timed(lambda: datalab(read.features, targets, probabilities))  # noqa: B023
        found[f"cleanlab Datalab, {name}"] = (precision(scores, flipped), before + seconds)
        scores, seconds = timed(lambda: label_issues(targets, probabilities))  # noqa: B023
        found[f"cleanlab find_label_issues, {name}"] = (precision(scores, flipped), before + seconds)
    return found


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        value = work()
    return value, time.perf_counter() - began


def precision(scores: np.ndarray, flipped: np.ndarray) -> float:
    """Of the lowest scores, as many as were flipped."""
    return float(flipped[np.argsort(scores, kind="stable")[: flipped.sum()]].mean())


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def folds(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    return np.asarray(cross_val_predict(model, features, targets, cv=5, method="predict_proba"))


def datalab(features: np.ndarray, targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    from cleanlab import Datalab

    lab = Datalab(data={"label": targets}, label_name="label", verbosity=0)
    kinds: dict[str, Any] = {"label": {}, "outlier": {}, "near_duplicate": {}}
    lab.find_issues(pred_probs=probabilities, features=features, issue_types=kinds)
    return np.asarray(lab.get_issues("label")["label_score"])


def label_issues(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Those that it names first, in its order; the others by the same score."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    named = find_label_issues(targets, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    scores = get_label_quality_scores(targets, probabilities, method="self_confidence")
    scores[named] = np.arange(len(named)) - len(named)
    return np.asarray(scores)


def report(table: dict[str, dict[str, list[tuple[float, float]]]], projects: list[str]) -> None:
    print("\n| way | " + " | ".join(f"{name}: precision | seconds" for name in projects) + " | mean | of graft's |")
    print("|---" * (2 * len(projects) + 3) + "|")
    ours = np.mean([one for name in projects for one, _ in table[GRAFT][name]])
    for way, found in table.items():
        cells = [f"{np.mean(column):.{digits}f}" for name in projects for column, digits in columns(found[name])]
        mean = np.mean([one for name in projects for one, _ in found[name]])
        print(f"| {way} | {' | '.join(cells)} | {mean:.4f} | {mean / ours:.3f} |")


def columns(found: list[tuple[float, float]]) -> list[tuple[list[float], int]]:
    return [([one for one, _ in found], 4), ([seconds for _, seconds in found], 1)]


if __name__ == "__main__":
    main()
