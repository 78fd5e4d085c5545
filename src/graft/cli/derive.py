"""Write the tables that are derived from the networks themselves. For who adds a backbone:

python -m graft.cli.derive cuts                 backbones/cuts.json: `make cuts`
python -m graft.cli.derive portable [NAME...]   features/engines/portable.json: `make portable-table`
python -m graft.cli.derive presets              presets/*.yaml, from params.yaml and their own values: `make presets`
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from graft.backbones import build, cuts, known_cuts
from graft.backbones.automatic import FULL_WIDTH
from graft.backbones.table import BACKBONES
from graft.features.engines import portable
from graft.presets import files
from graft.project import template
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow

if TYPE_CHECKING:
    import keras

CUTS = 3
"""Cuts, evenly spread, at which activations are compared."""

UNCAPPED = "has a layer that no cap reaches"

MOST_PARAMETERS = 60e6
"""A larger network is tried at its smallest size only."""


def derive_cuts() -> None:
    """Cut points of every network at its usual size and full width."""
    numerics.apply("portable")
    start_tensorflow()
    import keras

    table = {}
    for name, row in tqdm(BACKBONES.items(), "building"):
        keras.backend.clear_session()
        alpha = FULL_WIDTH if row.alphas else None
        points = cuts.derive(build.build(name, alpha, row.default_input_size, "random", 0).model)
        table[name] = {
            "layers": points.layers,
            "parameters": points.parameters,
            "multiply_adds": points.multiply_adds,
            "points": {cut: [point.layers, point.shape, point.below] for cut, point in points.points.items()},
        }
    _write(known_cuts.FILE, table)


def _write(file: Path, table: dict[str, Any]) -> None:
    """A line for each network."""
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in table.items()]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def derive_portable(names: list[str]) -> None:
    """Compare what OpenVINO computes with and without the cap on its instructions, at two sizes and every width.

    On a processor with more than AVX2, or the comparison says nothing. NONE is by layers, since a cap does not reach
    them: OpenVINO computes LayerNorm with an approximate root, and means over maps of 8, 24, 40, ... channels with the
    widest instructions there are, as an emulated processor has shown (tests/portable/compare.py).
    """
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        sys.exit("derive: needs a processor with AVX-512; on this one, capped and uncapped are the same thing")
    table = portable.table() if names else {}
    for name in tqdm(names or list(BACKBONES), "comparing"):
        row = BACKBONES[name]
        widths: dict[str, str] = {}
        for alpha in row.alphas or (None,):
            found = [_compared(name, alpha, side) for side in (row.min_input_size, row.default_input_size)]
            worst = max(found, key=(portable.ANY, portable.AVX2, portable.NONE).index)
            widths["-" if alpha is None else f"{alpha:g}"] = worst
        table[name] = widths
        _write(portable.FILE, {one: table[one] for one in BACKBONES if one in table})


def _compared(name: str, alpha: float | None, side: int) -> str:
    """ANY, AVX2 or NONE. Each way in a process of its own, since oneDNN reads its cap once."""
    command = [sys.executable, "-m", "graft.cli.derive", "hashes", name, str(alpha or ""), str(side)]
    said = [
        subprocess.run([*command, capped], env=os.environ, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        for capped in ("capped", "uncapped")
    ]
    if UNCAPPED in said[0]:
        return portable.NONE
    return portable.ANY if said[0] == said[1] else portable.AVX2


def print_hashes(name: str, alpha: float | None, side: int, capped: bool) -> None:
    """The features and activations of two images at CUTS cuts, of weights that are drawn but always the same."""
    numerics.apply("portable")
    start_tensorflow()
    from graft.features.engines import ENGINES

    loaded = build.build(name, alpha, side, "random", 0)
    draw_weights(loaded.model, zlib.crc32(f"{name} {alpha}".encode()))
    usual = side == BACKBONES[name].default_input_size != BACKBONES[name].min_input_size
    if any(_is_never_capped(layer) for layer in loaded.model.layers):
        print_line(UNCAPPED)
        return
    if usual and loaded.model.count_params() > MOST_PARAMETERS:
        return
    points = list(cuts.derive(loaded.model).points)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    places = [points[round(place)] for place in np.linspace(0, len(points) - 1, CUTS + 2)[1:-1]] if points else [None]
    for cut in places:
        wanted = (build.FEATURES, build.ACTIVATIONS) if cut else (build.FEATURES,)
        network = build.feature_model(loaded, "avg", cut, wanted)
        forward = ENGINES["openvino"](network, {"pixels": ((side, side, 3), "uint8")}, "float32", capped)
        for output in forward.run({"pixels": images}):
            print_line(hashlib.sha256(output.tobytes()).hexdigest())


def _is_never_capped(layer: Any) -> bool:
    """Whether OpenVINO computes a layer otherwise on another processor, whatever the cap is."""
    kind = type(layer).__name__
    return kind == "LayerNormalization" or (kind == "GlobalAveragePooling2D" and layer.input.shape[-1] % 16 == 8)


def draw_weights(model: keras.Model, seed: int) -> None:
    """Give every weight a plausible value: activations stay finite, of the order of 1, and depend on the image.

    Kernels: normal, variance 2 / fan-in (He et al. 2015, https://arxiv.org/abs/1502.01852). BatchNorm: every channel
    another. What is added to a shortcut is damped, or the sum would double with every block.
    """
    rng = np.random.default_rng(seed)
    damped = _added_to_shortcuts(model)
    for layer in model.layers:
        for variable in layer.weights:
            kind, shape = variable.path.split("/")[-1], tuple(variable.shape)
            damp = 0.3 if layer.name in damped and kind in ("gamma", "kernel") else 1.0
            if type(layer).__name__ == "Normalization":  # EfficientNet's own: mean, variance and count of the pixels
                continue
            if len(shape) > 1:
                fan_in = shape[0] * shape[1] if "depthwise" in variable.path else int(np.prod(shape[:-1]))
                value = rng.normal(0, np.sqrt(2 / fan_in), shape) * damp
            elif kind in ("gamma", "moving_variance"):
                value = rng.uniform(0.7, 1.3, shape) * damp
            else:  # beta, bias, moving_mean
                value = rng.normal(0, 0.1, shape)
            variable.assign(value.astype(np.float32))


def _added_to_shortcuts(model: keras.Model) -> set[str]:
    """Names of the layers with weights whose output goes, maybe through layers without, into an addition."""
    makers = {id(t): layer for layer in model.operations for t in layer._inbound_nodes[0].outputs}
    found = set()
    for layer in model.operations:
        if type(layer).__name__ not in ("Add", "CustomScaleLayer"):
            continue
        for tensor in layer._inbound_nodes[0].input_tensors:
            maker = makers[id(tensor)]
            while type(maker).__name__ in ("Dropout", "Activation", "ReLU", "StochasticDepth"):
                maker = makers[id(maker._inbound_nodes[0].input_tensors[0])]
            if type(maker).__name__ in ("BatchNormalization", "LayerScale", "Conv2D"):
                found.add(maker.name)
    return found


def print_line(text: str) -> None:
    """To standard output, for the process that compares."""
    sys.stdout.write(f"{text}\n")


def rewrite_presets() -> None:
    """Every preset with its own values in the params.yaml of today."""
    for name in files.names():
        (template.folder(files.FOLDER) / f"{name}.yaml").write_text(files.rewritten(files.get(name)), encoding="utf-8")


def main() -> None:
    """See the top of this file."""
    what, *rest = sys.argv[1:] or [""]
    if what == "cuts":
        derive_cuts()
    elif what == "portable":
        derive_portable(rest)
    elif what == "presets":
        rewrite_presets()
    elif what == "hashes":
        name, alpha, side, capped = rest
        print_hashes(name, float(alpha) if alpha else None, int(side), capped == "capped")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
