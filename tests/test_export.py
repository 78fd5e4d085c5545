"""The resizing in the graph is Pillow's, every format says what the Keras model says, and the gate holds."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import REPOSITORY, PreparedData, changed, default_params, encoded, params_of, paths_in
from graft.config.schema import ExportParams
from graft.errors import DataError, GateError, GraftError, StaleError, SurroundingsError
from graft.export import resizing, run, speed
from graft.export.formats import FORMATS, overflow
from graft.export.images import Images, upright
from graft.inputs.image.decode import RESAMPLING, Resizing, to_square
from graft.pipeline.layout import Exports
from graft.serving.classifier import Classifier

SIDE = 32
COLOURS = ("blue", "green", "red")
SHARES = {"blue": (0.2, 0.3, 0.9), "green": (0.3, 0.9, 0.2), "red": (0.9, 0.2, 0.3)}


def coloured(name: str, seed: int) -> np.ndarray:
    """A (h, w, 3) uint8 picture of noise, of any size, mostly of one colour."""
    rng = np.random.default_rng(seed)
    h, w = rng.integers(24, 90, 2)
    return (rng.uniform(0.4, 1, (h, w, 1)) * SHARES[name] * 255).astype(np.uint8)


def tiny_network() -> Any:
    """Pixels (n, 32, 32, 3) -> which channel is the brightest: preprocessing, convolutions, BatchNorm, softmax."""
    import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    features = keras.layers.GlobalAveragePooling2D()(x)
    head = keras.layers.Dense(3, activation="softmax")
    network = keras.Model(pixels, head(features))
    squares = [
        to_square(coloured(name, 500 + i), Resizing(SIDE, "stretch", "bilinear")) for name in COLOURS for i in range(40)
    ]
    found = np.asarray(keras.Model(pixels, features)(np.stack(squares).astype(np.float32)))
    wanted = np.repeat(np.eye(3), 40, axis=0) * 8
    solved = np.linalg.lstsq(np.c_[found, np.ones(len(found))], wanted, rcond=None)[0]
    head.set_weights([solved[:-1].astype(np.float32), solved[-1].astype(np.float32)])
    return network


@dataclass
class Exported:
    """A folder of pictures, prepared, with a model that tells them apart; and how to export it there."""

    params: Any
    paths: Any
    exports: Exports
    classifier: Classifier

    def export(self, *formats: str, precisions: tuple[str, ...] = ("float32",)) -> Any:
        from graft.stages import export as stage

        return stage.run(self.params, self.paths, self.exports, self.classifier, formats, precisions)


COSTS = {"milliseconds": {}, "peak_megabytes": 1.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    from graft.stages import prepare

    folder = tmp_path_factory.mktemp("export")
    for name in COLOURS:
        (folder / "images" / name).mkdir(parents=True)
        for i in range(15):
            kind = "JPEG" if i % 2 else "PNG"
            (folder / "images" / name / f"{i}.{kind.lower()}").write_bytes(
                encoded(coloured(name, 100 * i + ord(name[0])), kind)
            )
    params = params_of(
        {
            "data.source": "folder",
            "data.path": str(folder / "images"),
            "backbone.input_size": SIDE,
            "export.calibration_images": 20,
        }
    )
    paths = paths_in(folder)
    prepare.run(params, paths)
    card = {
        "classes": list(COLOURS),
        "backbone": {"name": "none"},
        "input": {"kind": "image", "side": SIDE, "resize": "stretch", "interpolation": "bilinear"},
    }
    return Exported(params, paths, Exports(folder / "models", folder / "metrics"), Classifier(tiny_network(), card))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the processes that measure, two a file."""
    from graft.stages import export as stage

    monkeypatch.setattr(stage, "Judge", partial(run.Judge, measure=lambda *_: COSTS))


