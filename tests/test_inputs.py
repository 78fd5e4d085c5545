"""What an example is: every kind says the same things of itself, and its arrays depend on its bytes and view alone."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import text_network
from conftest import drawing, encoded, params_of
from graft import inputs
from graft.inputs.batches import Task, batches

LONG = " ".join(f"where is my card {i}" for i in range(9)).encode()

EXAMPLES = {
    "image": [encoded(drawing("cross", 1)), encoded(drawing("circle", 2), "JPEG")],
    "text": [LONG, LONG + b"?"],
}
"""kind -> files of it."""


def changes_of(kind: str, folder: Path) -> dict[str, Any]:
    """params.yaml of a kind; a text network lies in `folder`."""
    if kind == "image":
        return {"extract.views": 2}
    network = {"backbone.name": "Bert", "backbone.weights": str(text_network.write(folder))}
    return network | {"data.kind": kind, "extract.views": 2, "extract.augment_text.dropout": 0.3}


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_every_kind_of_example(kind: str, tmp_path: Path) -> None:
    spec = inputs.of(params_of(changes_of(kind, tmp_path)))
    assert spec.kind == kind
    again = inputs.KINDS[kind].from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.to_dict() == spec.to_dict(), "a card holds it"
    assert again.signature() == spec.signature()
    assert spec.fingerprint(True) != spec.fingerprint(False) == again.fingerprint(False)
    for data in EXAMPLES[kind]:
        sha256 = hashlib.sha256(data).hexdigest()
        views = spec.arrays(data, sha256, (0, 1, 2))
        for arrays in views:
            assert list(arrays) == list(spec.signature())
            for name, (shape, dtype) in spec.signature().items():
                assert str(arrays[name].dtype) == dtype
                assert [size for size, any_size in zip(arrays[name].shape, shape, strict=True) if any_size] == [
                    size for size in shape if size
                ]
        (second,) = pickle.loads(pickle.dumps(spec)).arrays(data, sha256, (2,))
        (plain,) = again.arrays(data, sha256, (0,))
        for name in spec.signature():
            assert np.array_equal(second[name], views[2][name])
            assert np.array_equal(plain[name], views[0][name])
            assert not np.array_equal(views[1][name], views[2][name])


def test_batches_come_in_order_whatever_their_size() -> None:
    spec = inputs.of(params_of({"extract.views": 1}))
    data = {f"{i}.png": encoded(drawing("cross", i)) for i in range(5)}
    tasks = [Task(path, hashlib.sha256(some).hexdigest(), (0, 1)) for path, some in data.items()]
    found = {}
    for size in (1, 3, 64):
        parts = list(batches(spec, lambda path, _: data[path], tasks, size))
        assert all(len(keys) == len(arrays["pixels"]) <= size for keys, arrays in parts)
        assert [key for keys, _ in parts for key in keys] == [(task.sha256, view) for task in tasks for view in (0, 1)]
        found[size] = np.concatenate([arrays["pixels"] for _, arrays in parts])
    assert np.array_equal(found[1], found[3])
    assert np.array_equal(found[1], found[64])
