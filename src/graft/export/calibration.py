"""What int8 is calibrated with: images of the training side, and views of them where the head saw views."""

from __future__ import annotations

import numpy as np

from graft.inputs.batches import Read, Task, batches
from graft.inputs.image.spec import PIXELS, ImageInput
from graft.runtime.progress import track

BATCH = 32


def squares(
    spec: ImageInput, read: Read, paths: list[str], sha256s: list[str], rows: np.ndarray, n_images: int, views: int
) -> np.ndarray:
    """(n, side, side, 3) uint8, n the smaller of n_images and len(rows).

    rows: of the training side, from which n are taken evenly. views: augmented ones of each image; the k-th image comes
    as view k modulo 1 + views, so that images as they are and every view are among them.
    """
    taken = rows[np.unique(np.linspace(0, len(rows) - 1, min(n_images, len(rows))).round().astype(int))]
    tasks = [Task(paths[row], sha256s[row], (k % (1 + views),)) for k, row in enumerate(taken)]
    found = (arrays[PIXELS] for _, arrays in batches(spec, read, tasks, BATCH))
    return np.concatenate(list(track(found, len(tasks), "calibration images", len)))
