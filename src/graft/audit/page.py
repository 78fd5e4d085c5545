"""The page: suspects beside their nearest neighbours, overlaps, outliers, pairs. One file, self-contained.

Images are shown as pictures, texts as their beginnings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from graft.examples import excerpts, thumbnails

LARGE = 160
"""Pixels of a suspect's longer side: whether a label is wrong may be a matter of a sleeve."""

TEMPLATE = Path(__file__).with_name("page.html.j2")


def write(source: str, root: Path, kind: str, content: dict[str, Any], file: Path) -> None:
    """content: what the template shows, with `shown` and `shown_large`, the paths of the examples that are shown; one
    that is not here stays empty. kind: of the examples.
    """
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    small, large = sorted(content["shown"]), sorted(content["shown_large"])
    if kind == "text":
        texts = excerpts.of(source, root, sorted({*small, *large}))
        shown = {"texts": texts, "thumbnails": {}, "large": {}}
    else:
        pictures = thumbnails.of(source, root, small), thumbnails.of(source, root, large, LARGE)
        shown = {"texts": {}, "thumbnails": pictures[0], "large": pictures[1]}
    text = page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        **content, **shown, kind=kind, source=source, root=root, side=thumbnails.SIDE, large_side=LARGE
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
