"""Print a hash of the heads that are solved, `numerics: portable`: the same lines on every x86-64 processor with AVX2.

    python tests/portable/solved.py
    PYTHONPATH=src qemu-x86_64 -cpu Haswell $(which python) tests/portable/solved.py

Emulated, it takes some minutes, most of them to import scikit-learn.
"""

from __future__ import annotations

import hashlib

from graft.runtime.computing import numerics

N, VIEWS, WIDTH, N_CLASSES = 300, 3, 448, 4


def main() -> None:
    numerics.apply("portable")  # before NumPy is imported
    import numpy as np

    from graft.convex import logistic, ridge

    rng = np.random.default_rng(0)
    targets = np.arange(N) % N_CLASSES
    centres = rng.normal(size=(N_CLASSES, WIDTH))
    noise = rng.normal(size=(N, VIEWS, WIDTH))
    features = np.maximum(0.1 * centres[targets, None] + noise, 0).astype(np.float32)
    weights = rng.uniform(0.5, 2, N)
    ways = {
        "ridge": lambda: ridge.solve(lambda rows: features[rows], targets, weights, N_CLASSES),
        "logistic": lambda: logistic.solve(lambda rows: features[rows, 0], targets, weights, N_CLASSES),
    }
    for name, solve in ways.items():
        found = solve()
        digest = hashlib.sha256(found.kernel.tobytes() + found.bias.tobytes()).hexdigest()[:16]
        print("STEPS", name, digest, flush=True)


if __name__ == "__main__":
    main()
