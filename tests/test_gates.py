"""The equality gates: two ways to compute the same must agree, and what makes them differ must be caught."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import PreparedData, elsewhere, paths_in, trained_pass
from graft.backbones import build, networks
from graft.errors import GateError, StaleError
from graft.features import store
from graft.features.engines import ENGINES
from graft.models import assemble, card, gates, heads, saving
from graft.runtime.computing.tensorflow import configure_keras
from graft.stages import finetune
from graft.training import history

SIGNATURE = {"pixels": ((32, 32, 3), "uint8")}


@pytest.fixture(scope="module")
def backbone() -> build.Loaded:
    return build.build("MobileNetV2", 0.35, 32, "bundled", 0)


def pixels(n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


def head(n_classes: int = 4, width: int = 1280) -> Any:
    return heads.build("linear", {"pooling": "avg", "dropout": 0.2}, (width,), n_classes, 1)


def test_batch_norm_in_training_mode_is_caught(backbone: build.Loaded) -> None:
    """The classic silent bug: statistics of the batch instead of the learnt ones."""
    import keras

    classify = head()
    inputs = keras.Input((32, 32, 3))
    skewed = backbone.model(build.preprocess(backbone.row, inputs), training=True)
    wrong = keras.Model(inputs, classify(keras.layers.GlobalAveragePooling2D()(skewed)))
    x = pixels().astype(np.float32)
    right = np.asarray(classify(build.feature_model(backbone, "avg")(x)))
    gates.same_probabilities("a", right, "b", np.asarray(assemble.classifier(backbone, "avg", classify)(x)), 1e-4)
    with pytest.raises(GateError, match=r"must predict the same within 0\.001\. They differ by"):
        gates.same_probabilities("a", right, "b", np.asarray(wrong(x)), 1e-3)


def test_wrong_preprocessing_is_caught(backbone: build.Loaded) -> None:
    model = assemble.classifier(backbone, "avg", head())
    x = pixels().astype(np.float32)
    with pytest.raises(GateError):
        gates.same_probabilities("a", np.asarray(model(x)), "b", np.asarray(model(x / 255)), 1e-3)


def test_a_file_of_a_known_architecture_is_compared_by_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And built by Keras where its architecture is another, or the weights are not those in memory."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    loaded: list[Path] = []
    load = saving.load

    def counted(path: Path) -> Any:
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(saving, "load", counted)
    path, example = tmp_path / "head.keras", np.ones((2, 8), np.float32)
    first = head(width=8)
    saving.save(first, path, np.zeros_like(example))  # for which it says the same whatever its kernel is
    saving.save(first, path, example)
    assert loaded == [path, path]
    loaded.pop()
    earlier = path.read_bytes()
    first.set_weights([weight + 1 for weight in first.get_weights()])
    saving.save(first, path, example)
    assert loaded == [path]
    assert all(np.array_equal(*pair) for pair in zip(load(path).get_weights(), first.get_weights(), strict=True))
    saving.save(head(n_classes=5, width=8), path, example)
    assert loaded == [path, path]
    monkeypatch.setattr(saving, "_normalise", lambda _, target: target.write_bytes(earlier))
    first.set_weights([3 * weight**2 for weight in first.get_weights()])
    with pytest.raises(GateError, match=r"head\.keras read back must predict the same within 1e-05"):
        saving.save(first, path, example)


def test_no_gate_passes_on_nan() -> None:
    for gate in (gates.same_probabilities, gates.same_features):
        with pytest.raises(GateError):
            gate("a", np.ones((1, 2)), "b", np.full((1, 2), np.nan), 1e-3)


def in_both(inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """precision -> what OpenVINO makes of each of the inputs."""
    model = build.feature_model(build.build("MobileNetV2", 0.35, 32, "bundled", 0), "avg")
    engines = {kind: ENGINES["openvino"](model, SIGNATURE, kind, False) for kind in ("float32", "bfloat16")}
    return {
        kind: {name: engine.run({"pixels": one})[0] for name, one in inputs.items()} for kind, engine in engines.items()
    }


def test_bfloat16_passes_its_gate_and_skew_does_not(backbone: build.Loaded) -> None:
    """Of real bfloat16 features against float32 ones of the same pixels, in the wrong order, and in another range."""
    inputs = {"right": pixels(), "exchanged": pixels()[..., ::-1].copy(), "halved": pixels() // 2}
    found = elsewhere(in_both, inputs)
    exact = np.asarray(build.feature_model(backbone, "avg")(pixels().astype(np.float32)))

    def passes(features: np.ndarray) -> bool:
        try:
            gates.same_features("a", features, "b", exact, gates.FEATURES["bfloat16"])
        except GateError:
            return False
        return True

    right = found["bfloat16"]["right"]
    assert passes(right), np.abs(right - exact).max()
    cosine = (exact * right).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(right, axis=1)
    assert (cosine > 0.99).all(), cosine
    for skewed in ("exchanged", "halved"):
        assert not passes(found["float32"][skewed]), skewed


ONCE: list[tuple[Any, Any]] = []


@pytest.fixture
def trained(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, prepare: Callable[..., PreparedData]
) -> tuple[Any, Any]:
    """Parameters and paths of drawings on which `train` has run: once, and each test has a copy of its files."""
    if not ONCE:
        ONCE.append(trained_pass(tmp_path_factory.mktemp("images"), prepare))
    params, paths = ONCE[0]
    shutil.copytree(paths.catalogue.parent, tmp_path / "pass")
    return params, paths_in(tmp_path / "pass")


def damage(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = np.load(folder / store.ARRAY)
    np.save(folder / store.ARRAY, change(array).astype(array.dtype))


def test_finetune_writes_a_model_and_its_card(trained: tuple[Any, Any]) -> None:
    params, paths = trained
    finetune.run(params, paths, lambda epoch, metrics: None)
    found = card.read(paths.card)
    assert found["classes"] == ["circle", "cross", "stripes"]
    assert found["input"] == {"kind": "image", "side": 32, "resize": "stretch", "interpolation": "bilinear"}
    assert found["preprocessing"]["in_model"] == "x / 127.5 - 1"
    assert found["finetuned_from"] == "conv_pw_13"
    kept = history.read(paths.finetune_history).query("best == 1").iloc[0]
    assert found["validation"]["accuracy"] == pytest.approx(kept["val_accuracy"])


def test_a_network_that_was_built_ahead_gives_the_same_bytes(
    trained: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage sets up TensorFlow and Keras once more, as it begins: what was built before then is not to differ."""
    params, paths = trained
    configure_keras()
    finetune.run(params, paths, lambda epoch, metrics: None)
    model = paths.model.read_bytes()
    finetune.build_ahead(params, paths)
    monkeypatch.setattr(networks, "built", None)
    configure_keras()
    random.random()  # as MLflow may in between; the seed of a head's dropout is drawn as it is loaded
    np.random.random()
    finetune.run(params, paths, lambda epoch, metrics: None)
    assert paths.model.read_bytes() == model


