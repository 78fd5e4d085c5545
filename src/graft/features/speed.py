"""How many images a second a network of the table takes on this machine: measured once, and kept in graft's cache."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np

from graft.backbones import build
from graft.backbones.automatic import FULL_WIDTH
from graft.backbones.table import Backbone
from graft.features import engines
from graft.features.engines import portable
from graft.runtime.computing import numerics
from graft.runtime.cores import available
from graft.runtime.database import Database

SECONDS = 3.0
"""A measurement takes this long, and building the network beside it."""


def known(row: Backbone) -> float | None:
    """Images/s as measured here before; None where nothing was."""
    value = Database.opened("speeds").get([_key(row)])[0]
    return None if value is None else float(value)


def measure(row: Backbone) -> float:
    """Images/s of the frozen network at its usual size and full width, as `extract` computes it by default: float32,
    `numerics: portable`, a call at a time on each core. Decoding is not in it.

    numerics.apply and start_tensorflow must have been called. Weights change no speed: they are random.
    """
    alpha = FULL_WIDTH if row.alphas else None
    side = row.default_input_size
    network = build.feature_model(build.build(row.name, alpha, side, "random", 0), "avg")
    how = portable.depends_on(row.name, alpha)
    engine = engines.resolve("auto", "portable", how != portable.NONE)
    capped = not portable.uncapped_is_equal(row.name, alpha, engine, "float32")
    forward = engines.ENGINES[engine](network, {"pixels": ((side, side, 3), "uint8")}, "float32", capped)
    batch = {"pixels": np.zeros((forward.batch_size, side, side, 3), np.uint8)}
    end = time.perf_counter() + SECONDS

    def calls(_: int) -> int:
        done = 0
        while time.perf_counter() < end or not done:
            forward.run(batch)
            done += 1
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(available()) as pool:
        n_images = sum(pool.map(calls, range(available()))) * forward.batch_size
    rate = n_images / (time.perf_counter() - began)
    Database.opened("speeds").put([(_key(row), f"{rate:.3g}".encode())])
    return rate


def _key(row: Backbone) -> bytes:
    machine = f"{numerics.instruction_set('native', False)} {available()}"
    libraries = [version(name) for name in ("tensorflow", "openvino")]
    text = " ".join([row.name, str(row.default_input_size), machine, *libraries])
    return hashlib.blake2b(text.encode(), digest_size=20).digest()
