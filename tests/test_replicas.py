"""Several devices share a batch, and give the bytes of one. Logical CPUs stand for GPUs."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from graft.training import replicas, shards
from test_shards import STEPS, run, steps

DEVICES = ("/device:CPU:0", "/device:CPU:1")


@pytest.mark.parametrize(
    ("cases", "devices"),
    [
        pytest.param(["cnn"], [1, 2], marks=pytest.mark.long),
        pytest.param(list(steps.CASES), [1, 2, 3, 4], marks=pytest.mark.slow),
    ],
)
def test_the_same_bytes_on_any_number_of_devices(cases: list[str], devices: list[int]) -> None:
    """Weights, history and predictions, of trained BatchNorm and dropout too; a batch of 6 among them."""
    found = {run(str(STEPS), *cases, "--devices", str(number)) for number in devices}
    assert len(found) == 1
    assert found.pop().count("STEPS") == len(cases)


def graph(model: Any, devices: tuple[str, ...]) -> Any:
    """Of a step's forward and backward pass, as it was made: the body of the loop that steps are made in."""
    import tensorflow as tf

    made = []

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = shards.added([tf.reduce_sum(y) for y in shards.apply(model, shards.cut(x, 4), training=True)])
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        made.append(tf.compat.v1.get_default_graph())
        return (tf.reshape(gradients[0], [-1]),)

    on_devices = replicas.placed(devices, 4)(shards.in_turn(step, [tf.float32]))
    shards.compiled(on_devices, [tf.TensorSpec((None, None, *model.input_shape[1:]))])
    return made[-1]


@pytest.mark.parametrize("case", steps.CASES)
def test_each_device_computes_half_of_both_passes(case: str) -> None:
    """Every convolution and product of matrices, and those of their gradients; sums of gradients are the first's."""
    operations = graph(steps.CASES[case](), DEVICES).get_operations()
    heavy = [one for one in operations if re.search("Conv|MatMul", one.type)]
    by_device = [Counter(one.type for one in heavy if one.device == device) for device in DEVICES]
    assert by_device[0] == by_device[1]
    assert sum(map(Counter.total, by_device)) == len(heavy) > 0
    forward, backward = ([one for one in heavy if ("gradient" in one.name) is which] for which in (False, True))
    assert len(backward) >= len(forward) > 0
    sums = [one for one in operations if one.type == "AddN" and len({tensor.device for tensor in one.inputs}) > 1]
    assert sums
    assert {one.device for one in sums} == {""}


def test_one_device_is_left_as_it_is() -> None:
    assert {one.device for one in graph(steps.CASES["cnn"](), DEVICES[:1]).get_operations()} == {""}


def test_several_devices_are_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import tensorflow as tf

    both = [tf.config.LogicalDevice(f"/device:GPU:{i}", "GPU") for i in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: both if kind == "GPU" else [])
    replicas.found.cache_clear()
    try:
        assert replicas.found() == replicas.found() == ("/device:GPU:0", "/device:GPU:1")
    finally:
        replicas.found.cache_clear()
    assert capsys.readouterr().err == "2 GPUs share each batch\n"
