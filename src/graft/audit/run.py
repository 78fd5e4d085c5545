"""The audit: what the features say of the labels, as a page and a CSV to decide in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graft.audit import belief, findings, page, sheet
from graft.audit.belief import Belief
from graft.audit.findings import Findings
from graft.audit.subject import Subject
from graft.examples import excerpts

NEIGHBOURS = 6
"""Shown beside a suspect."""

OVERLAPS, EXAMPLES = 15, 8
"""Pairs of classes that are shown, and images of each."""

OUTLIERS = 20
"""At most one image in so many is called one."""

PAGE, SHEET = "audit.html", "audit.csv"


@dataclass(frozen=True)
class Audit:
    """findings: of what is undecided. listed: the suspects that page and CSV have, as `Listing.image` tells them.

    overlaps: a, b (names), a_as_b, b_as_a, share, examples. metrics: name -> figure. texts: path ->
    the texts of an example that is listed, where examples are texts. files: what was written.
    """

    findings: Findings
    listed: list[dict[str, Any]]
    overlaps: list[dict[str, Any]]
    metrics: dict[str, float]
    texts: dict[str, list[str]]
    files: list[Path]


@dataclass(frozen=True)
class Listing:
    """Images as page and CSV name them."""

    subject: Subject
    belief: Belief

    def image(self, row: int, found: str) -> dict[str, Any]:
        probabilities, target = self.belief.probabilities[row], int(self.subject.targets[row])
        suggested = int(probabilities.argmax())
        one = self.subject.images.iloc[row]
        return {
            **{name: str(one[name]) for name in ("path", "label", "split", "sha256")},
            "suggested": self.subject.classes[suggested] if suggested != target else "",
            "probability": round(float(probabilities[suggested]), 4),
            "label_probability": round(float(probabilities[target]), 4),
            "found": found,
        }

    def suspect(self, row: int, confident: bool) -> dict[str, Any]:
        near = self.belief.near
        beside = [
            self.image(int(other), "") | {"cosine": float(cosine)}
            for other, cosine in zip(near.rows[row, :NEIGHBOURS], near.cosines[row, :NEIGHBOURS], strict=True)
        ]
        return self.image(row, "suspect") | {"neighbours": beside, "confident": confident}

    def pair(self, row: int, other: int) -> dict[str, Any]:
        """distance: 1 - cosine."""
        a, b = (self.subject.features[i].astype(np.float64) for i in (row, other))
        cosine = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), np.finfo(np.float64).tiny))
        return {"images": [self.image(row, ""), self.image(other, "")], "distance": abs(1.0 - cosine)}


def run(subject: Subject, source: str, root: Path, most: int, out: Path) -> Audit:
    """most: suspects, outliers and pairs that are listed, of each. root: data.path. out: the folder of the files."""
    formed = belief.form(subject.features, subject.targets, len(subject.classes), subject.copies, subject.scale)
    everything = findings.find(formed, subject.targets)
    found = findings.undecided(everything, subject.decided)
    listing = Listing(subject, formed)
    suspects = [
        listing.suspect(int(one["row"]), bool(one["confident"])) for one in found.suspects.head(most).to_dict("records")
    ]
    outliers = [
        listing.image(int(one["row"]), "outlier") | {"distance": float(one["distance"])}
        for one in found.outliers.head(min(most, len(found.outliers) // OUTLIERS)).to_dict("records")
    ]
    copies = [listing.pair(*rows) for rows in _copies(subject)[:most]]
    pairs = [listing.pair(int(one["row"]), int(one["other"])) for one in found.pairs.head(most).to_dict("records")]
    overlaps = _overlaps(everything, listing)
    metrics = {
        f"{subject.kind}s": float(len(subject.images)),
        "classes": float(len(subject.classes)),
        "agreement": everything.agreement,
        "suspects": float(len(found.suspects)),
        "confident_suspects": float(found.suspects["confident"].sum()),
        "near_pairs": float(len(found.pairs)),
        "copies": float(len(_copies(subject))),
        "decided": float(len(subject.decided)),
        "unjudged": float((~formed.judged).sum()),
    }
    content: dict[str, Any] = {
        "suspects": suspects, "outliers": outliers, "pairs": pairs, "overlaps": overlaps, "metrics": metrics,
        "copies": copies, "sheet": out / SHEET, "shown": _shown(suspects, outliers, [*copies, *pairs], overlaps),
        "shown_large": {one["path"] for one in suspects},
    }  # fmt: skip
    shown = sorted(content["shown"] | content["shown_large"])
    texts = excerpts.of(source, root, shown) if subject.kind == "text" else {}
    page.write(source, root, subject.kind, content, texts, out / PAGE)
    beside = [
        image | {"found": f"{kind} {other['path']}"}
        for kind, several in (("copy of", copies), ("nearly the same as", pairs))
        for pair in several
        for image, other in (pair["images"], pair["images"][::-1])
    ]
    sheet.write(sheet.table(subject, [*suspects, *outliers, *beside]), texts, out / SHEET)
    return Audit(found, suspects, overlaps, metrics, texts, [out / PAGE, out / SHEET])


def _copies(subject: Subject) -> list[tuple[int, int]]:
    """The first of each group of copies beside each of the others, those of two labels first, none that is decided."""
    left = np.setdiff1d(np.arange(len(subject.copies)), subject.decided)
    groups = pd.Series(left).groupby(subject.copies[left])
    pairs = [(int(rows.iloc[0]), int(other)) for _, rows in groups for other in rows.iloc[1:]]
    return sorted(pairs, key=lambda pair: bool(subject.targets[pair[0]] == subject.targets[pair[1]]))


def _overlaps(found: Findings, listing: Listing) -> list[dict[str, Any]]:
    targets, classes = listing.subject.targets[found.suspects["row"]], listing.subject.classes
    shown = []
    for one in found.overlaps.head(OVERLAPS).to_dict("records"):
        a, b = int(one["a"]), int(one["b"])
        taken = {
            f"{classes[x]} taken for {classes[y]}": _first(found.suspects, (targets == x), y, listing)
            for x, y in ((a, b), (b, a))
        }
        shown.append(
            {
                "a": classes[a], "b": classes[b], "a_as_b": int(one["a_as_b"]), "b_as_a": int(one["b_as_a"]),
                "share": float(one["share"]), "examples": {name: images for name, images in taken.items() if images},
            }
        )  # fmt: skip
    return shown


def _first(suspects: pd.DataFrame, of_class: np.ndarray, taken_for: int, listing: Listing) -> list[dict[str, Any]]:
    rows = suspects.loc[of_class & (suspects["suggested"] == taken_for), "row"].head(EXAMPLES)
    return [listing.image(int(row), "") for row in rows]


def _shown(
    suspects: list[dict[str, Any]],
    outliers: list[dict[str, Any]],
    pairs: list[dict[str, Any]],
    overlaps: list[dict[str, Any]],
) -> set[str]:
    """Paths of the images of which the page has small pictures."""
    images = list(outliers)
    images += [image for one in suspects for image in one["neighbours"]]
    images += [image for pair in pairs for image in pair["images"]]
    images += [image for one in overlaps for several in one["examples"].values() for image in several]
    return {image["path"] for image in images}
