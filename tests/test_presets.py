"""Presets are complete and of today; `use` loses no edits; `verify` says of a claim what is so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY
from graft.config import yaml_file
from graft.config.load import load, of_tree
from graft.errors import GraftError
from graft.pipeline import worktree
from graft.presets import beside, claims, files, verify
from graft.verdicts import reproduced, unpaired
from graft.verdicts.words import Compared, Reproduced

NAMES = files.names()


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_complete_and_of_today(name: str) -> None:
    """It says all that it must at the top, holds every value of params.yaml, and makes sense."""
    preset = files.get(name)
    assert list(preset.about) == list(files.FIELDS)
    assert preset.text.startswith(f"# The preset `{name}`")
    assert files.rewritten(preset) == preset.text, "run `make presets`"
    tree = dict(preset.values)
    if "/" in tree["backbone"]["weights"]:  # what `make` fetches need not be here; this is a name of KerasHub's
        tree["backbone"] = {**tree["backbone"], "weights": "bert_tiny_en_uncased", "weights_sha256": None}
    assert of_tree(tree, name).seed == 42


def test_the_default_is_params_yaml() -> None:
    assert NAMES[0] == "digits"
    assert files.differences(files.get("digits").values) == {}
    assert set(NAMES) >= {
        "clothing-head",
        "clothing-taps",
        "clothing",
        "product-vs-rest",
        "mnist-cnn",
        "mnist-transfer",
        "mnist-features",
    }


@pytest.mark.parametrize("name", list(claims.read()))
def test_what_a_preset_expects_is_what_is_claimed_of_it(name: str) -> None:
    """One truth in two places: in words at the top of the preset, as numbers in results/published.yaml."""
    said = files.get(name).about["Expects"]
    for claim in claims.read()[name].claims:
        assert claim.metric in said
        assert f"{claim.value:.4f}".rstrip("0") in said


def test_the_tutorials_recipes_are_as_it_has_them() -> None:
    cnn, transfer = (load(REPOSITORY / "presets" / f"{name}.yaml") for name in ("mnist-cnn", "mnist-transfer"))
    assert (cnn.backbone.name, cnn.backbone.input_size, cnn.extract.pooling) == ("GreyPixels", 28, None)
    head = cnn.train.heads.conv
    assert (head.filters, head.kernel_size, head.padding, head.hidden_units, head.dropout) == (32, 3, "valid", 64, 0.5)
    tuned = transfer.finetune
    assert (tuned.optimizer, tuned.learning_rate, tuned.momentum, tuned.steps) == ("sgd", 0.001, 0.9, 500)
    assert (tuned.batch_size, tuned.batch_norm, transfer.train.enabled) == (32, "learning", False)
    assert tuned.cut == "input"
    photos = load(REPOSITORY / "presets" / "clothing-head.yaml")
    augment = photos.extract.augment
    assert (augment.rotation_degrees, augment.width_shift, augment.height_shift) == (20.0, 0.2, 0.2)
    assert (augment.horizontal_flip, photos.train.optimizer, photos.train.epochs) == (True, "adam", 10)
    assert not photos.finetune.enabled


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_use_loses_no_edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("params.yaml")
    files.use("clothing", file)
    assert file.read_text() == files.get("clothing").text
    files.use("digits", file)  # what a preset has can be had again
    file.write_text(file.read_text().replace("seed: 42 ", "seed: 43 "))
    with pytest.raises(GraftError, match=r"edits of yours\. Commit it, or say `graft preset use clothing --force`"):
        files.use("clothing", file)
    assert "seed: 43 " in file.read_text()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "params.yaml")
    git(tmp_path, "commit", "--quiet", "-m", "mine")
    files.use("clothing", file)
    file.write_text(file.read_text() + "# a word\n# and not: yaml: [\n")
    files.use("digits", file)  # comments are no values
    file.write_text("data: [")
    with pytest.raises(GraftError, match="edits of yours"):
        files.use("digits", file)
    files.use("digits", file, force=True)
    assert file.read_text() == files.get("digits").text
    with pytest.raises(GraftError, match=r"preset: must be one of digits, .* Got 'cloting'\. Did you mean 'clothing'"):
        files.use("cloting", file)


@pytest.mark.parametrize(
    ("got", "noise", "same", "verdict"),
    [
        (0.9, None, True, Reproduced.BIT_IDENTICAL),
        (0.9, None, False, Reproduced.WITHIN_TOLERANCE),
        (0.91, None, False, Reproduced.WITHIN_TOLERANCE),
        (0.89, None, False, Reproduced.WITHIN_TOLERANCE),
        (0.92, None, False, Reproduced.OUTSIDE),
        (0.92, 0.02, False, Reproduced.WITHIN_SEED_NOISE),
        (0.8799, 0.02, False, Reproduced.OUTSIDE),
    ],
)
def test_how_a_result_stands_to_a_claim(got: float, noise: float | None, same: bool, verdict: Reproduced) -> None:
    assert reproduced.judge(0.9, got, 0.01, noise, same) == verdict


class Repository:
    """A project with one commit, in which a stand-in for `dvc repro` writes what a test asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dvc.yaml", "params.yaml"):
            (folder / name).write_bytes((REPOSITORY / name).read_bytes())
        git(folder, "init", "--quiet")
        subprocess.run(["dvc", "init", "--quiet"], cwd=folder, check=True)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", "first")

    def gives(self, accuracy: float, sha256: str) -> None:
        """What the one stage of its pipeline writes, committed."""
        written = {
            "data/evaluation.json": {"head": {"test": {"accuracy": accuracy}}},
            "models/card.json": {"weights_sha256": sha256},
        }
        script = (
            f"import json, pathlib\nfor path, value in {written!r}.items():\n"
            "    pathlib.Path(path).parent.mkdir(exist_ok=True)\n"
            "    pathlib.Path(path).write_text(json.dumps(value))\n"
            "assert 'source: digits' in open('params.yaml').read()\n"
        )
        (self.folder / "run.py").write_text(script)
        stage = "stages:\n  all:\n    cmd: python run.py\n    always_changed: true\n"
        (self.folder / "dvc.yaml").write_text((self.folder / "dvc.yaml").read_text().split("stages:")[0] + stage)
        git(self.folder, "add", ".")
        git(self.folder, "commit", "--quiet", "-m", "gives")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "project").mkdir()
    return Repository(tmp_path / "project")


