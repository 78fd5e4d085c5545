"""Write `cuts.json` from the networks themselves: `make cuts`."""

from __future__ import annotations

import json

import keras
from tqdm import tqdm

from graft.backbones import cuts, known_cuts
from graft.backbones.table import BACKBONES


def main() -> None:
    table = {}
    for name, row in tqdm(BACKBONES.items(), "building"):
        keras.backend.clear_session()
        model = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=(row.default_input_size, row.default_input_size, 3)
        )
        points = cuts.derive(model)
        table[name] = {
            "layers": points.layers,
            "points": {cut: [point.layers, point.shape, point.below] for cut, point in points.points.items()},
        }
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in table.items()]
    known_cuts.FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
