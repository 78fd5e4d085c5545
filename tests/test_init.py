"""A project of one's own: what `graft init` writes, what it chooses, and that an installed graft runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image

from conftest import CLASSES, REPOSITORY, Project, default_params, drawing, make_project
from graft.config.load import load
from graft.errors import DataError, GraftError, StaleError
from graft.pipeline import code, layout
from graft.presets import files
from graft.project import lock, look, start, template

ORIGINAL = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())


def write_photos(folder: Path, per_class: int, size: tuple[int, int] = (300, 200), grey: bool = False) -> None:
    """Pictures of other proportions than drawings, in a directory for each class. size: width, height in pixels."""
    for k, kind in enumerate(CLASSES):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            image = Image.fromarray(drawing(kind, 1000 * k + i)).resize(size)
            (image.convert("L") if grey else image).save(folder / kind / f"{i:03d}.png")


def init(folder: Path, data: Path | None = None) -> str:
    return "\n".join(start.write(folder, data))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", 3)
    return tmp_path / "photos"


# the files


def test_the_pipeline_is_this_one_with_digests_for_code() -> None:
    made = yaml.safe_load(template.pipeline())
    assert "src/" not in template.pipeline()
    for stage, entry in made["stages"].items():
        original = ORIGINAL["stages"][stage]
        does, did = entry.get("do", entry), original.get("do", original)
        assert does["params"].pop(0) == {"graft.lock": [stage]}
        assert does == did | {"deps": [dep for dep in did["deps"] if not dep.startswith("src/")]}
        assert entry.get("foreach") == original.get("foreach")
    assert made | {"stages": 0} == ORIGINAL | {"stages": 0}


def test_one_value_changes_one_place_of_params() -> None:
    text = (REPOSITORY / "params.yaml").read_text()
    values = {"data.path": "my photos, all", "data.classes": None, "train.heads.mlp.hidden_units": [64, 32]}
    new = template.replaced(text, values | {"train.learning_rate": 0.5})
    changed = [b for a, b in zip(text.splitlines(), new.splitlines(), strict=True) if a != b]
    assert [line.split("#")[0].strip() for line in changed] == [
        "path: 'my photos, all'",
        "mlp: {pooling: avg, hidden_units: [64, 32], dropout: 0.2}",
        "learning_rate: 0.5",
    ]
    assert yaml.safe_load(new)["data"]["path"] == "my photos, all"


@pytest.mark.parametrize("text", ["photos", "/a/b c", "042", "on", "null", "1e3", "a: b", 'quo"te', "größe", "~", "#a"])
def test_any_path_survives(text: str) -> None:
    new = template.parameters({"data.path": text, "data.manifest.file": text, "data.manifest.columns.path": text})
    data = yaml.safe_load(new)["data"]
    assert (data["path"], data["manifest"]["file"], data["manifest"]["columns"]["path"]) == (text, text, text)


def test_what_git_and_dvc_ignore() -> None:
    ignored = template.ignored(".gitignore").split()
    for path in ORIGINAL["vars"][0]["paths"].values():
        tracked = path.startswith("metrics/")
        assert tracked != any(f"/{path}/".startswith(one) for one in ignored if one.startswith("/")), path
    assert "pretrain" not in template.ignored(".gitignore")
    assert "clothing" not in template.ignored(".dvcignore")
    assert "__pycache__" in template.ignored(".dvcignore").split()


# what is there


def test_an_empty_folder_becomes_a_project(tmp_path: Path) -> None:
    said = init(tmp_path / "new" / "project")
    folder = tmp_path / "new" / "project"
    for name in (
        "dvc.yaml",
        "params.yaml",
        "graft.lock",
        "README.md",
        ".gitignore",
        ".dvcignore",
        ".dvc/config",
        ".git",
    ):
        assert (folder / name).exists(), name
    assert load(folder / "params.yaml").data.source == "digits"
    assert layout.read(folder / "dvc.yaml") == layout.read(REPOSITORY / "dvc.yaml")
    assert (folder / "data" / "digits").is_dir()
    assert (folder / "data" / "relabel" / "README.md").is_file()
    assert "git init" in said
    assert "dvc init" in said
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and ".git/" not in str(file)}
    assert "wrote" not in init(folder)
    assert before == {file: file.read_bytes() for file in before}


def test_what_is_there_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text("stages: {}\n")
    with pytest.raises(GraftError, match=r"dvc\.yaml, params\.yaml must not be there.*Move them away"):
        init(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dvc.yaml", "params.yaml"]


def test_an_existing_repository_keeps_its_files(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    (folder / ".gitignore").write_text("*.log\n/models/")
    said = init(folder)
    assert (folder / "README.md").read_text() == "mine"
    ignored = (folder / ".gitignore").read_text().splitlines()
    assert ignored[:2] == ["*.log", "/models/"]
    assert ignored.count("/models/") == 1
    assert "/plots/" in ignored
    assert "dvc init --subdir" in said
    assert not (folder / ".git").exists()


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start.shutil, "which", lambda _: None)
    said = init(tmp_path)
    assert "dvc init --no-scm" in said
    assert "git is not installed" in said
    assert not (tmp_path / ".git").exists()


# the images


def test_photos_get_values_for_photos(tmp_path: Path, photos: Path) -> None:
    said = init(tmp_path, photos)
    params = load(tmp_path / "params.yaml")
    assert (params.data.source, params.data.path) == ("folder", "photos")
    assert (params.backbone.weights, params.backbone.alpha, params.backbone.input_size) == ("imagenet", 1.0, 224)
    assert params.extract.augment.horizontal_flip
    assert "saw: 9 images of 3 classes, in colour, the middle one 300 x 200 pixels" in said
    assert "/photos" in (tmp_path / ".gitignore").read_text().splitlines()
    assert "`dvc add photos` lets queued experiments and colleagues have it" in said
    comments = re.compile(r"#.*")
    original = (REPOSITORY / "params.yaml").read_text()
    assert comments.findall((tmp_path / "params.yaml").read_text()) == comments.findall(original)


@pytest.mark.parametrize(
    ("size", "grey", "expected"),
    [
        ((28, 28), True, (default_params()["backbone"]["weights"], 96, False)),
        ((28, 28), False, ("imagenet", 96, True)),
        ((150, 140), False, ("imagenet", 160, True)),
        ((400, 300), True, ("imagenet", 224, True)),
    ],
)
def test_the_input_is_as_large_as_the_images(
    tmp_path: Path, size: tuple[int, int], grey: bool, expected: tuple[str, int, bool]
) -> None:
    write_photos(tmp_path / "a", 2, size, grey)
    values = look.suited(look.look(tmp_path / "a", "a"))
    tree = yaml.safe_load(template.parameters(values))
    found = (tree["backbone"]["weights"], tree["backbone"]["input_size"], tree["extract"]["augment"]["horizontal_flip"])
    assert found == expected


def test_images_elsewhere_are_named_absolutely(tmp_path: Path, photos: Path) -> None:
    init(tmp_path / "project", photos)
    assert load(tmp_path / "project" / "params.yaml").data.path == str(photos)
    assert "photos" not in (tmp_path / "project" / ".gitignore").read_text()


@pytest.mark.slow
def test_a_split_and_an_archive(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_photos(tmp_path / "parts" / part, 2)
    with zipfile.ZipFile(tmp_path / "parts.zip", "w") as packed:
        for file in sorted((tmp_path / "parts").rglob("*.png")):
            packed.write(file, file.relative_to(tmp_path / "parts"))
    for name in ("parts", "parts.zip"):
        said = init(tmp_path / f"project-{name}", tmp_path / name)
        assert "18 images of 3 classes, split as they come (train 6, validation 6, test 6)" in said


@pytest.mark.parametrize("named", ["set", "set/labels.csv"])
def test_a_table_of_paths_and_labels(tmp_path: Path, named: str) -> None:
    write_photos(tmp_path / "classes", 3)
    (tmp_path / "set" / "images").mkdir(parents=True)
    rows = []
    for i, file in enumerate(sorted((tmp_path / "classes").rglob("*.png"))):
        file.rename(tmp_path / "set" / "images" / f"{i}.png")
        rows.append({"image_id": str(i), "Category": file.parent.name, "other": 1})
    pd.DataFrame(rows).to_csv(tmp_path / "set" / "labels.csv", index=False)
    said = init(tmp_path / "project", tmp_path / named)
    assert "9 images of 3 classes" in said
    data = load(tmp_path / "project" / "params.yaml").data
    assert (data.source, data.path) == ("manifest", str(tmp_path / "set"))
    assert (data.manifest.file, data.manifest.root, data.manifest.suffix) == ("labels.csv", "images", ".png")
    assert (data.manifest.columns.path, data.manifest.columns.label) == ("image_id", "Category")


def kept_apart(tmp_path: Path) -> list[tuple[Path, str]]:
    """Nine images in tmp_path/set/images, whose names tell no class, and their labels."""
    write_photos(tmp_path / "classes", 3)
    (tmp_path / "set" / "images").mkdir(parents=True)
    moved = [(tmp_path / "set" / "images" / f"{k}.png") for k in range(9)]
    return [
        (file.rename(to), file.parent.name) for file, to in zip(sorted(tmp_path.rglob("0*.png")), moved, strict=True)
    ]


@pytest.mark.parametrize("name", ["list.txt", "labels.csv", "labels.json", "metadata.jsonl"])
def test_other_tables_of_paths_and_labels(tmp_path: Path, name: str) -> None:
    """Without a header, with semicolons, JSON: by the reader that `prepare` uses."""
    rows = [(file.name, label) for file, label in kept_apart(tmp_path)]
    (tmp_path / "set" / name).write_text(
        {
            "list.txt": "\n".join(f"{label} {path}" for path, label in rows),
            "labels.csv": "Image;note;Class\n" + "\n".join(f"{path};1,5;{label}" for path, label in rows),
            "labels.json": json.dumps(dict(rows)),
            "metadata.jsonl": "\n".join(json.dumps({"file_name": path, "label": label}) for path, label in rows),
        }[name]
    )
    found = look.look(tmp_path / "set" / name, f"set/{name}")
    assert (found.images, found.classes) == (9, dict.fromkeys(CLASSES, 3))
    columns = {key.rpartition(".")[2]: value for key, value in found.data.items() if ".columns." in key}
    assert (columns["path"], columns["label"]) == {
        "list.txt": (1, 0),
        "labels.csv": ("Image", "Class"),
        "labels.json": ("path", "label"),
        "metadata.jsonl": ("file_name", "label"),
    }[name]
    assert found.data["manifest.root"] == "images"


def test_shards_with_images_in_them(tmp_path: Path) -> None:
    files = kept_apart(tmp_path)
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for k, part in enumerate(("train", "test")):
        cells = [{"image": {"bytes": file.read_bytes()}, "label": label} for file, label in files[k::2]]
        pd.DataFrame(cells).to_parquet(tmp_path / "hub" / "data" / f"{part}-00000-of-00001.parquet")
    found = look.look(tmp_path / "hub", "hub")
    assert (found.images, found.splits) == (9, {"train": 5, "test": 4})
    assert (found.data["manifest.file"], found.data["manifest.columns.path"]) == ("data/*.parquet", "image")


@pytest.mark.parametrize(
    ("place", "data", "fault"),
    [
        ("project", "nothing", "There is nothing at"),
        ("project", "empty", "--data: must hold directories of"),
        ("project", "photos/cross", "--data: must"),
        ("project", "project/data", "must lie apart from what the stages write"),
        ("photos", "photos", "must lie apart from what the stages write"),
        ("photos/project", "photos", "must lie apart from what the stages write"),
    ],
)
def test_images_that_cannot_be_used(tmp_path: Path, photos: Path, place: str, data: str, fault: str) -> None:
    (tmp_path / "empty").mkdir()
    write_photos(tmp_path / "project" / "data", 1)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(GraftError, match=fault):
        init(tmp_path / place, tmp_path / data)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


def test_one_class_is_none(tmp_path: Path) -> None:
    write_photos(tmp_path / "a" / "b", 1)
    with pytest.raises(DataError, match="at least two classes"):
        look.look(tmp_path / "a", "a")


# graft.lock


def test_a_digest_for_each_stage() -> None:
    named = yaml.safe_load(lock.text())
    assert {stage: named[stage] for stage in layout.STAGES} == {stage: lock.digest(stage) for stage in layout.STAGES}
    assert all(isinstance(named[stage], str) for stage in layout.STAGES)
    assert len({named[stage] for stage in layout.STAGES}) == len(layout.STAGES)


def test_other_code_is_refused_and_update_mends_it(tmp_path: Path) -> None:
    init(tmp_path)
    file = tmp_path / "graft.lock"
    lock.require_current("train", file)
    file.write_text(file.read_text().replace(lock.digest("train"), "0" * lock.DIGITS))
    lock.require_current("extract", file)
    with pytest.raises(StaleError, match=r"differs for train\. Run `graft init --update`"):
        lock.require_current("train", file)
    assert "The code of train is another" in "\n".join(start.update(tmp_path))
    lock.require_current("train", file)
    shutil.rmtree(tmp_path / "data" / "relabel")  # as in a project of an older graft
    said = "\n".join(start.update(tmp_path))
    assert "no stage's code is another" in said
    assert "wrote: data/relabel/README.md" in said
    assert (tmp_path / "data" / "relabel" / "README.md").is_file()


def test_update_without_a_project(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="must be there to be updated"):
        list(start.update(tmp_path))


def test_update_keeps_an_edited_pipeline_but_not_one_that_lacks_something(tmp_path: Path) -> None:
    init(tmp_path)
    file = tmp_path / "dvc.yaml"
    text = file.read_text()
    file.write_text(text.replace("models/head.keras", "models/top.keras"))
    list(start.update(tmp_path))
    assert "models/top.keras" in file.read_text()
    file.write_text(text.replace("      - finetune.cut\n", ""))
    with pytest.raises(GraftError, match=r"Lacking: stages\.extract\.params: finetune\.cut"):
        list(start.update(tmp_path))


def test_the_canonical_text_knows_code_from_wording() -> None:
    def text(source: str) -> str:
        return code._canonical(code.ast.parse(source))

    assert text('def f(a):\n    """Doc."""\n    return a  # why') == text("def f(a):\n\n    return (a)")
    assert text("a = ['b', 'c']") != text("a = ['bc']")
    assert text("a = None") != text("a = ''")
    assert text("a = f'{b}c' 'd'") == text("a = f'{b}cd'")
    assert text("a = f'{b:.2f}'") != text("a = f'{b:.3f}'")
    assert text("def f(a, *, b): ...") != text("def f(a, b): ...")


# an installed graft


class Installed(Project):
    """A folder in an environment of its own, which has graft's wheel and the libraries of this one."""

    def __init__(self, folder: Path, environment: Path) -> None:
        super().__init__(folder)
        self.package = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        self.environment["PATH"] = f"{environment / 'bin'}{os.pathsep}{self.environment['PATH']}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(REPOSITORY)], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    environment = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    project = Installed(tmp_path_factory.mktemp("project"), environment)
    (project.package / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    return project


def test_the_wheel_holds_every_file_and_is_the_same_twice(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
            assert packed.read(f"graft/project/template/{name}") == (REPOSITORY / name).read_bytes()
    for file in (REPOSITORY / "src" / "graft").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert file.relative_to(REPOSITORY / "src").as_posix() in names
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(REPOSITORY)], check=True)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_from_nothing_to_a_result(installed: Installed, tmp_path: Path) -> None:
    """`pip install`, `graft init --data`, `dvc repro`; and a clone gives the same outputs."""
    write_photos(installed.folder / "drawings", 8, (32, 32), grey=True)
    said = installed.run("graft", "init", "--data", "drawings").stdout
    assert "next: dvc repro" in said.splitlines()
    assert "site-packages" in installed.run("python", "-c", "import graft; print(graft.__file__)").stdout
    assert installed.executed(installed.run("dvc", "repro").stdout) == list(layout.STAGES)
    (run,) = installed.runs()
    assert run.info.status == "FINISHED"
    assert "test_accuracy" in run.data.metrics
    installed.commit()
    tracked = installed.run("git", "ls-files").stdout.splitlines()
    assert {"dvc.lock", "dvc.yaml", "graft.lock", "metrics/summary.json", "params.yaml"} <= set(tracked)
    assert not [name for name in tracked if name.startswith(("drawings", "models", "mlflow", "data/features"))]

    clone = make_project(tmp_path / "clone", yaml.safe_load((installed.folder / "params.yaml").read_text()))
    write_photos(clone.folder / "drawings", 8, (32, 32), grey=True)
    clone.run("dvc", "repro")
    assert outputs(clone) == outputs(installed)


