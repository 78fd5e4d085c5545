"""Texts through extract, train, fine-tune and evaluate: tokens, text networks, lengths, cuts, the same bytes."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer

import text_network
from conftest import QUICK_STEP, changed, default_params, params_of, paths_in
from graft.backbones import build, cuts, encoders, known_cuts, text
from graft.config.load import of_tree
from graft.errors import BackboneError, ParamsError
from graft.features import compute, store
from graft.features.engines import ENGINES, portable
from graft.inputs.batches import Row, Task, stacked
from graft.inputs.spec import UndecodableError
from graft.inputs.text import tokenizer
from graft.inputs.text.parts import joined
from graft.inputs.text.spec import TextInput
from graft.runtime.computing.tensorflow import EXACT
from graft.training import batches, lengths, shards

TEXTS = [
    "where is my card?",
    "i lost the card",
    "top up",
    "how do i transfer money to the other side of the world, and is it not lost",
    "the money is not where it is",
    "transfer",
]
ARCHITECTURES = {"Bert": "bert", "DistilBert": "distilbert", "Roberta": "roberta"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_network.write(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> build.Loaded:
    return build.build("Bert", None, 0, str(folder), 0)


@pytest.fixture(scope="module", autouse=True)
def exact() -> Iterator[None]:
    """As every stage has TensorFlow: it would turn GELU by the error function into an approximation of 5e-4 else."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(EXACT)
    yield
    tf.config.optimizer.set_experimental_options(dict.fromkeys(EXACT, True) | before)


def spec_of(folder: Path, max_tokens: int = 24, **augment: Any) -> TextInput:
    shares = {"dropout": 0.0, "masking": 0.0, "seed": 0} | augment
    return TextInput(tokenizer.read(str(folder)), max_tokens, shares)


def tokens_of(folder: Path, *texts: str) -> np.ndarray:
    rows: list[Row] = [((str(i), 0), spec_of(folder).arrays(one.encode(), "", [0])[0]) for i, one in enumerate(texts)]
    return stacked(rows)[1]["tokens"].astype(np.float32)


# ---- tokens


def test_tokens_are_the_tokenizers_and_one_more(folder: Path) -> None:
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (tokens,) = (one["tokens"] for one in spec_of(folder).arrays(b"where is my card?", "", [0]))
    expected = own.encode("where is my card?").ids
    assert tokens.dtype == np.int32
    assert tokens.shape == (8, 2)
    assert list(tokens[: len(expected), 0] - 1) == expected
    assert not tokens[len(expected) :].any()
    assert not tokens[:, 1].any()


def test_a_pair_is_two_segments_and_the_longer_text_is_cut_off(folder: Path) -> None:
    spec = spec_of(folder, 10)
    pair = joined(["my card", " ".join(["money"] * 20)])
    (tokens,) = (one["tokens"] for one in spec.arrays(pair, "", [0]))
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cls, sep, my, card, money = (own.token_to_id(name) for name in ("[CLS]", "[SEP]", "my", "card", "money"))
    assert list(tokens[:, 0] - 1) == [cls, my, card, sep, *[money] * 5, sep, *[-1] * 2]
    assert list(tokens[:, 1]) == [0] * 4 + [1] * 6 + [0] * 2
    assert spec.encoded(pair).overflowing
    assert not spec.encoded(joined(["my", "card"])).overflowing
    assert spec.longest == 12


def test_what_is_no_utf_8_is_one_reason(folder: Path) -> None:
    with pytest.raises(UndecodableError, match="not UTF-8: byte 2 is 0xff"):
        spec_of(folder).arrays(b"ab\xff", "", [0])


