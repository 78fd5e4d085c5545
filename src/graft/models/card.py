"""What a model is, in a file beside it: enough to use the model without params.yaml."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graft.errors import StaleError

PREPROCESSING = {
    "tf": "x / 127.5 - 1",
    "torch": "(x / 255 - mean) / std with mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225)",
    "caffe": "RGB to BGR, minus (103.939, 116.779, 123.68)",
    "unit": "x / 255",
    "tokens": "the number of each token and 1, and its segment; zeros are padding",
    "built-in": "none before the network, which does it itself",
}
"""What happens to pixels in [0, 255] inside the model, before the network; of a text, what the model reads.

Of KerasHub's networks for images, what their own files say of it (`vision.Rescaling`).
"""


def make(
    classes: Sequence[str],
    made_with: Mapping[str, Any],
    cut: str | None,
    weights_sha256: str,
    validation: Mapping[str, float],
    temperature: float | None,
) -> dict[str, Any]:
    """made_with: of the features' meta.json. cut: where fine-tuning started, None where there was none.

    weights_sha256: of the model's own weights. validation: what `finetune` saw, {} where nothing was held out.
    temperature: by which the logits were divided, in the model; None, and no line of the card, where they were not.
    """
    return ({} if temperature is None else {"temperature": temperature}) | {
        "classes": list(classes),
        "input": dict(made_with["input"]),
        "preprocessing": {
            "name": made_with["preprocessing"],
            "in_model": made_with.get("rescaling", PREPROCESSING[made_with["preprocessing"]]),
        },
        "backbone": {key: made_with[key] for key in ("alpha", "weights_sha256")} | {"name": made_with["backbone"]},
        "finetuned_from": cut,
        "weights_sha256": weights_sha256,
        "validation": dict(validation),
    }


def write(card: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """As written. Raises StaleError where it is missing or not readable."""
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StaleError(
            f"{path}: must be a model's card, written by `finetune`. Run `dvc repro`. Got: {error}"
        ) from None
    return card
