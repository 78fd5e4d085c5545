"""A trained model on texts in use: in Python, in MLflow, `graft predict`, heads alone."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models.utils import _enforce_schema
from typer.testing import CliRunner, Result

from conftest import Pass
from graft import inputs
from graft.cli import app
from graft.errors import DataError, GraftError
from graft.features import store
from graft.models import heads as heads_of_models
from graft.prediction import engine, files, heads, kinds, stream
from graft.reporting import kinds as reporting_kinds
from graft.runtime.computing.exact import EXACT
from graft.server import kinds as server_kinds
from graft.serving import kinds as serving_kinds
from graft.serving import pyfunc
from graft.serving.classifier import Classifier
from graft.tracking import schemas
from text_pass import CLASSES, text, whole_text_pass

FROZEN = {"finetune.enabled": False}
TEXTS = [text(kind, number) for number, kind in enumerate(CLASSES)]


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """A frozen network with a trained head on single texts."""
    return whole_text_pass(tmp_path_factory.mktemp("single"), FROZEN, 8)


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    passed = whole_text_pass(tmp_path_factory.mktemp("pairs"), FROZEN | {"train.epochs": 1}, 8, pair=True)
    return Classifier.read(passed.paths.model.parent)


@pytest.fixture(scope="module")
def model(passed: Pass) -> Classifier:
    return Classifier.read(passed.paths.model.parent)


@pytest.fixture(scope="module")
def forward(model: Classifier) -> Any:
    return engine.forward(model)


def test_every_kind_has_its_rows() -> None:
    tables = (serving_kinds, kinds, server_kinds, reporting_kinds, schemas)
    assert all(set(table.KINDS) == set(inputs.KINDS) for table in tables)


def test_a_str_is_the_example(model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a path, even where there is a file of that name; whatever the form, the answer is the same."""
    monkeypatch.chdir(tmp_path)
    one, other = TEXTS[0], "where is my card"
    Path("where is my card").write_text(one)
    expected = model.probabilities([one, other])
    assert expected.shape == (2, 3)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    np.testing.assert_allclose(model.probabilities(other), expected[1:], atol=1e-6)
    for form in (Path(other), one.encode(), b"\xef\xbb\xbf" + one.encode(), [Path(other)], (one,), pd.Series([one])):
        np.testing.assert_allclose(model.probabilities(form), expected[:1], atol=1e-6)
    assert list(model.predict([one, other], top_k=2)["top_labels"].map(len)) == [2, 2]
    assert model.probabilities([]).shape == (0, 3)


def test_two_str_are_a_pair_where_the_model_reads_pairs(model: Classifier, of_pairs: Classifier) -> None:
    first, second = TEXTS[0], "my card"
    assert len(model.probabilities((first, second))) == 2
    pair = of_pairs.probabilities((first, second))
    assert pair.shape == (1, 3)
    for form in ([first, second], [(first, second)], [[first, second]], f"{first}\0{second}".encode()):
        np.testing.assert_allclose(of_pairs.probabilities(form), pair, atol=1e-6)
    other_way = of_pairs.probabilities([(second, first), (first, second)])
    np.testing.assert_allclose(other_way[1:], pair, atol=1e-6)
    assert np.abs(other_way[0] - pair[0]).max() > 1e-3, "which of the two is first matters"
    assert (model.card["input"]["pair"], of_pairs.card["input"]["pair"]) == (False, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", r"text 1: must be a text that can be used\. Got: empty: no character\."),
        (["i", " \n"], r"text 2: must be .* Got: empty: only white space"),
        (["i", ("a", "b")], r"text 2: must be a str, .* since the model is one on single texts\. Got a pair of str\."),
        ([3], r"text 1: must be a str, .* Got int\."),
        ([float("nan")], r"text 1: .* Got float\."),
        ({"text": "a"}, r"text 1: .* Got dict\."),
        (b"\xff\xfeh\0", r"text 1: .* Got: not UTF-8: byte 0xff at 0"),
        (b"a\0b", r"text 1: .* Got: control characters: U\+0000 at character 2"),
        ("a\0b", r"text 1: .* Got: control characters: U\+0000"),
        ("a\x07", r"text 1: .* Got: control characters: U\+0007 at character 2"),
        ("a" * 100_001, r"text 1: .* Got: too long: 100001 characters, more than 100,000"),
        ("\ud800", r"text 1: .* Got: not UTF-8"),
        (Path("/nowhere/a.txt"), r"text 1: /nowhere/a\.txt cannot be read\. Got: No such file or directory\."),
    ],
)
def test_what_is_no_text_is_one_error(given: Any, message: str, model: Classifier) -> None:
    with pytest.raises(DataError, match=message):
        model.predict(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", r"text 1: must be a pair of str, .* since the model is one on pairs of texts\. Got str\."),
        (["a", "b", "c"], r"text 1: must be a pair of str.* Got str\."),
        ([("a", "b", "c")], r"text 1: must be a pair of str.* Got tuple\."),
        (("a", " "), r"text 1: .* Got: empty: second text: only white space"),
        (("a", "b\0c"), r"text 1: .* Got: control characters: U\+0000"),
        (b"a", r"text 1: .* Got: control characters: U\+0000 in one of the two texts|text 1: .* Got: one text"),
    ],
)
def test_what_is_no_pair_is_one_error(given: Any, message: str, of_pairs: Classifier) -> None:
    with pytest.raises(DataError, match=message):
        of_pairs.predict(given)


