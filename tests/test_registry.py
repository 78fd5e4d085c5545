"""`graft promote` and `graft card` on a real store and registry: who becomes champion, and what is written of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from conftest import CLASSES
from graft import cli
from graft.errors import GraftError, StaleError, TrackingError
from graft.registry import card
from graft.tracking import ledger, model, registry, run, server
from logged_passes import Logged, entered, made
from text_pass import whole_text_pass

TEST_IMAGES = 18


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    """Runs with 10, 9 and 1 of 18 test images wrong; `other` was judged on other test images."""
    folder = tmp_path_factory.mktemp("registry")
    with entered(folder):
        project = made(folder)
        for name, wrong in (("poor", 10), ("alike", 9), ("good", 1), ("other", 0)):
            project.answer(name, wrong)
        mlflow.MlflowClient(server.uri()).set_tag(project.ids["other"], ledger.TEST_SPLIT, "other images")
        yield project


@pytest.fixture
def client() -> Any:
    return mlflow.MlflowClient(server.uri())


def graft(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)


def champion(client: Any, name: str) -> tuple[int, str]:
    found = client.get_model_version_by_alias(name, "champion")
    return int(found.version), found.run_id


def test_the_first_is_champion_by_itself(logged: Logged, client: Any) -> None:
    done = graft("promote", logged.ids["poor"], "--name", "first")
    assert done.exit_code == 0
    assert "Promoted: first version 1 is champion (first). models:/first@champion is its address." in done.stdout
    assert champion(client, "first") == (1, logged.ids["poor"])
    tags = client.get_model_version("first", "1").tags
    assert {key: tags[key] for key in tags if key.startswith("graft.")} == {
        "graft.verdict": "first", "graft.promoted": "true",
    }  # fmt: skip
    again = graft("promote", logged.ids["poor"], "--name", "first")
    assert (again.exit_code, "champion already" in again.stdout) == (0, True)
    assert len(client.search_model_versions("name = 'first'")) == 1


def test_a_better_one_takes_its_place(logged: Logged, client: Any) -> None:
    """By hand: 9 gained, none lost; p = 2 / 2^9, the difference 9 of 18."""
    graft("promote", logged.ids["poor"], "--name", "better")
    done = graft("promote", logged.ids["good"], "--name", "better")
    assert done.exit_code == 0, done.stdout
    assert "Verdict: better. B is better than A: p is below 0.05." in done.stdout
    assert "Promoted: better version 2 is champion (better; it was version 1)." in done.stdout
    assert champion(client, "better") == (2, logged.ids["good"])
    tags = client.get_model_version("better", "2").tags
    assert tags["graft.verdict"] == "better"
    assert tags["graft.against"] == f"version 1, run {logged.ids['poor']}"
    assert tags["graft.difference"] == "+0.5000"
    assert tags["graft.p"] == f"{2 / 2**9:.3g}"
    low, high = (float(one) for one in tags["graft.difference_interval"].removesuffix(" (95%)").split(" to "))
    assert 0.2 < low < 0.5 < high < 0.8
    assert "graft.forced" not in tags


@pytest.mark.parametrize(("holder", "name", "verdict"), [("poor", "alike", "within noise"), ("good", "poor", "worse")])
def test_one_that_is_not_better_does_not(logged: Logged, client: Any, holder: str, name: str, verdict: str) -> None:
    registered = f"not {verdict}"
    graft("promote", logged.ids[holder], "--name", registered)
    done = graft("promote", logged.ids[name], "--name", registered)
    assert done.exit_code == 1
    assert f"Not promoted: {registered} version 2 is registered, version 1 stays champion ({verdict})." in done.stdout
    assert "`--force REASON` promotes it all the same" in done.stdout
    assert champion(client, registered) == (1, logged.ids[holder])
    tags = client.get_model_version(registered, "2").tags
    assert (tags["graft.verdict"], tags["graft.promoted"]) == (verdict, "false")

    forced = graft("promote", logged.ids[name], "--name", registered, "--force", "it is smaller")
    assert forced.exit_code == 0
    assert f"is champion (forced, {verdict}: it is smaller; it was version 1)" in forced.stdout
    assert champion(client, registered) == (2, logged.ids[name])
    tags = client.get_model_version(registered, "2").tags
    assert (tags["graft.verdict"], tags["graft.forced"], tags["graft.promoted"]) == (verdict, "it is smaller", "true")
    assert len(client.search_model_versions(f"name = '{registered}'")) == 2, "no second version of one run"


def test_another_test_split_is_no_comparison(logged: Logged, client: Any) -> None:
    graft("promote", logged.ids["poor"], "--name", "apart")
    with pytest.raises(StaleError) as caught:
        graft("promote", logged.ids["other"], "--name", "apart")
    assert "must be judged on the same test images as the champion, apart version 1" in str(caught.value)
    assert f"`graft lineage {logged.ids['poor']}` says which" in str(caught.value)
    assert len(client.search_model_versions("name = 'apart'")) == 1, "nothing was registered"
    done = graft("promote", logged.ids["other"], "--name", "apart", "--force", "the shop sells other things now")
    assert done.exit_code == 0
    tags = client.get_model_version("apart", "2").tags
    assert (tags["graft.verdict"], tags["graft.forced"]) == ("not comparable", "the shop sells other things now")
    assert "graft.p" not in tags


def test_a_champion_that_is_no_run_of_ours(logged: Logged, client: Any) -> None:
    client.create_registered_model("by hand")
    client.create_model_version("by hand", "file:///somewhere")
    assert registry.champion(client, "by hand") is None, "a model without the alias"
    client.set_registered_model_alias("by hand", "champion", "1")
    with pytest.raises(
        StaleError, match=r"by hand version 1: must be the model of a finished run .* registered by hand"
    ):
        graft("promote", logged.ids["good"], "--name", "by hand")
    assert graft("promote", logged.ids["good"], "--name", "by hand", "--force", "ours now").exit_code == 0
    assert champion(client, "by hand") == (2, logged.ids["good"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "a/b"], "--name: must be a name without"),
        (["--force", "  "], "--force: must be followed by a reason of 1 to 500 characters, .* Got 0."),
        (["--force", "x" * 501], "Got 501."),
    ],
)
def test_what_cannot_be_promoted_is_one_sentence(logged: Logged, arguments: list[str], words: str) -> None:
    with pytest.raises(GraftError, match=words):
        graft("promote", logged.ids["poor"], *arguments)


def test_a_run_that_broke_off_has_no_model(logged: Logged, client: Any) -> None:
    run_id = client.create_run(client.get_experiment_by_name("graft").experiment_id, run_name="broken").info.run_id
    with pytest.raises(TrackingError, match="must be a finished pass of the pipeline"):
        graft("promote", run_id)


def test_the_champion_is_loaded_by_its_address_and_traced_back(logged: Logged, client: Any) -> None:
    graft("promote", logged.ids["real"], "--name", "whole")
    (found,) = json.loads(graft("lineage", "models:/whole@champion", "--json").stdout)
    assert found["run_id"] == logged.ids["real"]
    assert found["versions"] == ["whole version 1 (champion)"]
    classifier = model.load("models:/whole@champion")
    assert classifier.classes == list(CLASSES)
    assert classifier.card["weights_sha256"] == found["weights_sha256"]


def test_the_description_is_the_card_and_the_run_holds_it(logged: Logged, client: Any) -> None:
    graft("promote", logged.ids["good"], "--name", "described")
    text = graft("card", logged.ids["good"]).stdout
    held = Path(client.download_artifacts(logged.ids["good"], registry.CARD)).read_text()
    shown = client.get_model_version("described", "1").description
    assert shown == held == text
    assert len(shown) <= registry.MOST_CHARACTERS


def test_a_card_says_what_the_run_holds(logged: Logged) -> None:
    text = graft("card", logged.ids["poor"]).stdout
    for words in (
        "0.4444 of 18 test images right (0.246-0.663, 95 % interval), 3 classes.",
        "| images | 90 used of 90 found; 0 set aside for defects, 0 left out by choice |",
        "| md5, as DVC has it | `d41d8c.dir` |",
        "| split | train 54, validation 18, test 18 (method auto, seed 42) |",
        "- Head: conv, adam at 0.01 (cosine), 1 epoch,",
        "- The network is frozen: it is as it was pretrained.",
        "| head (ships) | test | 18 | 0.4444 | 0.246-0.663 (95 %) |",
        "10 of 18 test images.",
        "- circle taken for cross: 6 of 6\n- cross taken for stripes: 4 of 6",
        "| circle | 6 | 0.000 | 0.000 | 0.000 |",
        "| 0.80-0.87 | 18 | 0.800 | 0.444 |",
        "Of 3 classes fewer than 30 test images were judged",
        "Never found among the test examples: circle (0 of 6).",
        f"graft reproduce {logged.ids['poor']}\n```",
    ):
        assert words in text, words
    assert "The test images were asked about at least 4 models." in text
    assert "\n\n\n" not in text


def test_without_arguments_it_is_the_model_here(logged: Logged, tmp_path: Path) -> None:
    file = tmp_path / "below" / "card.md"
    done = graft("card", "--model", str(logged.made.paths.model), "--out", str(file))
    assert done.stdout.strip() == str(file)
    assert f"graft reproduce {logged.ids['other']}" in file.read_text()
    with pytest.raises(GraftError, match="one of them must be given, or none"):
        graft("card", logged.ids["poor"], "--model", "x")


def test_a_run_without_its_artefacts_has_no_card(logged: Logged) -> None:
    folder = logged.folder / "mlruns" / logged.ids["alike"] / "artifacts" / "metrics"
    away = folder.with_name("away")
    folder.rename(away)
    try:
        with pytest.raises(StaleError, match=r"must hold metrics/evaluation.json, metrics/counts.json, which its card"):
            graft("card", logged.ids["alike"])
    finally:
        away.rename(folder)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<b>*x*", r"\<b\>\*x\*"),
        ("snake_case", "snake_case"),
        ("__init__", r"\_\_init\_\_"),
        ("a\nb", "a b"),
    ],
)
def test_names_of_users_stay_text_in_markdown(name: str, shown: str) -> None:
    assert card.plain(name) == shown


def test_a_long_card_is_cut_at_a_line_and_says_where_the_rest_is() -> None:
    cut = registry._fitting("".join(f"line {number}\n" for number in range(1000)), "abc")
    assert len(cut) <= registry.MOST_CHARACTERS
    lines = cut.splitlines()
    assert lines[-1] == "... The whole card is card.md of run abc."
    assert lines[:-1] == [f"line {number}" for number in range(len(lines) - 1)]
    assert registry._fitting("short\n", "abc") == "short\n"


def test_versions_follow_a_project_that_moves(logged: Logged, tmp_path: Path) -> None:
    """A copy of the store and of the artefacts elsewhere; the old place is gone for it."""
    graft("promote", logged.ids["real"], "--name", "moved")
    new = tmp_path / "new"
    shutil.copytree(logged.folder, new, ignore=shutil.ignore_patterns("images", "features", "activations"))
    with entered(new):
        server.connect("graft")
        assert model.folder_of("models:/moved@champion").is_dir()
        with closing(sqlite3.connect("mlflow.db")) as database:
            places = database.execute("SELECT storage_location FROM model_versions WHERE name = 'moved'").fetchall()
    assert places
    assert all(str(new) in place for (place,) in places)


def test_params_that_differ_from_the_commit_are_named(logged: Logged) -> None:
    file = logged.folder / "params.yaml"
    before = file.read_text()
    tree = yaml.safe_load(before)
    tree["evaluate"]["top_k"] = 3
    file.write_text(yaml.safe_dump(tree))
    table = pd.read_parquet(logged.made.paths.predictions)
    try:
        run_id = logged.answer("changed", 2)
        (found,) = json.loads(graft("lineage", run_id, "--json").stdout)
        assert found["changed"] == {"evaluate.top_k": [2, 3]}
        assert found["dirty"] is True
        assert (
            "- Parameters that differ from the commit: `evaluate.top_k` 3 (committed: 2)."
            in graft("card", run_id).stdout
        )
    finally:
        file.write_text(before)
        table.to_parquet(logged.made.paths.predictions, index=False)


@pytest.mark.slow
def test_texts_have_a_card_and_a_lineage(tmp_path: Path) -> None:
    """Fine-tuned, with a temperature; and a text of the table is found in a file, with the line end of an editor."""
    with entered(tmp_path):
        passed = whole_text_pass(
            tmp_path, {"train.epochs": 1, "finetune.epochs": 1, "finetune.temperature": "validation"}, 10
        )
        run_id = run.complete(passed.params, passed.paths, None).run_id
        text = graft("card", run_id).stdout
        rows = pd.read_csv(tmp_path / "texts" / "all.csv")
        (tmp_path / "asked.txt").write_text(rows["text"][3] + "\n")
        (tmp_path / "nearly.txt").write_text("?" + rows["text"][3])
        found, near = (
            json.loads(graft("lineage", name, "--json").stdout)["seen"] for name in ("asked.txt", "nearly.txt")
        )
    assert "- Fine-tuned from layer `block_1` on: adam at 0.0005 (cosine), 1 epoch, the best by val_loss." in text
    assert "; the logits are divided by " in text
    assert "| texts | 30 used of 30 found;" in text
    assert "input 32" not in text, "a text has no side"
    assert [(one["run_id"], one["copy"], one["label"]) for one in found] == [(run_id, "identical", rows["label"][3])]
    assert near == [], "data.duplicates.near_similarity is 1"