def test_views_leave_the_ends_and_depend_on_the_text_alone(folder: Path) -> None:
    sha256 = "ab" * 32
    data = " ".join(["money"] * 18).encode()
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    mask = own.token_to_id("[MASK]") + 1
    plain, first, second = (
        one["tokens"] for one in spec_of(folder, dropout=0.3, masking=0.3).arrays(data, sha256, [0, 1, 2])
    )
    again = spec_of(folder, dropout=0.3, masking=0.3).arrays(data, sha256, [2])[0]["tokens"]
    used = [one[one[:, 0] > 0, 0] for one in (plain, first, second)]
    assert np.array_equal(second, again)
    assert not np.array_equal(first, second)
    assert all((one[0], one[-1]) == (used[0][0], used[0][-1]) for one in used)
    assert all(len(one) < len(used[0]) and (one == mask).any() for one in used[1:])
    assert not (used[0] == mask).any()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_plain_vocabularies_give_the_same_tokens_as_tokenizer_json(name: str, tmp_path: Path) -> None:
    whole = text_network.write(tmp_path / "whole", ARCHITECTURES[name])  # type: ignore[arg-type]
    bare = text_network.write(tmp_path / "bare", ARCHITECTURES[name], tokenizer=False)  # type: ignore[arg-type]
    for one in TEXTS:
        both = [spec_of(folder).arrays(one.encode(), "", [0])[0]["tokens"] for folder in (whole, bare)]
        assert np.array_equal(*both), one


# ---- networks


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_gives_what_kerashubs_gives(name: str, tmp_path: Path) -> None:
    """Its own class on its own three inputs; but for GELU, which is as the folder's config says."""
    import keras
    import keras_hub

    folder = text_network.write(tmp_path, ARCHITECTURES[name])  # type: ignore[arg-type]
    network = build.build(name, None, 0, str(folder), 0).model
    theirs = getattr(keras_hub.models, f"{name}Backbone").from_preset(str(folder))
    text._as_it_was_trained(theirs, folder)
    tokens = tokens_of(folder, *TEXTS)
    numbers = np.maximum(tokens[..., 0] - 1, 0).astype(int)
    given = {"token_ids": numbers, "padding_mask": (tokens[..., 0] > 0).astype(int)}
    if name == "Bert":
        given["segment_ids"] = tokens[..., 1].astype(int)
    found = theirs(given)
    expected = np.asarray(found["sequence_output"] if isinstance(found, dict) else found)
    got = np.asarray(shards.outputs(network, [tokens])[0])
    real = tokens[..., 0] > 0
    np.testing.assert_allclose(got[real], expected[real], atol=2e-5)
    assert not got[~real].any()
    assert got[real].any(axis=-1).all()
    assert isinstance(network, keras.Model)


def test_only_what_differs_by_processor_is_computed_otherwise(loaded: build.Loaded, folder: Path) -> None:
    """No reciprocal root and no complement of the error function is left in the graph, in layers within layers too."""
    import tensorflow as tf

    tokens = tokens_of(folder, *TEXTS)
    graph = tf.function(lambda x: shards.outputs(loaded.model, [x])).get_concrete_function(tf.constant(tokens))
    kinds = {operation.type for operation in graph.graph.get_operations()}
    assert "Sqrt" in kinds
    assert not kinds & {"Rsqrt", "Erfc", "Tanh"}
    np.testing.assert_allclose(shards.outputs(loaded.model, [tokens])[0], loaded.model(tokens), atol=1e-5)


def test_one_tensor_crosses_between_blocks(loaded: build.Loaded) -> None:
    points = cuts.derive(loaded.model)
    assert list(points.points) == [encoders.FIRST, "block_0", "block_1"]
    assert [point.below for point in points.points.values()] == pytest.approx([0, 0, 1 / 2], abs=1e-3)
    assert points.points["block_1"].shape == (1, text_network.HIDDEN)
    assert cuts.is_input(loaded.model, encoders.FIRST)
    assert cuts.default(points) == "block_1"


