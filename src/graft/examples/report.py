"""A page about the data: counts, sizes, samples, copies side by side, what was set aside. One file, self-contained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd

from graft.errors import DataError
from graft.examples import catalogue, split, thumbnails
from graft.examples.checks import duplicates, quarantine
from graft.examples.sources.base import SPLITS
from graft.examples.split import UNUSED

if TYPE_CHECKING:
    from graft.pipeline.layout import Paths

TEMPLATE = Path(__file__).with_name("report.html.j2")
SAMPLES = 10
MOST_CLASSES = 100
MOST_GROUPS = 60
MOST_ASIDE = 500
BINS = 12

SHOWN_ASIDE = (
    "conflicting labels", "too small", "animation", "several pages", "dark 16-bit values", "junk between headers",
    "wrong extension", "no label",
)  # fmt: skip
"""Reasons for which the image itself can be shown. The others cannot, or should not, be decoded."""

FINDINGS = ("conflicting labels", "across splits", "within a split")


def write(source: str, root: Path, prepared: Paths, output: Path) -> None:
    """Read what `prepare` wrote, and the images it shows; an image that is not here leaves its place empty.

    Raises DataError where `prepare` has not run.
    """
    written = (prepared.catalogue, prepared.split, prepared.quarantine, prepared.duplicates, prepared.prepare_metrics)
    missing = [str(path) for path in written if not path.exists()]
    if missing:
        raise DataError(f"{', '.join(missing)}: must exist to be reported. Run `dvc repro prepare` or `dvc pull`.")
    try:
        images = catalogue.read(prepared.catalogue)
        used = images.used.assign(split=UNUSED)
        for name, rows in split.read(prepared.split, used).rows.items():
            used.loc[rows, "split"] = name
        aside = quarantine.read(prepared.quarantine)
        copies = duplicates.read(prepared.duplicates)
        metrics = json.loads(prepared.prepare_metrics.read_text())
        if not {"found", "quarantined_for", "duplicates", "split"} <= set(metrics) or not len(used):
            raise ValueError("counts of another version, or no image")
    except (ValueError, KeyError, OSError) as error:
        raise DataError(
            f"{prepared.catalogue.parent}: must be what `prepare` wrote. Got: {error}. Run `dvc repro`."
        ) from None
    samples = _samples(used, images.classes)
    groups = _groups(copies)
    listed = aside.head(MOST_ASIDE)

    wanted = {path for _, rows in samples for path, _ in rows} | {row["path"] for _, rows in groups for row in rows}
    wanted |= set(listed.loc[listed["reason"].isin(SHOWN_ASIDE), "path"])
    pictures = thumbnails.of(source, root, sorted(wanted))
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        source=source,
        root=root,
        metrics=metrics,
        splits=[*SPLITS, UNUSED],
        classes=_class_counts(used),
        sizes=[
            _histogram("shorter side, pixels", used[["width", "height"]].min(axis=1)),
            _histogram("width / height", used["width"] / used["height"]),
            _histogram("file size, KB", used["bytes"] / 1000),
        ],
        samples=samples,
        more_classes=max(0, len(images.classes) - MOST_CLASSES),
        groups=groups,
        more_groups=max(0, copies["group"].nunique() - MOST_GROUPS),
        aside=listed.to_dict("records"),
        more_aside=max(0, len(aside) - MOST_ASIDE),
        thumbnails=pictures,
        side=thumbnails.SIDE,
        prepared=prepared,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text + "\n", encoding="utf-8")


def _class_counts(used: pd.DataFrame) -> list[dict[str, Any]]:
    """Per class: name, total, and images and share of the largest class per split."""
    counts = pd.crosstab(used["label"], used["split"]).reindex(columns=[*SPLITS, UNUSED], fill_value=0)
    totals = counts.sum(axis=1)
    largest = max(int(totals.max()), 1)
    return [
        {
            "name": str(label),
            "total": int(row.sum()),
            "counts": {str(name): int(n) for name, n in row.items()},
            "shares": {str(name): 100 * int(n) / largest for name, n in row.items()},
        }
        for label, row in counts.iterrows()
    ]


def _histogram(title: str, values: pd.Series) -> dict[str, Any]:
    """Bars over equal steps of the logarithm, since sizes spread over magnitudes."""
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, BINS + 1) if high > low > 0 else np.array([low, high])
    edges[0], edges[-1] = low, high
    counts = np.histogram(values, edges)[0] if high > low else np.array([len(values)])
    bars = [
        {"label": f"{a:.3g} to {b:.3g}", "n": int(n), "share": 100 * int(n) / max(int(counts.max()), 1)}
        for a, b, n in zip(edges, edges[1:], counts, strict=False)
    ]
    return {
        "title": title,
        "median": f"{values.median():.3g}",
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "bars": bars,
    }


def _samples(used: pd.DataFrame, classes: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(class, [(path, split)]): the first by sha256, which is as good as at random and always the same."""
    first = used.sort_values("sha256").groupby("label").head(SAMPLES)
    return [
        (name, list(first.loc[first["label"] == name, ["path", "split"]].itertuples(index=False, name=None)))
        for name in list(classes)[:MOST_CLASSES]
    ]


def _groups(copies: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """(finding, rows) per group of copies, the worst first."""
    groups: list[tuple[str, list[dict[str, Any]]]] = [
        (str(rows["finding"].iloc[0]), [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")])
        for _, rows in copies.groupby("group")
    ]
    return sorted(groups, key=lambda group: FINDINGS.index(group[0]))[:MOST_GROUPS]
