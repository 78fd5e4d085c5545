"""Every format says of texts what the Keras model says, by tokens that callers make; the lines of the page work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import text_examples
from conftest import REPOSITORY
from graft.errors import GraftError
from graft.export import run
from graft.export.formats import FORMATS
from graft.export.texts import Texts
from graft.pipeline.layout import Exports

pytestmark = pytest.mark.long

SAID = ("my card is lost", "how do i top up", "where is the money")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `export` of some formats gives for a trained pass on texts."""
    import keras

    from graft.stages import export as stage

    folder = tmp_path_factory.mktemp("text-export")
    params, paths = text_examples.trained(folder, {"export.max_accuracy_drop": 0.2, "train.head": "linear"})
    exports = Exports(folder / "models", folder / "metrics")
    card = json.loads(paths.card.read_text())
    model = keras.models.load_model(paths.model, compile=False)

    class Model:
        classes, network = card["classes"], model

    Model.card = card  # type: ignore[attr-defined]

    def exported(*formats: str, precisions: tuple[str, ...] = ("float32",)) -> Any:
        return stage.run(params, paths, exports, Model, formats, precisions)  # type: ignore[arg-type]

    return exported, exports, card, model


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    from graft.stages import export as stage

    costs = {"milliseconds": {}, "peak_megabytes": 1.0}
    monkeypatch.setattr(stage, "Judge", partial(run.Judge, measure=lambda *_: costs))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_of_texts_what_keras_says(name: str, made: Any) -> None:
    says_what_keras_says(name, ("float32",), made)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("openvino", "int8"),
        *(
            pytest.param(name, precision, marks=pytest.mark.slow)
            for name, row in FORMATS.items()
            for precision in row.precisions
            if precision != "float32" and (name, precision) != ("openvino", "int8")
        ),
    ],
)
def test_so_does_every_precision(name: str, precision: str, made: Any) -> None:
    says_what_keras_says(name, (precision,), made)


def says_what_keras_says(name: str, precisions: tuple[str, ...], made: Any) -> None:
    export, exports, card, model = made
    found = export(name, precisions=precisions)
    kind = Texts(card)
    texts = [kind.given(one.encode()) for one in SAID]
    wanted = [np.asarray(model(one[None].astype(np.float32))) for one in texts]
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01, "or any file would do"
    assert set(found[name]) == set(precisions)
    for precision, one in found[name].items():
        limit = {"float32": 2e-5, "float16": 5e-3, "int8": 0.1}[precision]
        assert one["largest_probability_difference"] < limit, one
        assert one["same_tokens_largest_probability_difference"] < limit, one
        assert one["texts"] >= 3
        folder = exports.models / name / precision
        classify = FORMATS[name].load(folder, 1)
        for tokens, right in zip(texts, wanted, strict=True):
            np.testing.assert_allclose(classify(tokens[None]), right, atol=limit)
        padded = np.pad(texts[0], ((0, 5), (0, 0)))
        np.testing.assert_allclose(classify(padded[None]), classify(texts[0][None]), atol=max(limit, 1e-4))
        assert json.loads((folder / "tokenizer.json").read_text())["truncation"]["max_length"] == 12


def there(name: str, export: Any, exports: Exports) -> Path:
    """The folder of a format, exported unless a test before has."""
    folder = exports.models / name / "float32"
    if not folder.exists():
        export(name)
    return folder


def test_files_say_what_they_read(made: Any) -> None:
    import zipfile

    import onnx
    import openvino

    export, exports, card, _ = made
    for name in ("tflite", "onnx", "openvino"):
        there(name, export, exports)
    said = {one.key: one.value for one in onnx.load(exports.models / "onnx/float32/model.onnx").metadata_props}
    assert json.loads(said["card"])["input"]["tokenizer"] == card["input"]["tokenizer"]
    model = openvino.Core().read_model(exports.models / "openvino/float32/model.xml")
    told = {
        "openvino": model.get_rt_info(["graft", "input"]).astype(str), "onnx": said["input"],
    }  # fmt: skip
    for words in told.values():
        assert "at most 12" in words
        assert "the number of each token and 1, and its segment" in words
    file = zipfile.ZipFile(exports.models / "tflite/float32/model.tflite")
    assert file.read("labels.txt").decode().splitlines() == card["classes"]
    assert file.read("tokenizer.json").decode() == (exports.models / "tflite/float32/tokenizer.json").read_text()


OF_TENSORFLOW = ("keras", "saved_model")
"""Formats whose lines start TensorFlow, which takes longer than all else that they do."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in OF_TENSORFLOW else []) for name in FORMATS]
)
def test_the_documented_lines_work_in_a_fresh_process(name: str, made: Any) -> None:
    """Those of docs/export.md, where the file lies, without graft."""
    export, exports, card, model = made
    folder = there(name, export, exports)
    page = (REPOSITORY / "docs" / "export.md").read_text()
    lines = page.split(f"\n### {name}, texts\n\n```python\n")[1].split("```")[0]
    assert "graft" not in lines.replace('["graft", "classes"]', "")
    program = f"{lines}\nprint(json.dumps([classify(one) for one in {list(SAID)!r}]))\n"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", f"import json\n{program}"], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tokens = [Texts(card).given(one.encode()) for one in SAID]
    wanted = [card["classes"][np.asarray(model(one[None].astype(np.float32)))[0].argmax()] for one in tokens]
    assert json.loads(done.stdout.splitlines()[-1]) == wanted


def test_what_litert_has_not_is_one_sentence(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from graft.export.formats import tflite
    from graft.export.subject import Subject

    _, _, card, model = made
    tokens = keras.Input((None, 2), name="tokens")
    odd = keras.Model(tokens, model(keras.ops.erfinv(tokens * 0.01)))
    with pytest.raises(
        GraftError, match=r"--to tflite: the network must be of operations that LiteRT has. Got others: tf"
    ):
        tflite.write(Subject(odd, card, lambda: np.zeros(0)), "float32", Path("nowhere"))