def test_padding_changes_nothing(loaded: build.Loaded, folder: Path) -> None:
    tokens = tokens_of(folder, TEXTS[0])
    longer = np.pad(tokens, ((0, 0), (0, 16), (0, 0)))
    for pooling in ("avg", "max", "cls"):
        model = build.feature_model(loaded, pooling)
        short, long = (np.asarray(shards.outputs(model, [one])[0]) for one in (tokens, longer))
        np.testing.assert_allclose(short, long, atol=1e-6)
    sequence = np.asarray(shards.outputs(loaded.model, [tokens])[0])[0]
    real = sequence[(tokens[0, :, 0] > 0)]
    for pooling, expected in {"avg": real.mean(0), "max": real.max(0), "cls": real[0]}.items():
        found = np.asarray(shards.outputs(build.feature_model(loaded, pooling), [tokens])[0])[0]
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "must be a folder with Bert in Hugging Face's layout"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "must be a folder with Bert"),
        (lambda folder: text_network.write(folder, "distilbert"), "backbone"),
    ],
)
def test_a_folder_that_is_no_such_network(write: Any, said: str, tmp_path: Path) -> None:
    text_network.write(tmp_path)
    write(tmp_path)
    with pytest.raises(BackboneError, match=said):
        build.build("Bert", None, 0, str(tmp_path), 0)


def test_a_folder_without_a_vocabulary(tmp_path: Path) -> None:
    text_network.write(tmp_path, tokenizer=False)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(BackboneError, match=r"must hold the network's tokenizer. Got: none of tokenizer\.json"):
        tokenizer.read(str(tmp_path))


def test_openvino_gives_other_decimals_on_other_processors() -> None:
    assert {portable.depends_on(name, None) for name in encoders.ENCODERS} == {portable.NONE}


def test_where_a_network_begins_is_known_without_its_files() -> None:
    assert known_cuts.at_input("Bert", "input")
    assert known_cuts.at_input("Bert", encoders.FIRST)
    assert not known_cuts.at_input("Bert", "block_0")
    assert known_cuts.of("Bert") is None


# ---- features


def computed(folder: Path, engine: str, texts: list[str], cut: str | None = None) -> dict[str, dict[str, np.ndarray]]:
    """text -> output -> its values."""
    params = params_of(
        {"data.kind": "text", "backbone.name": "Bert", "backbone.weights": str(folder), "backbone.max_tokens": 24,
         "backbone.weights_sha256": encoders.digest(folder), "extract.views": 0, "finetune.cut": "block_1"}
    )  # fmt: skip
    spec = compute.Spec(
        params.backbone, spec_of(folder), "avg", "none", cut, {"features": "float32", "activations": "float16"},
        engine, "float32", "portable", None,
    )  # fmt: skip
    wanted = ("features", "activations") if cut else ("features",)
    found: dict[str, dict[str, np.ndarray]] = {}
    for keys, outputs in compute.computed(
        spec, wanted, [Task(one, one) for one in texts], lambda path, _: path.encode()
    ):
        for i, (one, _) in enumerate(keys):
            found[one] = {name: outputs[name][i] for name in wanted}
    assert set(found) == set(texts)
    return found


@pytest.fixture(scope="module")
def together(folder: Path) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """engine -> what it computes of TEXTS."""
    return {engine: computed(folder, engine, TEXTS) for engine in ENGINES}


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
def test_a_text_is_the_same_alone_and_in_company(engine: str, folder: Path, together: Any) -> None:
    """The shortest, which the others' company makes much longer."""
    one = min(TEXTS, key=len)
    alone = computed(folder, engine, [one])
    assert alone[one]["features"].tobytes() == together[engine][one]["features"].tobytes()


