"""Features of tiny networks of KerasHub's for images, and six steps of fine-tuning the last block and all, as hashes.

python tests/portable/vision.py [NAME...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from graft.runtime.computing import numerics

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

POOLING = {"ViT": "avg", "DINOV2": "cls", "DINOV3": "cls", "SigLIP": "cls"}
PICTURES = 24


def main() -> None:
    numerics.apply("portable")
    from graft.runtime.computing.tensorflow import start_tensorflow

    start_tensorflow()
    import vision_network

    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or POOLING:
            compute(name, str(vision_network.write_preset(Path(folder) / name, name)))


def compute(name: str, folder: str) -> None:
    """Print a line for each of what is compared."""
    from texts import digest, step

    from conftest import params_of
    from graft.backbones import build, encoders, networks
    from graft.features.engines import ENGINES
    from graft.models import assemble, heads
    from graft.training import shards
    from vision_network import SIDE

    given = {"backbone.name": name, "backbone.weights": folder, "backbone.input_size": SIDE, "backbone.alpha": None}
    backbone, pooling = params_of(given).backbone, POOLING[name]
    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, SIDE, SIDE, 3)).astype(np.uint8)
    cut = "block_1"
    network = build.feature_model(networks.built(backbone, pooling), pooling, cut, (build.FEATURES, build.ACTIVATIONS))
    signature = {"pixels": ((SIDE, SIDE, 3), "uint8")}
    pooled, activations = ENGINES["tensorflow"](network, signature, "float32", True).run({"pixels": pixels})
    print("FEATURES", name, digest([pooled]), digest([activations]), flush=True)
    for where, inputs in ((cut, activations), (encoders.FIRST, pixels.astype(np.float32))):
        loaded = networks.built(backbone, pooling)
        head = heads.build("linear", {"pooling": pooling, "dropout": 0.1}, pooled.shape[1:], 2, 0)
        model = assemble.classifier(loaded, pooling, head)
        assemble.unfreeze(loaded, where, True)
        above = assemble.above(model, where, True)
        step(above, inputs)
        said = digest([shards.predict(above, inputs)])
        print("STEPS", f"{name}-{where}", digest(above.get_weights()), said, flush=True)


if __name__ == "__main__":
    main()
