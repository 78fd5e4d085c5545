"""What examining an image found, and what that means for the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.examples.catalogue import USED
from graft.examples.checks import near_images
from graft.examples.checks.examined import Judgement, Looks
from graft.examples.sources.base import QUARANTINED, plain
from graft.inputs.image.formats import FORMATS

if TYPE_CHECKING:
    from graft.config.data import DataParams
    from graft.examining.image.examine import Verdict


def measured(verdict: Verdict, data: DataParams) -> tuple[int, int]:
    """Width and height, 0 where an image claims more pixels than it may have."""
    sized = verdict.width * verdict.height <= data.max_pixels
    return (verdict.width, verdict.height) if sized else (0, 0)


def judge(path: str, verdict: Verdict, data: DataParams) -> Judgement:
    pixels = verdict.width * verdict.height
    if pixels > data.max_pixels:  # before all else: without an older verdict it would not even have been decoded
        return QUARANTINED, "too many pixels", f"{pixels}, more than data.max_pixels {data.max_pixels}"
    if verdict.reason:
        return QUARANTINED, verdict.reason, plain(verdict.detail)
    if min(verdict.width, verdict.height) < data.min_side:
        size = f"{verdict.width} x {verdict.height}"
        return QUARANTINED, "too small", f"{size}, smaller than data.min_side {data.min_side}"
    remarks = list(verdict.remarks)
    extension = Path(path).suffix.lower()
    if extension and extension not in FORMATS[verdict.format].suffixes:
        remarks.append(("wrong extension", f"{verdict.format} in a {extension} file"))
    return USED, remarks[0][0] if remarks else "", "; ".join(detail for _, detail in remarks)


def copies(table: pd.DataFrame, looks: Looks, data: DataParams) -> np.ndarray:
    """(n,) int64: images with the same number are copies of one."""
    return near_images.groups(table["sha256"], looks, data.duplicates.near_distance)