WIDE = """
from graft.runtime.computing import numerics
numerics.apply("portable")
import keras
import numpy as np
from graft.features.engines import ENGINES
rng = np.random.default_rng(0)
for shape in ((None, 384), (14, 14, 96)):  # of a text, of an image
    inputs = keras.Input(shape, name="x")
    network = keras.Model(inputs, keras.layers.Dense(384)(keras.layers.Dense(1536, "gelu")(inputs)))
    for engine, forward in ENGINES.items():
        run = forward(network, {"x": (shape, "float32")}, "float32", True).run
        for length in (4, 20):
            examples = rng.normal(size=(40, *(size or length for size in shape))).astype("float32")
            (together,) = run({"x": examples})
            for some in (slice(0, 2), slice(9, 22), slice(39, 40)):
                (values,) = run({"x": examples[some]})
                assert values.tobytes() == together[some].tobytes(), (engine, shape, length, some)
"""


def test_wide_layers_know_no_company() -> None:
    """As wide as MiniLM's: libraries sum wide products in an order that follows from how many rows there are."""
    subprocess.run([sys.executable, "-c", WIDE], check=True)


def test_engines_agree(together: Any) -> None:
    ours, theirs = (together[engine] for engine in ENGINES)
    for one in TEXTS:
        np.testing.assert_allclose(ours[one]["features"], theirs[one]["features"], atol=2e-5)


def test_activations_are_as_long_as_the_longest_may_be_with_zeros_behind(folder: Path) -> None:
    found = computed(folder, "tensorflow", TEXTS, "block_1")
    for one, outputs in found.items():
        values = outputs["activations"]
        n_tokens = len(spec_of(folder).encoded(one.encode()).ids)
        assert values.shape == (24, text_network.HIDDEN)
        assert values[:n_tokens].any(axis=1).all()
        assert not values[n_tokens:].any()


# ---- lengths


class _Open:
    input_shape = (None, None, 2)


class _Fixed:
    input_shape = (None, 16, 2)


def test_lengths_end_with_the_last_token() -> None:
    inputs = np.zeros((3, 20, 2), np.float32)
    inputs[0, :5, 0] = 1
    inputs[1, 9, 1] = 1
    assert list(lengths.of(inputs)) == [5, 10, 0]
    assert lengths.shortened(_Open(), inputs).shape == (3, 16, 2)  # type: ignore[arg-type]
    assert lengths.shortened(_Open(), inputs[2:]).shape == (1, 8, 2)  # type: ignore[arg-type]
    assert lengths.shortened(_Fixed(), inputs).shape == (3, 20, 2)  # type: ignore[arg-type]


