"""`graft report`: numbers are those of the files, pictures link to files, and what is missing is said."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import mlflow
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from conftest import Pass, whole_pass
from graft import cli
from graft.cli import report as command
from graft.errors import DataError, GraftError, StaleError
from graft.evaluation import metrics, predictions
from graft.evaluation.metrics import Judged
from graft.reporting import answers, mistakes, page, read
from graft.tracking import mirror, run, server
from graft.verdicts import paired

SMALL = {
    "backbone.name": "GreyPixels", "backbone.input_size": 24, "extract.pooling": None, "extract.views": 0,
    "train.head": "conv", "train.epochs": 1, "finetune.enabled": False, "finetune.cut": "auto",
    "finetune.temperature": "validation",
}  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)> & 'single' \"double\""
HEAT = "Grad-CAM of "


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """A small network from scratch on drawings, and beside it what another model might have said of them before."""
    one = whole_pass(tmp_path_factory.mktemp("passed"), SMALL, 15)
    found = answers.read(one.paths.metrics, one.paths.predictions)
    temperature = json.loads(one.paths.card.read_text())["temperature"]
    judged: dict[str, dict[str, Judged]] = {"head": {}, "finetuned": {}}
    paths = {}
    for split in found.splits:
        answered = found.of("head", split, 10)
        paths[split] = answered.paths
        targets = answered.judged.targets.copy()
        targets[:2] = (answered.judged.predicted[:2] + 1) % 3  # these are labelled otherwise
        now = replace(answered.judged, targets=targets, temperature=temperature)
        before = replace(now, probabilities=np.roll(now.probabilities, 1, axis=1), temperature=None)
        before.probabilities[2:5] = now.probabilities[2:5]
        judged["head"][split], judged["finetuned"][split] = before, now
    judge_anew(one, judged, paths)
    return one


@pytest.fixture
def own(passed: Pass, tmp_path: Path) -> Pass:
    """A copy of the pass, to be changed."""
    folder = Path(shutil.copytree(passed.folder, tmp_path / "own"))
    paths = {name: folder / path.relative_to(passed.folder) for name, path in vars(passed.paths).items()}
    return replace(passed, folder=folder, paths=type(passed.paths)(**paths))


def written(one: Pass, split: str | None = None, most: int = 4, images: Path | None = None) -> str:
    out = one.folder / "page" / "report.html"
    page.write("folder", images or one.folder / "images", one.paths, out, split, most, bins=10)
    return out.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    shown = re.sub(r"<(style|title)>.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", shown)))


def evaluation(one: Pass) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one.paths.metrics.read_text())
    return found


def test_numbers_are_those_of_the_evaluation(passed: Pass) -> None:
    judged, table = evaluation(passed), pd.read_parquet(passed.paths.predictions)
    page = written(passed)
    text = text_of(page)
    for model, splits in judged.items():
        for split, m in splits.items():
            ships = " (ships)" if model == "finetuned" else ""
            low, high = m["accuracy_interval"]["low"], m["accuracy_interval"]["high"]
            assert (
                f"{model}{ships} {split} {m['images']} {m['accuracy']:.4f} {low:.3f} to {high:.3f} {m['macro_f1']:.4f} "
                f"{m['log_loss']:.4f} {m['expected_calibration_error']:.4f}"
            ) in text
    test = judged["finetuned"]["test"]
    for name, values in test["per_class"].items():
        row = f"{name} {values['images']} {values['precision']:.2f} {values['recall']:.2f} {values['f1']:.2f}"
        assert row in text
    shown = table[(table["model"] == "finetuned") & (table["split"] == "test")]
    n_wrong = int((shown["label"] != shown["prediction"]).sum())
    assert n_wrong > 1
    assert f"{n_wrong} of {test['images']} images wrong" in text
    # The diagrams' errors, recomputed from probabilities, are those that `evaluate` wrote.
    assert f"as it ships: calibration error {test['expected_calibration_error']:.4f}" in text
    temperature = test["temperature"]
    assert (
        f"before its logits were divided by the temperature, {temperature['value']:g}: calibration error "
        f"{temperature['expected_calibration_error_before']:.4f}"
    ) in text
    for (label, prediction), n in shown.groupby(["label", "prediction"]).size().items():
        of = int((shown["label"] == label).sum())
        assert f'title="{n} of {of} images of {label} predicted as {prediction}">{n}<' in page
    head = table[(table["model"] == "head") & (table["split"] == "test")].set_index("path")
    head = head.loc[shown["path"]]
    pairs = paired.count(
        (head["prediction"] == head["label"]).to_numpy(), (shown["prediction"] == shown["label"]).to_numpy()
    )
    assert (
        f"both have {pairs.both_right} right and both {pairs.both_wrong} wrong; {pairs.only_a_right} only head has "
        f"right, {pairs.only_b_right} only finetuned. McNemar's exact p = {paired.mcnemar(pairs):.2g}"
    ) in text


def test_mistakes_have_their_picture_heat_and_link(passed: Pass) -> None:
    table = pd.read_parquet(passed.paths.predictions)
    shown = table[(table["model"] == "finetuned") & (table["split"] == "test")].copy()
    shown["confidence"] = shown[[name for name in shown if name.startswith("p:")]].max(axis=1)
    wrong = shown[shown["label"] != shown["prediction"]].sort_values("confidence", ascending=False)
    page = written(passed, most=2)
    section = page.split("<h2>")[2]
    assert section.startswith("The most confident mistakes")
    assert re.findall(r'<div class="path soft"><a href="[^"]*">([^<]*)</a>', section) == list(wrong["path"][:2])
    first = wrong.iloc[0]
    for name in (first.label, first.prediction):
        assert f'alt="{HEAT}{first.path}: where it looks like {name}"' in section
    assert f"labelled {first.label} ({first[f'p:{first.label}']:.3f}), predicted {first.prediction} " in text_of(
        section
    )
    assert "on a map of 24 x 24 places" in text_of(page)
    links = re.findall(r'href="([^"]*)"', page)
    assert len(links) > 4
    for address in links:
        parts = urlparse(html.unescape(address))
        assert parts.scheme == "file"
        assert Path(unquote(parts.path)).is_file()
    assert re.findall(r'src="(?!data:image/jpeg;base64,)[^"]*"', page) == []
    assert "<script" not in page
    assert re.findall(r"https?://", page) == []
    assert not re.search(r"<img(?![^>]*\balt=)", page)


def test_the_same_page_twice_and_another_split(passed: Pass) -> None:
    assert written(passed) == written(passed)
    validation = text_of(written(passed, "validation"))
    assert f"of {evaluation(passed)['finetuned']['validation']['images']} images wrong" in validation
    assert ", validation images of" in validation
    without = written(passed, most=0)
    assert "base64" not in without


def test_a_folder_that_was_moved(own: Pass) -> None:
    (own.folder / "images").rename(own.folder / "elsewhere")
    page = written(own)
    assert "The images are not at" in text_of(page)
    assert "base64" not in page
    assert "href" not in page
    assert page.count("no picture") > 4
    assert f"{evaluation(own)['finetuned']['test']['accuracy']:.4f}" in page


def test_an_image_that_changed_and_one_that_is_gone(own: Pass) -> None:
    found = answers.read(own.paths.metrics, own.paths.predictions).of("finetuned", "test", 10)
    gone, changed = (found.paths[place] for place in mistakes.surest_wrong(found, 2))
    (own.folder / "images" / gone).unlink()
    shutil.copy(
        own.folder / "images" / found.paths[mistakes.least_sure_right(found, 1)[0]], own.folder / "images" / changed
    )
    page = written(own)
    assert "2 of the images that this page shows cannot be read at" in text_of(page)
    for path in (gone, changed):
        assert f"{HEAT}{path}:" not in page
        assert f">{path}<" in page
    assert HEAT in page


def test_hostile_names_do_no_harm(own: Pass) -> None:
    """A class and a file, in every place where the page has one."""
    for file in (own.paths.predictions, own.paths.metrics, own.paths.card, own.paths.catalogue):
        if file.suffix == ".parquet":
            table = pd.read_parquet(file).replace("circle", HOSTILE).rename(columns={"p:circle": f"p:{HOSTILE}"})
            table["path"] = table["path"].str.replace("circle/", f"{HOSTILE}/", regex=False)
            table.to_parquet(file, index=False)
        elif file.suffix == ".csv":
            table = pd.read_csv(file, dtype=str, keep_default_na=False).replace("circle", HOSTILE)
            table["path"] = table["path"].str.replace("circle/", f"{HOSTILE}/", regex=False)
            table.to_csv(file, index=False)
        else:
            file.write_text(file.read_text().replace('"circle"', json.dumps(HOSTILE)))
    (own.folder / "images" / "circle").rename(own.folder / "images" / HOSTILE)
    page = written(own, most=40)
    assert "<img src=x" not in page
    assert text_of(page).count(HOSTILE) > 5
    assert "no picture" not in page
    assert re.search(r'alt="Grad-CAM of &lt;img src=x [^"]*where it looks like', page)
    assert all(Path(unquote(urlparse(html.unescape(a)).path)).is_file() for a in re.findall(r'href="([^"]*)"', page))
    assert set(re.findall(r"<(\w+)", page)) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "div", "code", "b", "p", "table", "tr",
        "th", "td", "span", "i", "small", "img", "a", "figure", "figcaption", "svg", "g", "line", "rect", "text",
        "details", "summary",
    }  # fmt: skip
    assert re.findall(r"<\w+[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', page)) == []


def judge_anew(one: Pass, judged: dict[str, dict[str, Judged]], paths: dict[str, list[str]] | None = None) -> None:
    """Puts other answers in the place of those of the pass. paths: of each split's images; without, of none here."""
    one.paths.metrics.write_text(json.dumps(metrics.compute_all(judged)))
    tables = [
        predictions.table(
            model, split, paths[split] if paths else [f"{i}.png" for i in range(len(j.targets))],
            [j.classes[t] for t in j.targets], j.probabilities, j.classes,
        )
        for model, splits in judged.items()
        for split, j in splits.items()
    ]  # fmt: skip
    predictions.write(tables, one.paths.predictions)