@pytest.mark.slow
def test_interpolated_weights_lie_between_the_head_alone_and_the_fine_tuned_model(trained: tuple[Any, Any]) -> None:
    """Each is where it started, plus a share of what fine-tuning changed; what is frozen is as it was."""
    params, paths = trained

    def weights(**changes: Any) -> list[np.ndarray]:
        finetune.run(
            params.model_copy(update={"finetune": params.finetune.model_copy(update=changes)}), paths, lambda *_: None
        )
        found: list[np.ndarray] = saving.load(paths.model).get_weights()
        return found

    tuned, kept = weights(), weights(interpolate=0.25)
    start = assemble.classifier(build.of(params.backbone), "avg", saving.load(paths.head)).get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(start, tuned, strict=True))
    for before, after, between in zip(start, tuned, kept, strict=True):
        np.testing.assert_array_equal(between, before + np.float32(0.25) * (after - before))


def test_features_of_other_pixels_are_caught(trained: tuple[Any, Any]) -> None:
    """As after a decoder that changed without the cache knowing."""
    params, paths = trained
    damage(paths.features, lambda array: array[::-1])
    with pytest.raises(GateError, match="the cached features and the model's own on pixels must agree"):
        finetune.run(params, paths, lambda epoch, metrics: None)
    assert not paths.model.exists()
    assert not paths.card.exists()


def test_activations_of_other_pixels_are_caught(trained: tuple[Any, Any]) -> None:
    params, paths = trained
    damage(paths.activations, lambda array: array[::-1])
    with pytest.raises(GateError, match="the cached activations and the model's own on pixels must agree within"):
        finetune.run(params, paths, lambda epoch, metrics: None)
    assert not paths.model.exists()


def test_layers_that_were_trained_otherwise_are_caught(
    trained: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where fine-tuning trained other weights than those of the model that is written."""
    params, paths = trained

    above = assemble.above

    def another(*_: Any) -> Any:
        other = assemble.classifier(build.of(params.backbone), "avg", head(3, 256))
        other.layers[-1].layers[-1].bias.assign([3.0, 0.0, -3.0])
        return above(other, "conv_pw_13")

    monkeypatch.setattr(finetune.assemble, "above", another)
    with pytest.raises(GateError, match="the trained layers on cached activations and the fine-tuned model on pixels"):
        finetune.run(params, paths, lambda epoch, metrics: None)


def test_other_weights_than_those_of_the_features_are_refused(trained: tuple[Any, Any]) -> None:
    params, paths = trained
    other = params.model_copy(update={"backbone": params.backbone.model_copy(update={"weights": "random"})})
    with pytest.raises(StaleError, match=r"the features were made with weights .* `dvc repro --force extract`"):
        finetune.run(other, paths, lambda epoch, metrics: None)