@pytest.mark.parametrize("interpolation", RESAMPLING)
@pytest.mark.parametrize("method", ["stretch", "crop", "pad"])
def test_resizing_in_the_graph_is_pillows(method: str, interpolation: str) -> None:
    """Larger, smaller, of one pixel, far from square, and of its own size, at which it changes nothing."""
    how = Resizing(SIDE, method, interpolation)
    model = resizing.resizer(how)
    rng = np.random.default_rng(0)
    for h, w in ((57, 91), (20, 9), (1, 1), (7, 130), (SIDE, SIDE), (64, 63)):
        image = rng.integers(0, 256, (h, w, 3)).astype(np.uint8)
        got, wanted = np.asarray(model(image[None]))[0], to_square(image, how).astype(float)
        off = np.abs(got - wanted)
        assert off.max() <= 1, (h, w, off.max())
        assert np.mean(off > 0) < 0.03, (h, w, np.mean(off > 0))
        if (h, w) == (SIDE, SIDE):
            np.testing.assert_array_equal(got, image)


def test_every_format_says_what_keras_says(made: Exported, unmeasured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.export(*FORMATS)
    found |= {
        f"{name} small": one
        for name, one in made.export("tflite", "onnx", "openvino", precisions=("float16", "int8")).items()
    }
    for name, precisions in found.items():
        for precision, one in precisions.items():
            limit = {"float32": 2e-5, "float16": 5e-3, "int8": 0.2}[precision]
            assert one["same_pixels_largest_probability_difference"] < limit, (name, precision, one)
            assert one["accuracy"] == one["keras_accuracy"] == 1, (name, precision)
    pictures = [coloured(name, 7) for name in COLOURS]
    for name, row in FORMATS.items():
        for precision in row.precisions:
            folder = made.exports.models / name / precision
            card = json.loads((folder / "card.json").read_text())
            assert card["classes"] == list(COLOURS)
            assert card["export"] == {"format": name, "precision": precision}
            classify = row.load(folder, 1)
            assert [int(classify(one[None]).argmax()) for one in pictures] == [0, 1, 2], (name, precision)
            several = np.stack([pictures[0], pictures[0]])
            np.testing.assert_allclose(classify(several)[1], classify(pictures[0][None])[0], atol=1e-4)
        figures = json.loads((made.exports.metrics / f"{name}.json").read_text())
        assert set(figures) == set(row.precisions)
    assert not list(made.exports.models.rglob(".partial*"))
    for precision, kind in (("float16", np.float16), ("int8", np.int8)):
        stored = _interpreter(made.exports.models / "tflite" / precision / "model.tflite").get_tensor_details()
        assert kind in {tensor["dtype"] for tensor in stored}

    for name in FORMATS:
        _the_documented_lines_work(name, made.exports.models / name / "float32", pictures, monkeypatch)

    file = made.exports.models / "tflite" / "int8" / "model.tflite"
    assert zipfile.ZipFile(file).read("labels.txt").decode().splitlines() == list(COLOURS)
    kinds = [operator["op_name"] for operator in _interpreter(file)._get_ops_details()]
    assert kinds.index("BATCH_MATMUL") < kinds.index("QUANTIZE") < kinds.index("CONV_2D")
    assert kinds[-2:] == ["DEQUANTIZE", "SOFTMAX"]
    import onnx
    import openvino

    said = {
        one.key: one.value for one in onnx.load(made.exports.models / "onnx" / "int8" / "model.onnx").metadata_props
    }
    assert json.loads(said["classes"]) == list(COLOURS)
    model = openvino.Core().read_model(made.exports.models / "openvino" / "int8" / "model.xml")
    assert json.loads(model.get_rt_info(["graft", "classes"]).astype(str)) == list(COLOURS)


def test_no_sum_of_int8_weights_overflows(made: Exported) -> None:
    """Whatever adds the products of two neighbours in 16 bits, as processors without VNNI do."""
    import onnx

    made.export("onnx", precisions=("int8",))
    model = onnx.load(made.exports.models / "onnx" / "int8" / "model.onnx")
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    first, depthwise, head = (one for one in stored.values() if one.dtype == np.int8 and one.ndim > 1)
    assert first.shape == (8, 3, 3, 3)
    assert depthwise.shape == (8, 1, 3, 3)
    assert set(head.shape) == {8, 3}
    for rows, neighbours in ((first.reshape(8, -1), False), (depthwise.reshape(8, -1), False)):
        assert _largest_sum(rows, neighbours) in (127, 128)
    channels = head if head.shape == (3, 8) else head.T
    assert _largest_sum(channels, neighbours=True) in range(120, 129)
    assert all(np.abs(channels.astype(int)).max(1) > 60)


def _largest_sum(rows: np.ndarray, neighbours: bool) -> int:
    """Of two weights of one sign: by trying all."""
    step = 2 if neighbours else 1
    found = 0
    for row in rows.astype(int):
        for i in range(0, len(row) - 1, step):
            for j in [i + 1] if neighbours else range(i + 1, len(row)):
                if row[i] * row[j] > 0:
                    found = max(found, abs(row[i] + row[j]))
    return found


def test_the_range_of_weights_is_no_wider_than_it_must_be() -> None:
    rows = np.array([[3, 4, -1, 6, 0.5], [1, -9, 2, 2, -3], [0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_array_equal(overflow.limits(rows, neighbours=True), [7, 9, 0])
    np.testing.assert_array_equal(overflow.limits(rows, neighbours=False), [10, 12, 0])


def _the_documented_lines_work(
    name: str, folder: Path, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of docs/export.md, where the file lies."""
    page = (REPOSITORY / "docs" / "export.md").read_text()
    lines = page.split(f"\n### {name}\n\n```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    known: dict[str, Any] = {}
    exec(compile(lines, f"docs/export.md, {name}", "exec"), known)
    assert [known["classify"](io.BytesIO(encoded(one))) for one in pictures] == list(COLOURS), name


def _interpreter(file: Path) -> Any:
    """Without the delegate that would put its own operations in the place of the file's."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter(str(file), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def test_a_wrong_export_fails_and_leaves_no_file(
    made: Exported, unmeasured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its graph takes the channels the wrong way round; what an earlier export left goes, too."""
    right = resizing.square
    made.export("tflite")
    monkeypatch.setattr(resizing, "square", lambda images, how: right(images, how)[..., ::-1])
    with pytest.raises(GateError, match=r"tflite float32: must lose at most export.max_accuracy_drop, 0.01"):
        made.export("tflite", precisions=("float32",))
    assert list((made.exports.models / "tflite").glob("float32")) == []
    assert "float32" not in json.loads((made.exports.metrics / "tflite.json").read_text())


def test_the_metadata_is_what_other_tools_read() -> None:
    """By the places of the fields in metadata_schema.fbs."""
    from flatbuffers import encode, number_types, packer, table

    from graft.export.formats.tflite import metadata

    card = {
        "classes": list(COLOURS),
        "backbone": {"name": "net"},
        "input": {"kind": "image", "side": 8, "resize": "crop", "interpolation": "nearest"},
    }
    data = metadata.table(card, Images(card))
    assert data[4:8] == b"M001"

    def inside(one: Any, field: int) -> Any:
        offset = one.Offset(4 + 2 * field)
        assert offset
        return offset

    def first(one: Any, field: int) -> Any:
        place = one.Vector(inside(one, field))
        return table.Table(data, one.Indirect(place))

    root = table.Table(data, encode.Get(packer.uoffset, data, 0))
    assert root.String(inside(root, 0) + root.Pos) == b"graft classifier"
    graph = first(root, 3)
    image, probabilities = first(graph, 2), first(graph, 3)
    assert image.String(inside(image, 0) + image.Pos) == b"image"
    labels = first(probabilities, 6)
    assert labels.String(inside(labels, 0) + labels.Pos) == b"labels.txt"
    assert labels.Get(number_types.Int8Flags, inside(labels, 2) + labels.Pos) == metadata.AXIS_LABELS


def test_what_cannot_be_exported_is_one_sentence(made: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        GraftError, match=r"export.precision: must be float32 for keras. Got int8; export keras by itself."
    ):
        made.export("tflite", "keras", precisions=("float32", "int8"))
    lacking = replace(FORMATS["onnx"], needs=("onnx", "no_such_library"))
    monkeypatch.setitem(FORMATS, "onnx", lacking)
    with pytest.raises(SurroundingsError, match=r"needs no_such_library.*`pip install graft-transfer\[export\]`"):
        made.export("onnx")
    other = replace(
        made, classifier=Classifier(made.classifier.network, made.classifier.card | {"classes": ["a", "b", "c"]})
    )
    with pytest.raises(StaleError, match=r"must have the classes of the model"):
        other.export("tflite")


def test_nothing_held_out_is_one_sentence(made: Exported, tmp_path: Path, prepare: Callable[..., PreparedData]) -> None:
    counts = {"split.method": "counts", "split.counts": {"train": 5, "validation": 0, "test": 0}}
    prepared = prepare(Path(made.params.data.path), counts)
    with pytest.raises(DataError, match=r"data.split: must leave validation examples"):
        replace(made, paths=paths_in(prepared.folder)).export("tflite")


def test_an_exported_file_is_measured_in_a_process_without_tensorflow(made: Exported, unmeasured: None) -> None:
    made.export("tflite")
    squares = {"photo_milliseconds": coloured("red", 0)[None], "milliseconds": np.zeros((1, SIDE, SIDE, 3), np.uint8)}
    found = speed.measured("tflite", made.exports.models / "tflite" / "float32", squares)
    for which in ("milliseconds", "photo_milliseconds"):
        for threads in ("one_thread", "all_threads"):
            assert 0 < found[which][threads]["median"] <= found[which][threads]["p95"]
    assert 10 < found["peak_megabytes"] < 200, "TensorFlow alone takes more"
    with pytest.raises(SurroundingsError, match="must run in a process of its own"):
        speed.measured("tflite", made.exports.models / "nowhere", squares)


def test_figures_have_a_run_of_their_own_where_the_features_are_gone(
    made: Exported, unmeasured: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import mlflow

    from graft.tracking import exports

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    run_id = exports.log(made.params, made.paths, made.exports, made.export("keras"), own=True)
    logged = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(run_id)
    assert logged.data.metrics["export/keras/float32/accuracy"] == 1


def test_params_and_the_table_name_the_same_formats() -> None:
    names = {key: ExportParams.model_fields[key].annotation.__args__[0].__args__ for key in ("to", "precision")}
    assert list(names["to"]) == list(FORMATS)
    assert set(names["precision"]) == {one for row in FORMATS.values() for one in row.precisions}


def test_there_is_a_stage_for_each_format_and_none_by_default(tmp_path: Path) -> None:
    """As DVC reads the repository's own dvc.yaml."""
    dvc = Path(sys.executable).with_name("dvc")
    (tmp_path / "dvc.yaml").write_text((REPOSITORY / "dvc.yaml").read_text())
    subprocess.run([dvc, "init", "--no-scm", "-q"], cwd=tmp_path, check=True)

    def stages(to: list[str]) -> list[str]:
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(changed(default_params(), {"export.to": to})))
        done = subprocess.run(
            [dvc, "stage", "list", "--name-only"], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.split()

    five = ["prepare", "extract", "train", "finetune", "evaluate"]
    assert stages([]) == five
    assert stages(["tflite", "onnx"]) == [*five, "export@tflite", "export@onnx"]


def test_upright_is_as_a_viewer_shows_it(tmp_path: Path) -> None:
    pixels = coloured("green", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(upright((tmp_path / "a.png").read_bytes()), np.rot90(pixels, -1))