def test_batches_hold_texts_of_like_length_and_each_text_once_a_pass() -> None:
    from graft.training.batches import Examples

    rng = np.random.default_rng(0)
    n_tokens = rng.integers(1, 60, 100)
    inputs = np.zeros((100, 64, 2), np.float32)
    for i, n in enumerate(n_tokens):
        inputs[i, :n] = i + 1
    examples = Examples(np.arange(100), np.arange(100), np.ones(100, np.float32))

    def drawn(passes: int, seed: int) -> list[batches.Batch]:
        ones = np.ones(100, np.float32)
        return list(batches.of(_Open(), examples, lambda rows, _: inputs[rows], 10, ones, passes, seed))  # type: ignore[arg-type]

    found = drawn(2, 5)
    targets = [list(batch.targets) for batch in found]
    for one_pass in (targets[:10], targets[10:]):
        assert sorted(target for batch in one_pass for target in batch) == list(range(100))
    assert targets[:10] != targets[10:]
    spread = [int(np.ptp(n_tokens[batch.targets])) for batch in found]
    assert max(spread) <= 12, "a batch drawn without regard to length spans more than 40"
    assert all(batch.inputs.shape[1] == -(-n_tokens[batch.targets].max() // 8) * 8 for batch in found)
    longest = [int(n_tokens[batch.targets].max()) for batch in found[:10]]
    assert longest != sorted(longest), "short texts must not all come first"
    assert [list(batch.targets) for batch in drawn(2, 5)] == targets


# ---- the whole way


def table(path: Path, n: int = 40) -> None:
    """Two classes that a word tells."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        words = list(rng.choice(["my", "the", "is", "not", "do", "how", "where", "i"], rng.integers(2, 14)))
        for _ in range(4):
            words.insert(int(rng.integers(0, len(words))), ("card", "transfer")[i % 2])
        rows.append({"question": f"{' '.join(words)} {i}", "topic": ("card", "transfer")[i % 2]})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["question", "topic"])
        writer.writeheader()
        writer.writerows(rows)


def changes_of(folder: Path, data: Path) -> dict[str, Any]:
    return {
        "data.kind": "text", "data.source": "manifest", "data.path": str(data), "data.manifest.file": "all.csv",
        "data.manifest.columns.text": "question", "data.manifest.columns.label": "topic",
        "backbone.name": "Bert", "backbone.weights": str(folder), "backbone.weights_sha256": encoders.digest(folder),
        "backbone.max_tokens": 24, "extract.views": 0, "train.head": "logistic", "finetune.cut": "block_1",
        "finetune.epochs": 2, "evaluate.top_k": 2,
    } | QUICK_STEP  # fmt: skip


def extracted(folder: Path, here: Path, changes: dict[str, Any]) -> tuple[Any, Any]:
    from graft.stages import extract, prepare

    table(here / "data/all.csv")
    params, paths = params_of(changes_of(folder, here / "data") | changes), paths_in(here)
    prepare.run(params, paths)
    extract.run(params, paths)
    return params, paths


def passed(folder: Path, here: Path, changes: dict[str, Any]) -> tuple[Any, Any]:
    from graft.stages import evaluate, finetune, train

    params, paths = extracted(folder, here, changes)
    train.run(params, paths, lambda epoch, metrics: None)
    finetune.run(params, paths, lambda epoch, metrics: None)
    evaluate.run(params, paths)
    return params, paths


def test_a_pass_on_texts(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All five stages; the model that ships says of the texts themselves what `evaluate` says from activations."""
    from graft.models import saving

    params, paths = passed(folder, tmp_path, {})
    assert "training from block_1 on" in capsys.readouterr().err
    summary = json.loads(paths.summary.read_text())
    assert summary["val_accuracy"] == summary["test_accuracy"] == 1.0, "a word tells the class"
    card = json.loads(paths.card.read_text())
    assert (card["input"]["kind"], card["finetuned_from"], card["classes"]) == ("text", "block_1", ["card", "transfer"])
    spec = TextInput.from_dict(card["input"])
    model = saving.load(paths.model)
    judged = pd.read_parquet(paths.predictions)
    judged = judged[(judged["model"] == "finetuned") & (judged["split"] == "test")]
    texts = pd.read_csv(tmp_path / "data/all.csv")["question"]
    for row in judged.itertuples():
        question = texts[int(Path(row.path).stem.removeprefix("row-"))]
        probabilities = shards.predict(model, spec.arrays(question.encode(), "", [0])[0]["tokens"][None].astype("f4"))
        assert probabilities[0, 1] == pytest.approx(row.p_transfer if hasattr(row, "p_transfer") else row[-1], abs=0.02)

    # Nothing is computed twice, and what is written is the same.
    from graft.stages import extract, finetune

    before = {path: path.read_bytes() for path in (paths.features / store.ARRAY, paths.model, paths.card)}
    extract.run(params, paths)
    said = capsys.readouterr().err
    assert "features of 40 texts: 40 of 40 are in the cache" in said
    assert "activations of 40 texts: 40 of 40 are in the cache" in said
    finetune.run(params, paths, lambda epoch, metrics: None)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.long
def test_the_whole_network_is_trained_on_tokens(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = passed(folder, tmp_path, {"finetune.cut": "input", "finetune.batch_norm": "learning"})
    said = capsys.readouterr().err
    assert "activations: none, since finetune.cut is the network's input: tokens are read instead" in said
    assert json.loads(paths.card.read_text())["finetuned_from"] == encoders.FIRST
    assert json.loads(paths.summary.read_text())["test_accuracy"] == 1.0


def test_views_and_auto_cut(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    views = {"extract.views": 2, "extract.augment_text.dropout": 0.2, "finetune.cut": "auto", "train.head": "linear"}
    _, paths = extracted(folder, tmp_path, views | {"backbone.max_tokens": 16})
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    questions = pd.read_csv(tmp_path / "data/all.csv")["question"]
    long = sum(len(own.encode(question).ids) > 16 for question in questions)
    assert 0 < long < 40
    assert f"note: {long} of 40 texts have more than 16 tokens, backbone.max_tokens, and are" in capsys.readouterr().err
    assert store.read_meta(paths.activations)[0].output == {"asked": "auto", "cut": "block_1"}
    features = np.load(paths.features / store.ARRAY)
    assert features.shape == (40, 3, text_network.HIDDEN)
    assert sum(len({one.tobytes() for one in row}) > 1 for row in features) > 30, (
        "some views of short texts lack no word"
    )


# ---- what params.yaml may say


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"backbone.name": "MobileNetV2"}, "backbone.name: for data.kind: text must be one of Bert, DistilBert"),
        ({"data.kind": "image"}, "backbone.name: must be a network for images where data.kind is image. Got 'Bert'"),
        ({"backbone.weights": "auto"}, "backbone.weights: must be, for Bert, an existing folder"),
        ({"backbone.weights": "data/nowhere"}, "backbone.weights: must be, for Bert, an existing folder"),
        ({"backbone.weights_sha256": "0" * 64}, "backbone.weights_sha256: must be that of the files in"),
        ({"backbone.weights": "bert_tiny_en_uncased"}, "backbone.weights_sha256: must be null for a preset"),
        ({"extract.pooling": None}, "extract.pooling: must be avg, max or cls for data.kind: text. Got null"),
        ({"extract.views": 2}, "extract.views: must be 0 where extract.augment_text changes nothing"),
        ({"extract.pooling": "cls"}, "train.heads.logistic.pooling: must be 'cls'"),
        ({"finetune.cut": None}, "finetune.cut: must name where fine-tuning starts"),
        ({"data.source": "digits"}, "data.source"),
    ],
)
def test_faults(folder: Path, tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ParamsError) as raised:
        of_tree(changed(default_params(), changes_of(folder, tmp_path) | changes), "params.yaml")
    assert fault in str(raised.value)


