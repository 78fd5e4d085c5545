"""KerasHub, which text networks need and nothing else does: it takes seconds to import."""

from __future__ import annotations

from typing import Any

from graft.errors import BackboneError


def keras_hub() -> Any:
    """The package; from then on Keras knows its layers. Raises BackboneError where it is not installed."""
    try:
        import keras_hub as hub
    except ImportError as error:
        raise BackboneError(
            f"a text network needs KerasHub ({error}). Install it: pip install 'graft-transfer[text]'."
        ) from None
    return hub
