"""COCO's annotations (https://cocodataset.org/#format-data), where all those of an image are of one category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graft.errors import DataError
from graft.examples.sources.tables.columns import require_one_label
from graft.examples.sources.tables.table import Table

PARTS = ("images", "annotations")


def is_one(tree: Mapping[str, Any]) -> bool:
    """Whether an object is COCO's. Its categories may lack; numbers are the labels then."""
    return all(isinstance(tree.get(part), list) for part in PARTS)


def table(tree: Mapping[str, Any], file: str) -> Table:
    """Columns path and label, an image a row; "" where it has no annotation.

    Raises DataError where an annotation leads nowhere, or images have several categories.
    """
    try:
        names = {one["id"]: str(one["name"]) for one in tree.get("categories") or []}
        paths = {one["id"]: str(one["file_name"]) for one in tree["images"]}
        labels: dict[Any, dict[str, None]] = {image: {} for image in paths}
        for number, one in enumerate(tree["annotations"], start=1):
            image, category = one["image_id"], one["category_id"]
            for part, known, got in (("image", paths, image), ("category", names, category)):
                if known and got not in known:
                    raise DataError(
                        f"{file}, annotation {number}: must be of {part} ids that the file has. Got {got!r}. "
                        "Correct the file."
                    )
            labels[image][names.get(category, str(category))] = None
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file}: must have an id and a file_name for each image, image_id and category_id for each annotation, "
            f"id and name for each category, as COCO has. Got {type(error).__name__}: {error}. Correct the file."
        ) from None
    if len(paths) < len(tree["images"]):
        raise DataError(f"{file}: must have an id of its own for each image. Got one twice. Correct the file.")
    per_image = [list(found) for found in labels.values()]
    require_one_label(per_image, lambda i: f"{file}, {list(paths.values())[i]}")
    rows = [[path, *(label or [""])] for path, label in zip(paths.values(), per_image, strict=True)]
    return Table(file, ["path", "label"], rows, list(range(1, len(rows) + 1)), "image")
