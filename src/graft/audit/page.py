"""The page: suspects beside their nearest neighbours, overlaps, outliers, pairs. One file, self-contained.

Images are shown as pictures, texts as their beginnings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from graft.examples import thumbnails

LARGE = 160
"""Pixels of a suspect's longer side: whether a label is wrong may be a matter of a sleeve."""

TEMPLATE = Path(__file__).with_name("page.html.j2")


def write(source: str, root: Path, kind: str, content: dict[str, Any], texts: dict[str, list[str]], file: Path) -> None:
    """content: what the template shows, with `shown` and `shown_large`, the paths of the examples that are shown; one
    that is not here stays empty. kind: of the examples. texts: path -> the texts of one, where they are texts.
    """
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    small, large = ([] if kind == "text" else sorted(content[name]) for name in ("shown", "shown_large"))
    pictures, larger = thumbnails.of(source, root, small), thumbnails.of(source, root, large, LARGE)
    text = page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        **content, kind=kind, source=source, root=root, texts=texts, thumbnails=pictures, large=larger,
        side=thumbnails.SIDE, large_side=LARGE,
    )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