def judged(n_classes: int, each: int, right: float, seed: int = 0) -> Judged:
    """Answers of which `right` are right, by chance."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(n_classes), each)
    said = np.where(rng.uniform(size=len(targets)) < right, targets, (targets + 1) % n_classes)
    scores = rng.uniform(0, 1, (len(targets), n_classes))
    scores[np.arange(len(targets)), said] += 1
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return Judged(probabilities, targets, [f"class {i:03d}" for i in range(n_classes)], 5, 10, 0.95)


def test_no_mistake_and_one_model_on_one_split(own: Pass) -> None:
    judge_anew(own, {"head": {"validation": judged(3, 5, 1.0)}})
    text = text_of(written(own))
    assert "No mistake among 15 images." in text
    assert "No class is taken for another." in text
    assert "There is one model here, head: nothing to compare it with." in text
    assert "head, " not in text
    assert "validation images of" in text
    with pytest.raises(DataError, match=r"--split: must be one that has examples, validation\. Got test"):
        written(own, "test")


def test_many_classes_are_the_worst_pairs(own: Pass) -> None:
    judge_anew(own, {"head": {"test": judged(300, 3, 0.5, 1)}, "finetuned": {"test": judged(300, 3, 0.8)}})
    page = written(own, images=own.folder / "nowhere")
    text = text_of(page)
    assert "confusion" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    (rows,) = re.findall(r"<h3>The pairs that are mixed up most</h3>.*?</table>", page, re.DOTALL)
    assert rows.count("<tr>") == 1 + 40
    assert re.search(r"class \d{3} class \d{3} 3 100.0 % of 3", text_of(rows))
    assert re.search(r"and \d+ more pairs", text)
    assert "and 100 more classes, of a higher F1" in text
    assert len(page) < 400_000


def test_two_classes_of_which_none_is_right(own: Pass) -> None:
    judge_anew(own, {"finetuned": {"test": judged(2, 4, 0.0)}})
    text = text_of(written(own, images=own.folder / "nowhere"))
    assert "None of 8 images is right." in text
    assert "8 of 8 images wrong" in text


def test_what_picks_and_counts() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8], [0.7, 0.3]], np.float32)
    b = answers.Answers(
        ["a", "b", "c", "d", "e"], Judged(probabilities, np.array([0, 0, 0, 1, 1]), ["x", "y"], 1, 10, 0.95)
    )
    assert mistakes.surest_wrong(b, 9) == [2, 4, 1]
    assert mistakes.surest_wrong(b, 2) == [2, 4]
    assert mistakes.least_sure_right(b, 9) == [3, 0]
    assert mistakes.confusion(b.judged).tolist() == [[1, 2], [1, 1]]
    assert mistakes.worst_pairs(b.judged, 5) == [mistakes.Pair("x", "y", 2, 3), mistakes.Pair("y", "x", 1, 2)]
    order = [3, 1, 0, 4, 2]
    other = replace(b.judged, probabilities=probabilities[:, ::-1][order], targets=b.judged.targets[order])
    found = mistakes.sides("head", answers.Answers([b.paths[i] for i in order], other), "finetuned", b)
    assert (found.gained, found.lost) == ([0, 3], [2, 4, 1])
    assert found.first_answers.paths == b.paths
    assert found.pairs == paired.Paired(0, 3, 2, 0)


def test_a_picture_links_to_its_file_where_it_has_one(tmp_path: Path) -> None:
    """Not in an archive, nor where paths name records of an array."""
    (tmp_path / "a b#?%").mkdir()
    (tmp_path / "a b#?%" / "\u00e9.png").touch()
    (tmp_path / "images.zip").touch()
    address = read.link(tmp_path, "a b#?%/\u00e9.png")
    assert address is not None
    assert re.fullmatch(r"file:///[\w/.%-]+", address)
    assert Path(unquote(urlparse(address).path)).is_file()
    assert read.link(tmp_path, "0001.pgm") is None
    assert read.link(tmp_path / "images.zip", "a/b.png") is None


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_figures(path: Path) -> None:
    path.write_text('{"finetuned": {"test": {"accuracy": 1.0}}}')


def of_another_run(path: Path) -> None:
    table = pd.read_parquet(path)
    table["p:circle"] = 2.0
    table.to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("predictions", Path.unlink, r"predictions\.parquet: must exist to be reported"),
        ("predictions", damaged, r"predictions\.parquet: must be written by `evaluate`\. Run `dvc repro`\. Got: "),
        ("predictions", of_another_run, r"must be of the same run of `evaluate` as .*evaluation\.json"),
        ("metrics", damaged, r"evaluation\.json: must be written by `evaluate`\. Run `dvc repro`\. Got: "),
        ("metrics", without_figures, r"Got: figures of another version of graft"),
        ("model", damaged, r"model\.keras: must be a Keras model"),
        ("card", damaged, r"card\.json: must be a model's card"),
    ],
)
def test_what_is_missing_or_damaged_is_one_sentence(
    own: Pass, name: str, harm: Callable[[Path], None], said: str
) -> None:
    harm(getattr(own.paths, name))
    with pytest.raises(StaleError, match=said) as caught:
        written(own)
    assert "Run `dvc repro`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_held_out(own: Pass) -> None:
    own.paths.metrics.write_text('{"finetuned": {}}')
    predictions.write([predictions.nothing(["a", "b"])], own.paths.predictions)
    with pytest.raises(DataError, match=r"data\.split: must hold examples out"):
        written(own)


def call(one: Pass, patch: pytest.MonkeyPatch, *arguments: str) -> Result:
    patch.chdir(one.folder)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        patch.delenv(name, raising=False)
    patch.setattr(command, "start_tensorflow", lambda: None)
    return CliRunner().invoke(cli.app, ["report", *arguments])


def test_the_command_and_the_run_of_the_pass(own: Pass, monkeypatch: pytest.MonkeyPatch) -> None:
    """No store: none is made. Then a run of another pass, and this one's."""
    result = call(own, monkeypatch, "--images", "1", "--split", "validation")
    assert result.exit_code == 0, result.output
    assert "data/report/model.html\n" in result.stdout
    assert "the page is not in MLflow, which has no run of this pass. `graft log` makes one." in result.stderr
    assert not Path("mlflow.db").exists()
    page = Path("data/report/model.html").read_text()
    assert "validation images of" in text_of(page)

    client, experiment = server.connect(own.params.tracking.experiment)
    tags = {run.COMPLETE: "true", run.OUTPUTS: mirror.outputs_digest(own.paths)}
    client.create_run(experiment, tags=tags | {run.PASS: "another"}, run_name="another")
    other = call(own, monkeypatch, "--images", "0", "--out", "elsewhere/my page.html")
    assert other.exit_code == 0
    assert "has no run of this pass" in other.stderr
    assert Path("elsewhere/my page.html").exists()

    tags[run.PASS] = run.pass_id(own.params, own.paths)
    mine = client.create_run(experiment, tags=tags, run_name="mine").info.run_id
    result = call(own, monkeypatch, "--images", "0")
    assert "MLflow run: mine (report/report.html)" in result.stderr
    logged = mlflow.artifacts.download_artifacts(run_id=mine, artifact_path="report/report.html")
    assert Path(logged).read_bytes() == Path("data/report/model.html").read_bytes()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    os.remove("data/report/model.html")
    monkeypatch.setattr(command, "start_tensorflow", lambda: None)
    unreachable = CliRunner().invoke(cli.app, ["report", "--images", "0"])
    assert unreachable.exit_code == 0
    assert "note: the page is not in MLflow. MLFLOW_TRACKING_URI: http://127.0.0.1:9 must be a reachable" in (
        unreachable.stderr
    )
    assert Path("data/report/model.html").exists()


def test_other_parameters_than_the_models(own: Pass, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `dvc.lock` has them, where there is one."""
    lock = {"stages": {"train": {"params": {"params.yaml": {"train.epochs": 99}}, "outs": []}}}
    (own.folder / "dvc.lock").write_text(json.dumps(lock))
    result = call(own, monkeypatch)
    assert isinstance(result.exception, GraftError)
    said = (
        r"params\.yaml: must be what the model was made with.*Different: params\.yaml train\.epochs \(of train\)\. Run"
    )
    assert re.search(said, str(result.exception))


@pytest.mark.slow
def test_a_pass_that_fine_tunes(tmp_path: Path) -> None:
    """Both models are there, and a backbone's map of 2 x 2 is looked at."""
    small = {"backbone.input_size": 64, "extract.views": 0, "train.epochs": 1, "finetune.epochs": 1}
    one = whole_pass(tmp_path, small, 12)
    page = written(one)
    assert "on a map of 2 x 2 places" in text_of(page) or "No mistake among" in text_of(page)
    assert HEAT in page
    assert "The head alone against fine-tuning Of " in text_of(page)