def outputs(project: Project) -> dict[str, Any]:
    """path -> md5 of all that the stages wrote, by dvc.lock."""
    stages = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


@pytest.mark.slow
def test_a_newer_graft_runs_what_changed(installed: Installed) -> None:
    """After test_from_nothing_to_a_result."""
    metrics = installed.package / "graft" / "evaluation" / "metrics.py"
    text = metrics.read_text()
    metrics.write_text(f"# A comment.\n{text}")
    assert "up to date" in installed.run("dvc", "repro").stdout
    installed.run("graft", "init", "--update")
    assert installed.run("git", "status", "--porcelain").stdout == "", "a comment is no other code"
    metrics.write_text(f"{text}\nNEWER = True\n")
    refused = installed.run("dvc", "repro", "--force", "--single-item", "evaluate", ok=False)
    assert "graft.lock: must name the code of the graft that runs" in refused.stderr
    assert "The code of evaluate is another" in installed.run("graft", "init", "--update").stdout
    assert installed.executed(installed.run("dvc", "repro").stdout) == ["evaluate"]


def test_a_recipe_as_a_project(tmp_path: Path) -> None:
    folder = tmp_path / "digits-again"
    list(start.write(folder, recipe=files.get("mnist-cnn").text))
    assert (folder / "data" / "keras" / "README.md").is_file()
    params = load(folder / "params.yaml")
    assert (params.backbone.name, params.tracking.experiment) == ("GreyPixels", "digits-again")
    assert (folder / "params.yaml").read_text().startswith("# The preset `mnist-cnn`")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--preset", "digits", "--data", "x"], "--data and --preset: must not be given together"),
        (["--preset", "digits", "--update"], "--update: must be given alone"),
        (["--preset", "digit"], "preset: must be one of digits, .* Got 'digit'. Did you mean 'digits'"),
    ],
)
def test_options_that_say_two_things(options: list[str], fault: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graft", "init", str(tmp_path / "new"), *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(fault, done.stderr)
    assert not (tmp_path / "new").exists()