@pytest.mark.long
def test_verify_runs_the_last_commit_elsewhere(repository: Repository) -> None:
    expected = claims.read()["digits"]
    (value,) = [claim.value for claim in expected.claims if claim.metric == "test_accuracy"]
    data = REPOSITORY / "data" / "digits"
    for accuracy, sha256, verdict in (
        (value, expected.model_sha256, Reproduced.BIT_IDENTICAL),
        (value - 0.2, "0" * 64, Reproduced.OUTSIDE),
    ):
        repository.gives(accuracy, str(sha256))
        (repository.folder / "run.py").write_text("raise SystemExit('what is not committed does not run')")
        found = {one.metric: one for one in verify.run("digits", repository.folder, data)}["test_accuracy"]
        assert found.verdict == verdict
        assert found.difference == pytest.approx(accuracy - value)
        git(repository.folder, "checkout", "--quiet", "run.py")
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=repository.folder, capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == 1, "the worktree is gone"
    assert (repository.folder / "params.yaml").read_bytes() == (REPOSITORY / "params.yaml").read_bytes()


def test_what_cannot_be_run_is_not_comparable(repository: Repository, tmp_path: Path) -> None:
    (first, *_) = verify.run("digits", repository.folder, tmp_path / "nothing")
    assert (first.verdict, first.got) == (Reproduced.NOT_COMPARABLE, None)
    assert first.reason.startswith(f"its data are not at {tmp_path / 'nothing'}")
    repository.gives(0.5, "0")
    (repository.folder / "run.py").write_text("raise SystemExit(3)")
    git(repository.folder, "commit", "--quiet", "-am", "fails")
    (first, *_) = verify.run("digits", repository.folder, REPOSITORY / "data" / "digits")
    assert first.reason == "`dvc repro` failed, for the reason above"


def test_a_folder_without_a_commit_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="must be a project under git and DVC with a commit"), worktree.clean(tmp_path):
        pass


def test_what_keras_would_download_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "data" / "keras").mkdir(parents=True)
    transfer = files.get("mnist-transfer")
    assert verify.download(transfer, tmp_path) == "the data set mnist and ImageNet weights of MobileNetV2"
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    (tmp_path / "keras" / "datasets" / "mnist.npz").touch()
    assert verify.download(transfer, tmp_path) == "ImageNet weights of MobileNetV2"
    assert verify.download(files.get("mnist-cnn"), tmp_path) is None
    assert verify.lacking(files.get("clothing"), tmp_path) is not None


