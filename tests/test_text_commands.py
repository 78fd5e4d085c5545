"""probe, audit, relabel, lr-find, study, cache, backbones and init on texts: what differs from images."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import text_examples
import text_network
from conftest import paths_in
from graft.backbones import encoders
from graft.cli import backbones as backbones_command
from graft.cli import cache as cache_command
from graft.cli import probe as probe_command
from graft.cli import study as study_command
from graft.cli import text_backbones
from graft.config.load import load
from graft.errors import BackboneError, DataError, ParamsError
from graft.project import texts

pytestmark = pytest.mark.long

WRONG = "top up how up top how top up top <script>"
"""A text of the class `topping` that has the label `card`."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    folder = tmp_path_factory.mktemp("texts")
    text_examples.write(folder / "texts", 16, **{WRONG: "card"})
    return *text_examples.trained(folder), folder


def test_taps_are_where_blocks_begin_and_the_output(tmp_path: Path) -> None:
    from graft.backbones import build, taps, text

    folder = text_network.write(tmp_path / "network")
    network = build.build("Bert", None, 0, str(folder), 0).model
    found = taps.of(network)
    assert [tap.layer for tap in found] == ["block_0", "block_1", taps.LAST]
    assert [tap.cut for tap in found] == ["block_0", "block_1", None]
    assert [tap.below for tap in found] == pytest.approx([0, 1 / 2, 1], abs=1e-3)
    tokens = np.zeros((2, 8, 2), np.float32)
    tokens[0, :3, 0], tokens[1, :7, 0] = [3, 40, 4], [3, 41, 42, 43, 44, 45, 4]
    for pooling in ("avg", "max", "cls"):
        pooled = np.asarray(taps.joined(network, pooling)(tokens))
        assert pooled.shape == (2, 3 * text_network.HIDDEN)
        own = np.asarray(text.pooled(network(tokens), pooling))
        np.testing.assert_allclose(pooled[:, -text_network.HIDDEN :], own, atol=1e-6)
    alone = np.asarray(taps.joined(network, "avg")(tokens[:1, :3]))
    np.testing.assert_allclose(np.asarray(taps.joined(network, "avg")(tokens))[:1], alone, atol=1e-5)


@pytest.mark.slow
def test_probe_ranks_blocks_and_tunes_from_them(trained: tuple[Any, Any, Path]) -> None:
    from graft.probing import judging, run

    params, paths, _ = trained
    choice, tuned = run.run([params], paths, epochs=1)
    assert {one.layer for one in choice.ranked} == {"block_0", "block_1", "output", "all 3 layers"}
    assert {one.network for one in choice.ranked} == {"Bert of network"}
    assert [one.cut for one in tuned] == ["block_1"]
    longest = 12  # tokens, a multiple of four
    assert tuned[0].stored_bytes == longest * text_network.HIDDEN * 2
    table = judging.table(choice, "text")
    assert (table["milliseconds_per_text"] >= 0).all()
    said = "\n".join(probe_command.advice(choice, "text"))
    assert "image" not in said.lower()
    assert "of a text of 32 tokens" in said
    assert "validation texts" in probe_command.where_to_unfreeze(tuned, "text")


