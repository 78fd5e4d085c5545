"""What is not decoded at all: a few bytes can claim more pixels than there is memory for."""

from __future__ import annotations

from graft.inputs.image.decode import only_undecodable, open_lazily
from graft.inputs.spec import UndecodableError

MOST_PIXELS = 89_478_485
"""Of an image, width x height: the default of `data.max_pixels`, and from which Pillow warns of a bomb."""


def require_pixels(data: bytes, most: int = MOST_PIXELS) -> None:
    """Raises UndecodableError where an image has more than `most` pixels, by its header, or none can be read."""
    with only_undecodable():
        width, height = open_lazily(data).size
    if width * height > most:
        raise UndecodableError("too large", f"{width} x {height} pixels, more than {most:,}")