def test_weights_in_a_folder_are_asked_for_where_they_lie(tmp_path: Path) -> None:
    banking = files.get("banking77")
    assert str(verify.lacking(banking, tmp_path)).startswith(f"its data are not at {tmp_path}/data/banking77. `make ba")
    (tmp_path / "data" / "banking77").mkdir(parents=True)
    assert str(verify.lacking(banking, tmp_path)).startswith(f"its weights are not at {tmp_path}/data/minilm. `make ba")
    (tmp_path / "data" / "minilm").mkdir()
    assert verify.lacking(banking, tmp_path) is None


def test_verify_hands_weights_in_a_folder_to_the_worktree(repository: Repository, tmp_path: Path) -> None:
    """git does not track them, so that a clean worktree has none at `data/minilm`."""
    for name in ("banking77", "minilm"):
        (repository.folder / "data" / name).mkdir(parents=True)
    repository.gives(0.9, "0")
    script = (repository.folder / "run.py").read_text().split("assert ")[0]
    seen = tmp_path / "seen.yaml"
    (repository.folder / "run.py").write_text(f"{script}import shutil\nshutil.copy('params.yaml', {str(seen)!r})\n")
    git(repository.folder, "commit", "--quiet", "-am", "copies")
    verify.run("banking77", repository.folder)
    values = yaml_file.read(seen)
    assert values["backbone"]["weights"] == str(repository.folder / "data" / "minilm")
    assert values["data"]["path"] == str(repository.folder / "data" / "banking77")


def test_the_published_split_of_banking77_is_used_whole() -> None:
    """What others published is for all 3,080 test questions: copies with other labels are not set aside."""
    data = files.get("banking77").values["data"]
    assert data["manifest"]["lists"] == {"train": "train.csv", "validation": None, "test": "test.csv"}
    assert (data["split"]["method"], data["split"]["fractions"]["test"]) == ("official", 0)
    assert data["duplicates"]["conflicting_labels"] == {"identical": "keep", "near": "keep"}
    judged = {"test": {"accuracy": 0.93, "images": 3080}}
    found = beside.found(files.get("banking77").values, judged, 0.95)
    assert len(found) == len(claims.read()["banking77"].published) == 8
    by_value = {row.published.value: row.verdict for row in found}
    assert by_value[0.896] == Compared.BETTER
    assert by_value[0.9278] == Compared.WITHIN_NOISE
    assert by_value[0.8519] == Compared.NOT_COMPARABLE, "of 770 questions"


def test_published_numbers_stand_beside_what_was_got_here() -> None:
    """On the official split of the photos, whatever the network is; by Fisher's exact test on 372 images."""
    judged = {"test": {"accuracy": 346 / 372, "images": 372}, "validation": {"accuracy": 0.9, "images": 341}}
    values = files.get("clothing").values
    elsewhere = {**values, "data": {**values["data"], "path": "/photos"}}
    rows = {(row.published.metric, row.published.value): row for row in beside.found(elsewhere, judged, 0.95)}
    assert rows["test_accuracy", 0.7984].verdict == Compared.BETTER
    assert rows["test_accuracy", 0.9032].verdict == Compared.WITHIN_NOISE
    assert rows["val_accuracy", 0.8299].verdict == Compared.BETTER
    private = rows["val_accuracy", 0.94]
    assert (private.got, private.verdict) == (0.9, Compared.NOT_COMPARABLE)
    only_test = {"test": {"accuracy": 0.5, "images": 372}}
    rows = {(row.published.metric, row.published.value): row for row in beside.found(values, only_test, 0.95)}
    assert rows["test_accuracy", 0.7984].verdict == Compared.WORSE
    assert (rows["val_accuracy", 0.8299].got, rows["val_accuracy", 0.8299].verdict) == (None, Compared.NOT_COMPARABLE)
    other = {**values, "data": {**values["data"], "classes": {"hat": "hat", "other": "*"}}}
    assert beside.found(other, judged, 0.95) == []


def test_fishers_test_is_fishers() -> None:
    """The lady tasting tea, 3 of 4 right against 1 of 4 (Fisher 1935, chapter 2): 17 of 70 on one side, 34 on both."""
    assert unpaired.fisher(3, 1, 4) == pytest.approx(34 / 70)
    assert unpaired.verdict(4, 0.0, 4, 0.95) == Compared.BETTER
