"""The page: suspects beside their nearest neighbours, overlaps, outliers, pairs. One file, self-contained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from graft.examples import thumbnails

TEMPLATE = Path(__file__).with_name("page.html.j2")


def write(source: str, root: Path, content: dict[str, Any], file: Path) -> None:
    """content: what the template shows, with `shown`, the paths of the pictures; one that is not here stays empty."""
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pictures = thumbnails.of(source, root, sorted(content["shown"]))
    text = page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        **content, source=source, root=root, thumbnails=pictures, side=thumbnails.SIDE
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
