"""What the cache of features holds, as a table."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from graft.cache import folder_for
from graft.features import cache as features

WIDTH = 160


def cache() -> None:
    """Print a row per fingerprint, the one used last first."""
    table = Table(box=None, pad_edge=False)
    for name in ("backbone", "weights", "input", "engine", "kept for each image", "cut", "of", "MB", "used"):
        table.add_column(name, justify="right" if name == "MB" else "left")
    held = features.held()
    for one in held:
        what = one.what
        alpha = f" {what['alpha']:g}" if what["alpha"] is not None else ""
        table.add_row(
            f"{what['backbone']}{alpha}",
            what["weights_sha256"][:12],
            f"{what['input_size']} {what['resize']} {what['interpolation']}",
            f"{what['engine']} {what['precision']}",
            " + ".join(f"{'x'.join(map(str, part['shape']))} {part['dtype']}" for part in what["parts"]),
            what["cut"] or "-",
            "views" if what["augment"] else "plain",
            f"{one.n_bytes / 1e6:.0f}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used)),
        )
    console = Console(width=max(WIDTH, Console().width))
    console.print(table)
    total = sum(one.n_bytes for one in held) / 1e9
    console.print(
        f"{total:.2f} GB of features in {folder_for(features.KIND)}; limit {features.limit_bytes() / 1e9:g} GB "
        f"({features.LIMIT_VARIABLE})",
        soft_wrap=True,
        highlight=False,
    )
