"""What an example is: every kind says the same things of itself, and its arrays depend on its bytes and view alone."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest

from conftest import drawing, encoded, params_of
from graft import inputs
from graft.inputs.batches import Task, batches

EXAMPLES = {"image": [encoded(drawing("cross", 1)), encoded(drawing("circle", 2), "JPEG")]}
"""kind -> files of it."""


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_every_kind_of_example(kind: str) -> None:
    spec = inputs.of(params_of({"extract.views": 2}))
    assert spec.kind == kind
    again = inputs.KINDS[kind](json.loads(json.dumps(spec.to_dict())))
    assert again.to_dict() == spec.to_dict(), "a card holds it"
    assert again.signature() == spec.signature()
    assert spec.fingerprint(True) != spec.fingerprint(False) == again.fingerprint(False)
    for data in EXAMPLES[kind]:
        sha256 = hashlib.sha256(data).hexdigest()
        views = spec.arrays(data, sha256, (0, 1, 2))
        for arrays in views:
            assert {name: (array.shape, str(array.dtype)) for name, array in arrays.items()} == spec.signature()
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
