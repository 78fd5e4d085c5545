"""The page: suspects beside their nearest neighbours, overlaps, outliers, pairs. One file, self-contained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from graft.examples import thumbnails

LARGE = 160
"""Pixels of a suspect's longer side: whether a label is wrong may be a matter of a sleeve."""

TEMPLATE = Path(__file__).with_name("page.html.j2")


def write(source: str, root: Path, content: dict[str, Any], file: Path) -> None:
    """content: what the template shows, with `shown` and `shown_large`, the paths of the pictures; one that is not here
    stays empty.
    """
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pictures = thumbnails.of(source, root, sorted(content["shown"]))
    large = thumbnails.of(source, root, sorted(content["shown_large"]), LARGE)
    text = page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        **content, source=source, root=root, thumbnails=pictures, large=large, side=thumbnails.SIDE, large_side=LARGE
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
