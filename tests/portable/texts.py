"""Features of a tiny text network, and six steps of fine-tuning its last block and the whole of it, as hashes.

python tests/portable/texts.py [FOLDER]     FOLDER: a BERT in Hugging Face's layout; else a tiny one is made
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from graft.runtime.computing import numerics

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TEXTS = [f"{'where is my card ' * (1 + i % 3)}{'lost' if i % 2 else 'not'} {i}?" for i in range(24)]
VALUES = {
    "finetune.optimizer": "adamw",
    "finetune.steps": 6,
    "finetune.epochs": None,
    "finetune.batch_size": 8,
    "finetune.monitor": "loss",
    "finetune.label_smoothing": 0.1,
}


def main() -> None:
    numerics.apply("portable")
    from graft.runtime.computing.tensorflow import start_tensorflow

    start_tensorflow()
    if sys.argv[1:]:
        compute(sys.argv[1])
        return
    import text_network

    with tempfile.TemporaryDirectory() as folder:
        compute(str(text_network.write(Path(folder))))


def compute(folder: str) -> None:
    """Print a line for each of what is compared."""
    from graft.backbones import build, encoders, text
    from graft.features.engines import ENGINES
    from graft.inputs.batches import stacked
    from graft.inputs.text import tokenizer
    from graft.inputs.text.spec import TextInput
    from graft.models import assemble, heads
    from graft.training import shards

    def load() -> build.Loaded:
        return build.build("Bert", None, 0, folder, 0)

    loaded = load()
    cut = [layer.name for layer in loaded.model.layers if layer.name.startswith(text.BLOCK)][-1]
    spec = TextInput(tokenizer.read(folder), 32)
    rows = [((str(i), 0), spec.arrays(one.encode(), "", [0])[0]) for i, one in enumerate(TEXTS)]
    tokens = stacked(rows)[1]["tokens"]
    network = build.feature_model(loaded, "avg", cut, (build.FEATURES, build.ACTIVATIONS))
    pooled, activations = ENGINES["tensorflow"](network, spec.signature(), "float32", True).run({"tokens": tokens})
    print("FEATURES", "texts", digest([pooled]), digest([activations]), flush=True)
    for where, inputs in ((cut, activations), (encoders.FIRST, tokens.astype(np.float32))):
        loaded = load()
        head = heads.build("linear", {"pooling": "avg", "dropout": 0.1}, pooled.shape[1:], 2, 0)
        model = assemble.classifier(loaded, "avg", head)
        assemble.unfreeze(loaded, where, True)  # dropout within the network is drawn too
        above = assemble.above(model, where, True)
        step(above, inputs)
        print(
            "STEPS", f"texts-{where}", digest(above.get_weights()), digest([shards.predict(above, inputs)]), flush=True
        )


def step(model: Any, inputs: np.ndarray) -> None:
    from conftest import params_of
    from graft.training.batches import Examples
    from graft.training.fit import fit

    n = len(inputs)
    train = Examples(np.arange(n), np.arange(n) % 2, np.ones(n, np.float32))
    none = Examples(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    fit(
        model, params_of(VALUES).finetune, 0, 2, train, lambda rows, _: inputs[rows], none, lambda rows, _: inputs[rows]
    )


def digest(arrays: list[np.ndarray]) -> str:
    state = hashlib.sha256()
    for one in arrays:
        state.update(np.ascontiguousarray(one, np.float32).tobytes())
    return state.hexdigest()[:16]


if __name__ == "__main__":
    main()
