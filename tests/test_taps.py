"""A head that reads all layers: what is stored, which layers weigh how much, and the model that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import PreparedData, trained_pass
from graft.backbones import build, taps
from graft.errors import StaleError
from graft.examples import dataset, pixels
from graft.features import staleness, store
from graft.models import saving
from graft.stages import evaluate, finetune


@pytest.fixture(scope="module")
def loaded() -> build.Loaded:
    return build.build("MobileNetV2", 0.35, 32, "random", 0)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooled_outputs_side_by_side(pooling: str, loaded: build.Loaded) -> None:
    import keras

    found = taps.of(loaded.model)
    joined = taps.joined(loaded.model, pooling)
    assert taps.widths(joined) == [tap.channels for tap in found]
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    whole = keras.Model(loaded.model.input, [loaded.model.get_layer(tap.layer).output for tap in found])
    maps = [np.asarray(output, np.float64) for output in whole(x)]
    expected = [one.mean(axis=(1, 2)) if pooling == "avg" else one.max(axis=(1, 2)) for one in maps]
    np.testing.assert_allclose(np.asarray(joined(x)), np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-6)


def test_where_nothing_crosses_alone_the_output_is_the_only_tap() -> None:
    """As in NASNet, each of whose cells reads the two before it."""
    import keras

    def cell(*read: Any) -> Any:
        return keras.layers.add([keras.layers.Conv2D(4, 1)(one) for one in read])

    inputs = keras.Input((8, 8, 3))
    cells = [cell(inputs)]
    cells.append(cell(inputs, cells[0]))
    for _ in range(2):
        cells.append(cell(*cells[-2:]))
    network = keras.Model(inputs, cells[-1])
    assert [tap.layer for tap in taps.of(network)] == [network.layers[-1].name]
    alone = keras.Model(inputs, cell(cell(cell(inputs))))
    assert len(taps.of(alone)) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_taps"),
    [
        ("NASNetMobile", 1),
        ("ConvNeXtTiny", 11),  # its sums are operations, no layers; 22 are too wide
    ],
)
def test_other_networks(name: str, n_taps: int) -> None:
    loaded = build.build(name, None, 32, "random", 0)
    joined = taps.joined(loaded.model, "avg")
    assert len(taps.widths(joined)) == n_taps
    assert sum(taps.widths(joined)) <= taps.MOST_FEATURES
    assert taps.widths(joined)[-1] == loaded.model.output_shape[-1]
    assert np.asarray(joined(np.zeros((1, 32, 32, 3), np.float32))).shape == (1, sum(taps.widths(joined)))


def test_layers_are_called_the_same_in_every_build() -> None:
    """Keras numbers those without a name of their own, through all networks of a process; cuts go by names."""
    first, second = (build.build("MobileNetV3Small", 1.0, 32, "random", 0).model for _ in range(2))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert [tap.cut for tap in taps.of(first)] == [tap.cut for tap in taps.of(second)]
    assert all(np.array_equal(*pair) for pair in zip(first.get_weights(), second.get_weights(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["taps", "linear"])
def test_from_images_to_a_model(tmp_path: Path, prepare: Callable[..., PreparedData], head: str) -> None:
    """finetune's gates compare what was stored and what the head says with the assembled model on pixels."""
    changes = {"extract.taps": "all", "train.head": head, "finetune.enabled": False, "extract.views": 1}
    params, paths = trained_pass(tmp_path / "images", prepare, changes)
    data = dataset.read(paths.catalogue, paths.split)
    stored = store.require(paths.features, data.sha256s)
    assert stored.meta.output["taps"] == "all"
    assert sum(stored.meta.output["widths"]) == stored.array.shape[-1]
    staleness.require_current(params, paths)
    output_alone = params.model_copy(update={"extract": params.extract.model_copy(update={"taps": "none"})})
    with pytest.raises(StaleError, match=r"taps is 'all', but params\.yaml says 'none'"):
        staleness.require_current(output_alone, paths)
    finetune.run(params, paths, lambda epoch, metrics: None)
    evaluate.run(params, paths)
    rows = data.sides.rows["test"]
    images = pixels.of(data, stored.meta.made_with, params.data.source, Path(params.data.path)).plain(rows)
    probabilities = np.asarray(saving.load(paths.model)(images))
    by_head = np.asarray(saving.load(paths.head)(stored.plain(rows)))
    np.testing.assert_allclose(probabilities, by_head, atol=1e-4)
    assert np.ptp(by_head, axis=0).max() > 0.1, "or they would agree whatever they read"
