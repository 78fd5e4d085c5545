"""What is found of a belief: suspect labels, classes that overlap, outliers, pairs that are nearly the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from graft.audit.belief import Belief

DISTANT_FROM = 10
"""Neighbours whose mean distance tells how far an image is from all others (Kuan & Mueller 2022, arXiv 2207.03061)."""

SAME = 0.25
"""Of the median distance to the nearest: below it two images are nearly the same. Of the clothing photos, one garment
photographed twice is at 0.248, and two of a kind are from 0.27 on."""


@dataclass(frozen=True)
class Findings:
    """Tables, the worst first; rows are those of the examples.

    suspects: row, suggested (class number), own and probability (how likely the label and the suggestion are),
    confident: whether the suggestion is as likely as that class is, on average, for images that have its label. Every
    image for which another class is likelier than its own.
    overlaps: a and b (class numbers), a_as_b, b_as_a (images), share (of the images of both).
    outliers: row, distance. pairs: row, other, distance; distances are 1 - cosine.
    agreement: share of the judged images whose label is the likeliest class.
    """

    suspects: pd.DataFrame
    overlaps: pd.DataFrame
    outliers: pd.DataFrame
    pairs: pd.DataFrame
    agreement: float


def find(belief: Belief, targets: np.ndarray) -> Findings:
    """targets: (n,) int64."""
    suspects = _suspects(belief, targets)
    agreement = 1.0 - len(suspects) / max(int(belief.judged.sum()), 1)
    return Findings(suspects, _overlaps(suspects, targets), _outliers(belief), _pairs(belief), agreement)


def _suspects(belief: Belief, targets: np.ndarray) -> pd.DataFrame:
    own, likeliest = belief.own(targets), belief.probabilities.argmax(axis=1)
    usual = np.array([own[targets == target].mean() for target in range(belief.probabilities.shape[1])])
    rows = np.flatnonzero((likeliest != targets) & belief.judged)
    rows = rows[np.argsort(own[rows], kind="stable")]
    probability = belief.probabilities[rows, likeliest[rows]]
    return pd.DataFrame(
        {
            "row": rows,
            "suggested": likeliest[rows],
            "own": own[rows],
            "probability": probability,
            "confident": probability >= usual[likeliest[rows]],
        }
    )


def _overlaps(suspects: pd.DataFrame, targets: np.ndarray) -> pd.DataFrame:
    sizes = np.bincount(targets)
    taken = np.zeros((len(sizes), len(sizes)), np.int64)
    np.add.at(taken, (targets[suspects["row"]], suspects["suggested"].to_numpy()), 1)
    a, b = np.nonzero(np.triu(taken + taken.T))
    share = (taken[a, b] + taken[b, a]) / (sizes[a] + sizes[b])
    table = pd.DataFrame({"a": a, "b": b, "a_as_b": taken[a, b], "b_as_a": taken[b, a], "share": share})
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _outliers(belief: Belief) -> pd.DataFrame:
    distance = (1.0 - belief.near.cosines[:, :DISTANT_FROM].astype(np.float64)).mean(axis=1)
    order = np.argsort(-distance, kind="stable")
    return pd.DataFrame({"row": order, "distance": distance[order]})


def _pairs(belief: Belief) -> pd.DataFrame:
    """Each once, of images and those of their neighbours that are so near."""
    distances = 1.0 - belief.near.cosines.astype(np.float64)
    rows, places = np.nonzero(distances < SAME * np.median(distances[:, 0]))
    others = belief.near.rows[rows, places]
    table = pd.DataFrame(
        {"row": np.minimum(rows, others), "other": np.maximum(rows, others), "distance": distances[rows, places]}
    )
    table = table.sort_values(["distance", "row", "other"], kind="stable")
    return table.drop_duplicates(["row", "other"], ignore_index=True)


def undecided(findings: Findings, decided: np.ndarray) -> Findings:
    """Without the images that somebody has decided on; overlaps and agreement stay. decided: (k,) int64 rows."""

    def others(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
        return table[~table[list(columns)].isin(decided).any(axis=1)].reset_index(drop=True)

    return replace(
        findings,
        suspects=others(findings.suspects, "row"),
        outliers=others(findings.outliers, "row"),
        pairs=others(findings.pairs, "row", "other"),
    )