def test_probe_of_other_networks(trained: tuple[Any, Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, folder = trained
    monkeypatch.chdir(folder)
    other = text_network.write(folder / "other", "distilbert")
    (found,) = probe_command._every([f"DistilBert:{other}"], [0])
    assert (found.backbone.name, found.backbone.weights) == ("DistilBert", str(other))
    assert found.backbone.weights_sha256 == encoders.digest(other)
    for names, sizes, fault in (
        ([""], [64], "--input-size: must not be given for texts, which backbone.max_tokens cuts off"),
        (["Bert"], [0], "--backbone: must be NAME:FOLDER for a network of KerasHub's"),
        ([f"MobileNetV2:{other}"], [0], "backbone.name: for data.kind: text must be one of"),
    ):
        with pytest.raises(ParamsError) as caught:
            probe_command._every(names, sizes)
        assert any(one.startswith(fault) for one in caught.value.faults), caught.value.faults


def test_all_taps_for_the_head_of_that_name(tmp_path: Path) -> None:
    from graft.features import store

    all_of_them = {"extract.taps": "all", "train.head": "taps", "finetune.enabled": False}
    _, paths = text_examples.trained(tmp_path, all_of_them)
    assert store.read_meta(paths.features)[0].output["widths"] == [text_network.HIDDEN] * 3


def test_audit_shows_texts_as_text_and_decisions_are_applied(
    trained: tuple[Any, Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft.audit import run, subject
    from graft.stages import prepare

    params, paths, _ = trained
    found = run.run(subject.read(paths, None), params.data.source, Path(params.data.path), 10, tmp_path)
    (first,) = (one for one in found.listed if found.texts[one["path"]] == [WRONG])
    assert (first["label"], first["suggested"]) == ("card", "topping")
    assert found.metrics["texts"] == 49
    page = (tmp_path / run.PAGE).read_text()
    assert "<script>" not in page
    assert html.escape(WRONG) in page
    assert all(f"{near['label']}</figcaption>" in page for near in first["neighbours"])
    assert "image" not in page.split("<body")[1].replace("data:image", "")
    sheet = pd.read_csv(tmp_path / run.SHEET, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    assert list(sheet.loc[sheet["path"] == first["path"], "text"]) == [WRONG]

    sheet.loc[sheet["path"] == first["path"], "decision"] = "topping"
    monkeypatch.chdir(tmp_path)
    Path("data/relabel").mkdir(parents=True)
    sheet.to_csv("data/relabel/audit.csv", index=False)
    again = params.model_copy(update={"data": params.data.model_copy(update={"relabel": "audit.csv"})})
    own = dataclasses.replace(paths_in(tmp_path), features=paths.features)
    prepare.run(again, own)
    table = pd.read_csv(own.catalogue, dtype=str, keep_default_na=False).set_index("path")
    assert table.at[first["path"], "label"] == "topping"


def test_a_text_is_no_formula_of_the_csv(tmp_path: Path) -> None:
    from graft.audit import sheet

    rows = pd.DataFrame([dict.fromkeys(sheet.COLUMNS, "") | {"path": path} for path in ("a", "b")])
    sheet.write(rows, {"a": ["=1+1"], "b": ["one", "two"]}, tmp_path / "a.csv")
    assert list(pd.read_csv(tmp_path / "a.csv", encoding="utf-8-sig")["text"]) == ["'=1+1", "one / two"]


def test_a_range_test_of_the_upper_blocks(trained: tuple[Any, Any, Path]) -> None:
    from graft.range_test import measure, subjects

    params, paths, _ = trained
    model, views, data = subjects.of("finetune", params, paths)
    curve = measure.measure(views, data, model, params.finetune, params.seed)
    assert np.isfinite(curve.losses).all()
    assert 0 < curve.suggested <= 1


@pytest.mark.slow
def test_a_study_has_no_network_from_scratch(trained: tuple[Any, Any, Path]) -> None:
    from graft.study import compute, few_shot

    params, paths, _ = trained
    trials = few_shot.trials(params, paths, [2], [1], few_shot.Recipe(2, 1, 0.001, 1))
    assert [one.ways for one in trials] == [(few_shot.HEAD, few_shot.FINETUNED)]
    left_out = study_command._left_out(params, [2], {"2"})
    assert left_out == ["a network for texts is what its files are: none is trained from scratch"]
    points = list(few_shot.run(params, paths, trials))
    assert [(one.shots, one.way) for one in points] == [("2", way) for way in (few_shot.HEAD, few_shot.FINETUNED)]
    network = compute.of(params, paths, 3)
    h, inner, tokens = text_network.HIDDEN, text_network.INTERMEDIATE, text_examples.MAX_TOKENS
    assert network.all == pytest.approx(tokens * 2 * (4 * h * h + 2 * h * inner), rel=0.03)


def test_the_cache_says_what_it_holds_of_texts() -> None:
    from graft.features.cache import Held

    what = {
        "alpha": None, "weights_sha256": "a" * 64, "engine": "tensorflow", "precision": "float32", "output": {},
        "input": {"kind": "text", "max_tokens": 64, "augment": None}, "shape": [384], "dtype": "float32",
    }  # fmt: skip
    assert cache_command._described(Held(Path("a"), what, 0, 0.0))[2] == "64 tokens"


def test_backbones_lists_text_networks_and_their_cuts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbones_command.table()
    said = capsys.readouterr().out
    assert all(name in said for name in encoders.ENCODERS)
    backbones_command.show("Bert", None, None, None)
    assert "--weights FOLDER" in capsys.readouterr().out
    folder = text_network.write(tmp_path / "tiny")
    monkeypatch.setattr(text_backbones, "start_tensorflow", lambda: None)  # which has computed before, in this process
    backbones_command.show("Bert", None, None, str(folder))
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[-3:]] == [encoders.FIRST, "block_0", "block_1"]
    with pytest.raises(BackboneError, match="--alpha and --input-size: must be given for networks that read images"):
        backbones_command.show("Bert", 1.0, None, None)
    with pytest.raises(BackboneError, match="--weights: must be given for networks that are KerasHub's"):
        backbones_command.show("MobileNetV2", None, None, str(folder))
    with pytest.raises(BackboneError, match=r"must be given networks that come with Keras\. Got Bert"):
        backbones_command.measure(["Bert"])


def suited(place: Path, project: Path) -> dict[str, Any]:
    found = texts.found(place, place.name)
    assert found is not None
    return texts.suited(found, project)


def test_init_proposes_the_columns_of_a_table(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"id": range(6), "Question": [text_examples.text("card", i) for i in range(6)], "intent": list("ababab")}
    )
    (tmp_path / "q").mkdir()
    table.to_csv(tmp_path / "q" / "train.csv", index=False)
    one = suited(tmp_path / "q", tmp_path)
    assert (one["data.kind"], one["data.manifest.file"]) == ("text", "train.csv")
    assert (one["data.manifest.columns.text"], one["data.manifest.columns.label"]) == ("Question", "intent")
    assert one["backbone.weights_sha256"] is None
    table.to_csv(tmp_path / "q" / "test.csv", index=False)
    two = suited(tmp_path / "q", tmp_path)
    assert two["data.manifest.file"] is None
    assert (two["data.manifest.lists.train"], two["data.manifest.lists.test"]) == ("train.csv", "test.csv")
    pairs = table.rename(columns={"Question": "sentence1"}).assign(sentence2=table["Question"])
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    three = suited(tmp_path / "pairs.csv", tmp_path)
    assert (three["data.manifest.columns.text"], three["data.manifest.columns.second"]) == ("sentence1", "sentence2")


def test_init_of_folders_of_texts_with_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project that is written is one that params check has no word against."""
    from graft.project import start

    network = text_network.write(tmp_path / texts.NETWORK)
    for name in text_examples.WORDS:
        (tmp_path / "mails" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "mails" / name / f"{i}.txt").write_text(text_examples.text(name, i, 60))
    said = list(start.write(tmp_path, tmp_path / "mails"))
    assert said[0].startswith("saw: 12 texts of 3 classes, the middle one of ")
    assert not any("no network" in line for line in said)
    written = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert (written["data"]["kind"], written["data"]["source"], written["data"]["path"]) == ("text", "folder", "mails")
    assert written["backbone"]["name"] == "Bert"
    assert written["backbone"]["weights_sha256"] == encoders.digest(network)
    assert written["backbone"]["max_tokens"] == 128, "of some 250 characters"
    monkeypatch.chdir(tmp_path)
    assert load().data.kind == "text"


def test_init_leaves_images_alone_and_wants_two_classes(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    (tmp_path / "pictures" / "cat" / "a.png").write_bytes(b"")
    (tmp_path / "pictures" / "cat" / "notes.txt").write_text("of a cat")
    assert texts.found(tmp_path / "pictures", "pictures") is None
    pd.DataFrame({"path": ["cat/a.png"], "title": ["a cat"], "label": ["cat"]}).to_csv(
        tmp_path / "pictures" / "all.csv", index=False
    )
    assert texts.found(tmp_path / "pictures", "pictures") is None
    (tmp_path / "mails" / "ham").mkdir(parents=True)
    (tmp_path / "mails" / "ham" / "a.txt").write_text("hello")
    with pytest.raises(DataError, match=r"--data: must hold texts of at least two classes. .* has 1 of one, 'ham'"):
        texts.found(tmp_path / "mails", "mails")