# ---- refit


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"train.refit": True}, "train.refit: must be false where finetune.enabled is true"),
        ({"finetune.refit": True, "finetune.temperature": "validation"}, "finetune.temperature: must be none where"),
    ],
)
def test_what_chooses_has_not_seen(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ParamsError, match=fault):
        of_tree(changed(default_params(), changes), "params.yaml")


def test_refit_learns_from_validation_too(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The history is that of the choice; the head is another one, and knows what only validation examples say."""
    from graft.models import saving
    from graft.stages import finetune, train
    from graft.training import history

    params, plain = extracted(folder, tmp_path / "plain", {"finetune.enabled": False})
    shutil.copytree(tmp_path / "plain", tmp_path / "again")
    again = paths_in(tmp_path / "again")
    for paths, refit in ((plain, False), (again, True)):
        one = params.model_copy(update={"train": params.train.model_copy(update={"refit": refit})})
        train.run(one, paths, lambda epoch, metrics: None)
        finetune.run(one, paths, lambda epoch, metrics: None)
    assert "refit: once more for training and validation examples" in capsys.readouterr().err
    assert history.read(plain.train_history).equals(history.read(again.train_history))
    kernels = [saving.load(paths.head).layers[-1].get_weights()[0] for paths in (plain, again)]
    assert not np.array_equal(*kernels)
    assert json.loads(again.card.read_text())["validation"] == {}
    assert json.loads(plain.card.read_text())["validation"]["examples"] == 8
