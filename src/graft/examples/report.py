"""A page about the data: counts, sizes, samples, copies side by side, what was set aside. One file, self-contained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd

from graft.errors import DataError
from graft.examples import catalogue, excerpts, split, thumbnails
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


@dataclass(frozen=True)
class Shown:
    """What the page shows of a kind of example. sizes: charts by their titles, (title, values of the used rows).

    heading: above them. found: what the source's files or rows are called. aside: reasons for which the example itself
    can be shown; the others cannot, or should not, be decoded. of(source, root, paths): path -> what stands in its
    place, of those that are here.
    """

    sizes: tuple[tuple[str, Callable[[pd.DataFrame], pd.Series]], ...]
    heading: str
    found: str
    aside: frozenset[str]
    of: Callable[[str, Path, Iterable[str]], dict[str, Any]]


SHOWN = {
    "image": Shown(
        (
            ("shorter side, pixels", lambda used: used[["width", "height"]].min(axis=1)),
            ("width / height", lambda used: used["width"] / used["height"]),
            ("file size, KB", lambda used: used["bytes"] / 1000),
        ),
        "Sizes of the images used",
        "files found",
        frozenset(
            {
                "conflicting labels", "too small", "animation", "several pages", "dark 16-bit values",
                "junk between headers", "wrong extension", "no label",
            }
        ),
        thumbnails.of,
    ),
    "text": Shown(
        (("characters", lambda used: used["characters"]), ("words", lambda used: used["words"])),
        "Lengths of the texts used",
        "texts and other files found",
        frozenset({"conflicting labels", "control characters", "byte order mark", "relabelled", "no label"}),
        excerpts.of,
    ),
}  # fmt: skip
"""data.kind -> its row."""

FINDINGS = ("conflicting labels", "across splits", "within a split")


def page(source: str, root: Path, prepared: Paths) -> str:
    """HTML of what `prepare` wrote, and of the examples it shows; one that is not here leaves its place empty.

    Raises DataError where `prepare` has not run.
    """
    written = (prepared.catalogue, prepared.split, prepared.quarantine, prepared.duplicates, prepared.prepare_metrics)
    missing = [str(path) for path in written if not path.exists()]
    if missing:
        raise DataError(f"{', '.join(missing)}: must exist to be reported. Run `dvc repro prepare` or `dvc pull`.")
    try:
        examples = catalogue.read(prepared.catalogue)
        used = examples.used.assign(split=UNUSED)
        for name, rows in split.read(prepared.split, used).rows.items():
            used.loc[rows, "split"] = name
        aside = quarantine.read(prepared.quarantine)
        copies = duplicates.read(prepared.duplicates)
        metrics = json.loads(prepared.prepare_metrics.read_text())
        if not {"found", "quarantined_for", "duplicates", "split"} <= set(metrics) or not len(used):
            raise ValueError("counts of another version, or no example")
    except (ValueError, KeyError, OSError) as error:
        raise DataError(
            f"{prepared.catalogue.parent}: must be what `prepare` wrote. Got: {error}. Run `dvc repro`."
        ) from None
    kind = catalogue.kind_of(used)
    shown = SHOWN[kind]
    samples = _samples(used, examples.classes)
    groups = _groups(copies)
    listed = aside.head(MOST_ASIDE)

    wanted = {path for _, rows in samples for path, _ in rows} | {row["path"] for _, rows in groups for row in rows}
    wanted |= set(listed.loc[listed["reason"].isin(shown.aside), "path"])
    pages = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = pages.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        source=source,
        root=root,
        metrics=metrics,
        splits=[*SPLITS, UNUSED],
        classes=_class_counts(used),
        kind=kind,
        shown=shown,
        sizes=[_histogram(title, values(used)) for title, values in shown.sizes],
        samples=samples,
        more_classes=max(0, len(examples.classes) - MOST_CLASSES),
        groups=groups,
        more_groups=max(0, copies["group"].nunique() - MOST_GROUPS),
        aside=listed.to_dict("records"),
        more_aside=max(0, len(aside) - MOST_ASIDE),
        looks=shown.of(source, root, sorted(wanted)),
        side=thumbnails.SIDE,
        prepared=prepared,
    )
    return f"{text}\n"


def _class_counts(used: pd.DataFrame) -> list[dict[str, Any]]:
    """Per class: name, total, and examples and share of the largest class per split."""
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
