"""Print a hash of features and activations as `extract` computes them, `numerics: portable`.

    python tests/portable/features.py
    PYTHONPATH=src qemu-x86_64 -cpu Haswell $(which python) tests/portable/features.py

A name chooses another case: a network, its width and size, and where it is cut (None: the pooled outputs of all
blocks). One for each process, since oneDNN reads once which instructions it may use.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys

import numpy as np

from graft.runtime.computing import numerics

CASES: dict[str, tuple[str, float | None, int, str, str | None]] = {
    "mobilenet": ("MobileNetV2", 0.35, 96, "bundled", "block_13_expand"),  # openvino, all instructions
    "taps": ("MobileNetV2", 0.35, 96, "bundled", None),  # the pooled outputs of all blocks, held to AVX2
    "resnet": ("ResNet50", None, 32, "random", "conv4_block4_1_conv"),  # openvino, held to AVX2
    "mobilenet_v3": (
        "MobileNetV3Small",
        1.0,
        64,
        "random",
        "expanded_conv_8_expand",
    ),  # tensorflow: pools of 120 channels
    "convnext": ("ConvNeXtTiny", None, 32, "random", "convnext_tiny_stage_3_block_0_depthwise_conv"),  # tensorflow
}


def main() -> None:
    numerics.apply("portable")
    from graft.runtime.computing.tensorflow import start_tensorflow

    start_tensorflow()
    from graft.backbones import build, taps
    from graft.features import engines
    from graft.features.engines import portable

    (case,) = sys.argv[1:] or ["mobilenet"]
    name, alpha, side, weights, cut = CASES[case]
    loaded = build.build(name, alpha, side, weights, 0)
    depends = portable.depends_on(name, alpha)
    engine = engines.resolve("auto", "portable", depends != portable.NONE)
    if cut is None:
        joined = dataclasses.replace(loaded, model=taps.joined(loaded.model, "avg"))
        network = build.feature_model(joined, "avg")
    else:
        network = build.feature_model(loaded, "avg", cut, (build.FEATURES, build.ACTIVATIONS))
    signature = {"pixels": ((side, side, 3), "uint8")}
    forward = engines.ENGINES[engine](network, signature, "float32", cut is None or depends != portable.ANY)
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3)).astype(np.uint8)
    parts = [forward.run({"pixels": pixels[i : i + 1]}) for i in range(len(pixels))]
    outputs = [np.concatenate(output) for output in zip(*parts, strict=True)]
    hashes = [hashlib.sha256(output.tobytes()).hexdigest()[:16] for output in outputs]
    print("FEATURES", case, engine, *hashes, flush=True)


if __name__ == "__main__":
    main()