def test_more_than_make_a_graph(passed: Pass) -> None:
    """Where TensorFlow may rewrite the graph as it likes, as in a process of a user's own."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(dict.fromkeys(EXACT, True))
    try:
        model = Classifier.read(passed.paths.model.parent)
        few = model.probabilities(["my card", "top up i"])
        np.testing.assert_allclose(model.probabilities(["my card", "top up i"] * 260)[:2], few, atol=1e-5)
        assert all(tf.config.optimizer.get_experimental_options()[name] for name in EXACT)
    finally:
        tf.config.optimizer.set_experimental_options(dict.fromkeys(EXACT, True) | before)


def predicted(
    names: list[str], model: Classifier, forward: Any, stdin: bytes = b"", **columns: str
) -> list[stream.Seen]:
    return list(stream.seen(files.found(names, kinds.of(model, **columns), io.BytesIO(stdin)), model, forward))


def command(*arguments: str, model: Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["predict", "--model", str(model), *arguments], input=stdin)


def test_rows_of_a_table_are_called_and_labelled_as_by_evaluate(
    passed: Pass, model: Classifier, forward: Any, tmp_path: Path
) -> None:
    """The labels, and the probabilities, of every text that was held out, in every kind of table."""
    judged = pd.read_parquet(passed.paths.predictions).set_index("path")
    assert len(judged) > 6
    root = Path(passed.params.data.path)
    whole = pd.read_csv(root / "all.csv")
    whole.to_parquet(tmp_path / "all.parquet")
    whole.to_csv(tmp_path / "all.tsv", sep="\t", index=False)
    whole.to_json(tmp_path / "all.jsonl", orient="records", lines=True)
    for table in (root / "all.csv", *(tmp_path / f"all.{suffix}" for suffix in ("parquet", "tsv", "jsonl"))):
        found = predicted([str(table)], model, forward, text="text")
        assert len(found) == len(whole)
        named = {one.path.replace(str(table), "all.csv"): one.values for one in found}
        values = np.array([named[path] for path in judged.index])
        np.testing.assert_allclose(values, judged[[f"p:{name}" for name in model.classes]], atol=1e-5)
        assert [model.classes[number] for number in values.argmax(axis=1)] == list(judged["prediction"])


def test_files_folders_archives_and_lines(model: Classifier, forward: Any, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text(TEXTS[0])
    (folder / "deep" / "b.txt").write_text(TEXTS[1] + "\n")
    (folder / "empty.txt").touch()
    (folder / "blank.txt").write_text(" \n")
    (folder / "latin.txt").write_bytes("é".encode("latin-1"))
    (folder / "scan.pdf").write_bytes(b"%PDF")
    (folder / "table.csv").write_text("text\na\n")
    (folder / "notes.md").write_text(TEXTS[2])
    expected = model.probabilities(TEXTS)
    found = {one.path: one for one in predicted([str(folder)], model, forward)}
    problems = {Path(path).name: (one.problem, one.meant) for path, one in found.items() if one.problem}
    assert problems == {
        "empty.txt": ("empty file: 0 bytes", True),
        "blank.txt": ("empty: only white space", True),
        "latin.txt": ("not UTF-8: byte 0xe9 at 0: unexpected end of data; save it as UTF-8", True),
        "scan.pdf": ("format not read: .pdf; convert it to plain text in UTF-8, .txt", True),
        "table.csv": ("not the name of a text file", False),
        "notes.md": ("not the name of a text file", False),
    }
    np.testing.assert_allclose(found[str(folder / "a.txt")].values, expected[0], atol=1e-5)
    np.testing.assert_allclose(found[str(folder / "deep/b.txt")].values, expected[1], atol=1e-5)
    (named,) = predicted([str(folder / "notes.md")], model, forward)
    np.testing.assert_allclose(named.values, expected[2], atol=1e-5)
    with zipfile.ZipFile(tmp_path / "letters.zip", "w") as packed:
        packed.write(folder / "a.txt", "x/a.txt")
        packed.writestr("y/b.txt", "top up")
    inside, _ = predicted([str(tmp_path / "letters.zip")], model, forward)
    assert inside.path.endswith("letters.zip/x/a.txt")
    np.testing.assert_allclose(inside.values, expected[0], atol=1e-5)
    lines = predicted(["-"], model, forward, f"{TEXTS[0]}\r\n\n{TEXTS[1]}".encode())
    assert [(one.path, one.problem) for one in lines] == [
        ("-:1", ""), ("-:2", "empty: no character"), ("-:3", ""),
    ]  # fmt: skip
    np.testing.assert_allclose([lines[0].values, lines[2].values], expected[:2], atol=1e-5)


def test_pairs_in_tables_and_lines(of_pairs: Classifier, tmp_path: Path) -> None:
    forward, pairs = engine.forward(of_pairs), [("my card", "is lost"), ("top up", "i, not")]
    expected = of_pairs.probabilities(pairs)
    pd.DataFrame(pairs, columns=["b", "a"]).to_csv(tmp_path / "pairs.csv", index=False)
    found = predicted([str(tmp_path / "pairs.csv")], of_pairs, forward, text="b", second="a")
    np.testing.assert_allclose([one.values for one in found], expected, atol=1e-5)
    lines = predicted(["-"], of_pairs, forward, b"my card\tis lost\nalone\n")
    np.testing.assert_allclose(lines[0].values, expected[0], atol=1e-5)
    assert lines[1].problem.startswith("one text: where the model reads pairs")


def test_the_command(passed: Pass, tmp_path: Path) -> None:
    folder = passed.paths.model.parent
    table = Path(passed.params.data.path) / "all.csv"
    out = tmp_path / "labels.csv"
    done = command(str(table), "--text", "text", "--out", str(out), model=folder)
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(out)) == len(pd.read_csv(table))
    done = command("-", "--format", "jsonl", model=folder, stdin=b"my card\n\n")
    assert done.exit_code == 3
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["path"], set(first["top_labels"])) == ("-:1", set(CLASSES))
    assert second == {"path": "-:2", "problem": "empty: no character"}
    assert "1 of the files is no text that can be read" in done.stderr


def test_features_are_what_the_head_reads(passed: Pass, model: Classifier) -> None:
    catalogue = pd.read_csv(passed.paths.catalogue)
    features = store.load(passed.paths.features, list(catalogue["sha256"]))
    assert features is not None
    table = str(Path(passed.params.data.path) / "all.csv")
    found = predicted([table], model, engine.forward(model, engine.reader(model)), text="text")
    by_path = {one.path.removeprefix(f"{passed.params.data.path}/"): one.values for one in found}
    values = [by_path[path] for path in catalogue["path"]]
    np.testing.assert_allclose(values, features.plain(np.arange(len(catalogue))), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x.csv",), r"--text: must name the column of x\.csv that has the texts, since it is a table\. Got nothing"),
        (("t.csv", "--text", "txt"), r"--text: must be one of text, label\. Got 'txt'\. Did you mean 'text'\?"),
        (("t.csv", "--second", "b"), r"--second: stands beside --text"),
        (
            ("t.csv", "--text", "text", "--second", "label"),
            r"--second: must be left out, .* single texts\. Got 'label'",
        ),
    ],
)
def test_columns_that_cannot_be(
    arguments: tuple[str, ...], message: str, passed: Pass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("text,label\na,b\n")
    done = command(*arguments, model=passed.paths.model)
    assert isinstance(done.exception, GraftError), done.output
    assert re.match(message, str(done.exception))


def test_mlflows_table(model: Classifier, of_pairs: Classifier) -> None:
    """By the column's name, whatever stands beside it; by place where none is called so."""
    expected = model.predict(TEXTS, 2)
    for table in (
        pd.DataFrame({"text": TEXTS}),
        pd.DataFrame({"id": ["x"] * 3, "text": TEXTS}),
        pd.DataFrame({"any": TEXTS}),
    ):
        pd.testing.assert_frame_equal(pyfunc.Served(model).predict(table, {"top_k": 2}), expected)
    pairs = pd.DataFrame({"second": ["my card"], "text": ["is lost"]})
    found = pyfunc.Served(of_pairs).predict(pairs)
    pd.testing.assert_frame_equal(found, of_pairs.predict(("is lost", "my card")))
    with pytest.raises(MlflowException, match=r"text 1: must be a text that can be used\. Got: empty"):
        pyfunc.Served(model).predict(pd.DataFrame({"text": [""]}))
    with pytest.raises(MlflowException, match=r"must have 2 columns, text and second\. Got 1\."):
        pyfunc.Served(of_pairs).predict(pd.DataFrame({"text": ["a"]}))


