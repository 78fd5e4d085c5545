"""The page about a model on texts, and its run in MLflow: what `evaluate` completes, and what the model there takes."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from fastapi.testclient import TestClient
from mlflow.pyfunc import scoring_server

from conftest import Pass
from graft.reporting import answers, mistakes, page
from graft.serving.classifier import Classifier
from graft.tracking import run
from text_pass import CLASSES, text, whole_text_pass

pytestmark = pytest.mark.long

TEXTS = [text(kind, number) for number, kind in enumerate(CLASSES)]


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """A pass that fine-tunes, on texts that hold markup."""
    return whole_text_pass(tmp_path_factory.mktemp("pass"), {"train.epochs": 1, "finetune.epochs": 1}, 10, hostile=True)


def written(one: Pass, out: Path) -> str:
    page.write(one.params.data.source, Path(one.params.data.path), one.paths, out, "test", 5, bins=10)
    return out.read_text()


def test_every_text_that_is_shown_is_marked(passed: Pass, tmp_path: Path) -> None:
    """The surest mistakes for both classes, the least sure right ones for one; words as they stand in the table."""
    shown = written(passed, tmp_path / "page.html")
    evaluated = answers.read(passed.paths.metrics, passed.paths.predictions)
    shipped = evaluated.of(evaluated.ships, "test", 10)
    wrong, unsure = mistakes.surest_wrong(shipped, 5), mistakes.least_sure_right(shipped, 5)
    assert wrong
    assert unsure
    table = pd.read_csv(Path(passed.params.data.path) / "all.csv")
    figures = re.findall(r'<figure class="card text">.*?</figure>', shown, re.DOTALL)[: len(wrong) + len(unsure)]
    for place, figure in zip([*wrong, *unsure], figures, strict=True):
        row = int(shipped.paths[place].split("row-")[1].removesuffix(".txt"))
        paragraphs = [html.unescape(re.sub("<.*?>", "", one)) for one in re.findall(r"<p.*?</p>", figure, re.DOTALL)]
        assert paragraphs == [table["text"][row]] * (2 if place in wrong else 1)
        assert re.search(r'<mark style="--share:0\.55"|<mark class="against" style="--share:0\.55"', figure)
    assert "images" not in re.sub(r"<style>.*?</style>", "", shown, flags=re.DOTALL)
    assert written(passed, tmp_path / "again.html") == shown


def test_texts_that_changed_leave_their_places_empty(passed: Pass, tmp_path: Path) -> None:
    """And what a text says is never markup."""
    table = Path(passed.params.data.path) / "all.csv"
    before = table.read_text()
    try:
        table.write_text(before.replace("?", "!"))
        shown = written(passed, tmp_path / "page.html")
    finally:
        table.write_text(before)
    assert "no text" in shown
    assert "<mark class" not in shown.split("The most confident mistakes")[1].split("<figure")[1]
    assert re.search(r"\d+ of the texts that this page\s+shows cannot be read", shown)


def test_a_text_is_no_markup(passed: Pass, tmp_path: Path) -> None:
    shown = written(passed, tmp_path / "page.html")
    assert "alert" in shown
    assert "<script>" not in shown
    assert "<img" not in shown


@pytest.fixture(scope="module")
def logged(passed: Pass) -> Path:
    """Of the model in the run of the pass: its folder in MLflow's store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(passed.folder)
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        done = run.complete(passed.params, passed.paths, None)
        client = mlflow.MlflowClient(f"sqlite:///{passed.folder}/mlflow.db")
        found = client.get_run(done.run_id)
        assert found.data.tags[run.COMPLETE] == "true"
        assert {one.path for one in client.list_artifacts(done.run_id)} >= {"plots", "predictions", "data", "metrics"}
        (output,) = found.outputs.model_outputs
        (given,) = found.inputs.dataset_inputs
        assert given.dataset.name == "catalogue"
        assert "characters" in given.dataset.schema
        return Path(client.get_logged_model(output.model_id).artifact_location.removeprefix("file://"))


def test_what_mlflow_says_of_the_model(logged: Path) -> None:
    said = yaml.safe_load((logged / "MLmodel").read_text())
    assert json.loads(said["signature"]["inputs"]) == [{"type": "string", "required": True}]
    names = [line.split("==")[0] for line in (logged / "requirements.txt").read_text().splitlines()]
    assert {"keras-hub", "tokenizers", "keras", "tensorflow"} <= set(names)
    table = json.loads((logged / "input_example.json").read_text())
    assert table["columns"] == ["text"]
    assert re.search("lost card|top up|transfer money", table["data"][0][0])


LOAD = """\
import json, sys
sys.modules["graft"] = None  # as if it were not installed
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
texts = json.loads(sys.argv[2])
given = [texts, pd.DataFrame({"text": texts}), pd.DataFrame({"any": texts})]
print(json.dumps([model.predict(one, params={"top_k": 2}).to_dict("records") for one in given]))
"""


def test_it_loads_without_graft(logged: Path, passed: Pass) -> None:
    """A list of texts, or a table of them, whatever the column is called."""
    command = [sys.executable, "-c", LOAD, str(logged), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Classifier.read(passed.paths.model.parent).predict(TEXTS, 2)
    for answer in json.loads(done.stdout.splitlines()[-1]):
        assert [one["top_labels"] for one in answer] == list(expected["top_labels"])
        for one, probability in zip(answer, expected["probability"], strict=True):
            assert abs(one["probability"] - probability) < 1e-6


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": TEXTS},
        {"instances": TEXTS},
        {"dataframe_split": {"columns": ["text"], "data": [[one] for one in TEXTS]}},
        {"dataframe_records": [{"text": one} for one in TEXTS]},
    ],
    ids=lambda body: next(iter(body)),
)
def test_mlflows_own_server(body: dict[str, Any], logged: Path, passed: Pass) -> None:
    client = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(logged))))
    answer = client.post("/invocations", json=body)
    assert answer.status_code == 200, answer.text
    expected = Classifier.read(passed.paths.model.parent).predict(TEXTS)
    assert [one["label"] for one in answer.json()["predictions"]] == list(expected["label"])
    refused = client.post("/invocations", json={"inputs": [""]})
    assert refused.status_code == 400
    assert "must be a text that can be used" in refused.text