def test_what_mlflow_is_told_of_pairs() -> None:
    """Columns by their names, in any order; their example is such a table."""
    kind = schemas.KINDS["text"]
    schema = kind.inputs({"pair": True})
    assert [(one["name"], one["type"]) for one in schema.to_dict()] == [("text", "string"), ("second", "string")]
    given = _enforce_schema(pd.DataFrame({"second": ["b"], "id": ["x"], "text": ["a"]}), schema)
    assert given.to_dict("list") == {"text": ["a"], "second": ["b"]}
    assert kind.table(b"a\0b") == {"columns": ["text", "second"], "data": [["a", "b"]]}


def test_heads_on_one_text_network(model: Classifier, tmp_path: Path) -> None:
    """A head alone beside a whole model: the same answers as of each alone. Alone, its network cannot be found."""
    first = heads.of(model)
    assert first.card["reads"] == {"pooling": "avg", "taps": "none"}
    other = heads_of_models.build("linear", {"pooling": "avg", "dropout": 0.0}, first.model.input_shape[1:], 2, 9)
    heads.write(heads.Head(other, first.card | {"classes": ["x", "y"]}), tmp_path / "b")
    read = {"a": first, "b": heads.read(tmp_path / "b")}
    both = Classifier(heads.together(read), first.card)
    arrays = {name: array[None] for name, array in model.example(TEXTS[0], 1).items()}
    said_a, said_b = engine.forward(both).run(arrays)
    np.testing.assert_allclose(said_a, model.probabilities(TEXTS[0]), atol=1e-5)
    features = engine.forward(model, engine.reader(model)).run(arrays)[0]
    np.testing.assert_allclose(said_b, np.asarray(other(features)), atol=1e-5)
    with pytest.raises(
        DataError, match=r"need Bert with .* a card does not say where the files of a network of KerasHub's are"
    ):
        heads.together({"b": read["b"]})
