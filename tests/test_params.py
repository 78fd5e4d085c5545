"""params.yaml: complete, strict, every fault at once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from difflib import ndiff
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import parse_yaml

from conftest import REPOSITORY
from graft.config import schema, yaml_file
from graft.config.load import load
from graft.errors import ParamsError

SIZES = ("rotation_degrees", "width_shift", "height_shift", "zoom", "brightness", "contrast")


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(ParamsError) as caught:
        load(path)
    return caught.value.faults


def test_the_default_has_no_fault() -> None:
    loaded = load(REPOSITORY / "params.yaml")
    assert loaded.flat()["train.learning_rate"] == loaded.train.learning_rate
    assert loaded.flat()["extract.augment.zoom"] == loaded.extract.augment.zoom


def test_no_value_is_hidden_in_the_code() -> None:
    """Every leaf of the schema is required, so every value must stand in the file."""
    pending: list[Any] = [schema.Params]
    while pending:
        section = pending.pop()
        for name, field in section.model_fields.items():
            assert field.is_required(), f"{section.__name__}.{name} has a default in the code"
            if isinstance(field.annotation, type) and issubclass(field.annotation, schema.Section):
                pending.append(field.annotation)


def test_every_key_of_the_default_file_is_explained() -> None:
    """A line that holds a value has a comment, or repeats a key that had one above."""
    explained: set[str] = set()
    for line in (REPOSITORY / "params.yaml").read_text().splitlines():
        text = line.strip()
        if not text or text.startswith(("#", "- ")):  # an item of a list is explained beside its key
            continue
        key = text.split(":")[0]
        if "#" in line:
            explained.add(key)
        assert key in explained or text.endswith(":") or key == "fractions", f"{key} is nowhere explained"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"train.learning_rate": 0}, "train.learning_rate: must be greater than 0. Got 0."),
        ({"train.learning_rate": float("inf")}, "train.learning_rate: must be a finite number. Got inf."),
        ({"train.learning_rate": "fast"}, "train.learning_rate: must be a valid number. Got 'fast'."),
        ({"seed": "42"}, "seed: must be a valid integer. Got '42'."),
        (
            {"backbone.alpha": "wide"},
            "backbone.alpha: must be a valid number. Got 'wide'. Or: must be one of auto. Got 'wide'.",
        ),
        (
            {"data.classes": {"str": 1}},
            "data.classes.str: must be a valid string. Got 1; put it into quotes. Or: must be a valid list. Got 1.",
        ),
        ({"data.classes": {1: "one"}}, "data.classes.1: must be a valid string. Got 1; put it into quotes."),
        ({"data.classes": ["dress"]}, "data.classes: must be keys with a value each, {key: value}. Got ['dress']."),
        (
            {"data.manifest": None},
            "data.manifest: must be a section, with its keys indented below it. Got null.",
        ),
        ({"tracking": None}, "tracking: must be a section, with its keys indented below it. Got null."),
        (
            {"finetune.cut": [1]},
            "finetune.cut: must be a valid string. Got [1]. Or: must be a valid integer. Got [1]. "
            "Or: must be a valid number. Got [1].",
        ),
        (
            {"finetune.cut": None},
            "finetune.cut: must name where fine-tuning starts, or finetune.enabled be false. Got null.",
        ),
        (
            {
                "extract.augment": dict.fromkeys(SIZES, 0.0)
                | {"horizontal_flip": False, "fill_mode": "nearest", "seed": 0}
            },
            "extract.views: must be 0 where extract.augment changes nothing (all 0 and false). Got 5.",
        ),
        (
            {"train.schedule": "exponential"},
            "train.decay_to: must be greater than 0 for schedule: exponential, which only nears 0. Got 0.",
        ),
        *(
            (
                {key: value},
                f"{key}: must be float32 for numerics: portable, since bfloat16 is computed otherwise by every kind of "
                f"processor. Got '{value}'; or set numerics: native.",
            )
            for key, value in (("finetune.dtype_policy", "mixed_bfloat16"), ("extract.precision", "bfloat16"))
        ),
        (
            {"backbone.weights_sha256": "00"},
            "backbone.weights_sha256: must be null for weights: bundled. Got '00'.",
        ),
        ({"train.epochs": 2.5}, "train.epochs: must be a valid integer. Got 2.5."),
        ({"train.epochs": True}, "train.epochs: must be a valid integer. Got True."),
        (
            {"train.steps": 500},
            "train: exactly one of epochs and steps must be a number, the other null. Got epochs=30, steps=500.",
        ),
        (
            {"train.learning_rte": 0.1},
            "train.learning_rte: unknown key; must be one of optimizer, learning_rate, momentum, weight_decay, "
            "clip_norm, schedule, warmup_steps, decay_to, batch_size, dtype_policy, epochs, steps, "
            "… (23 in all). Got 'learning_rte'. Did you mean 'learning_rate'?",
        ),
        (
            {"train.heads.linear.dropot": 0.1},
            "train.heads.linear.dropot: unknown key; must be one of pooling, dropout. Got 'dropot'. "
            "Did you mean 'dropout'?",
        ),
        (
            {"train.optimizer": "adm"},
            "train.optimizer: must be one of sgd, rmsprop, adam, adamw, nadam, lion. Got 'adm'. Did you mean 'adam'?",
        ),
        (
            {"data.split.fractions": {"train": 0.5, "validation": 0.2, "test": 0.2}},
            "data.split.fractions: must add up to 1. Got 0.9.",
        ),
        (
            {"data.split.fold": "6 of 5"},
            "data.split: fold must be 'K of N' with N at least 3 and K from 1 to N. Got '6 of 5'.",
        ),
        (
            {"data.split.fold": "2/5"},
            "data.split: fold must be 'K of N' with N at least 3 and K from 1 to N. Got '2/5'.",
        ),
        (
            {"data.split.counts.validation": -1},
            "data.split.counts.validation: must be greater than or equal to 0. Got -1.",
        ),
        (
            {"data.split.method": "fraction"},
            "data.split.method: must be one of auto, official, fractions, counts, folds. Got 'fraction'. "
            "Did you mean 'fractions'?",
        ),
        (
            {"data.classes": {"a": ["x", "y"], "b": "x"}},
            "data: classes must name each label once. Got 'x' for 'a' and for 'b'.",
        ),
        (
            {"data.classes": {"a": 3}},
            "data.classes.a: must be a valid string. Got 3; put it into quotes. Or: must be a valid list. Got 3.",
        ),
        (
            {"data.folder.label": "*.jpg"},
            "data.folder: label must have {label} once among other text, or be a regular expression with the group "
            "(?P<label>...). Got '*.jpg'. It has no label, or other names.",
        ),
        (
            {"data.folder.label": "(?P<label>["},
            "data.folder: label must have {label} once among other text, or be a regular expression with the group "
            "(?P<label>...). Got '(?P<label>['. It is not a pattern: unterminated character set at position 10.",
        ),
        ({"data.manifest.file": None}, "data.manifest: must have either file or lists, the other null. Got neither."),
        (
            {"data.manifest.lists.train": "train.txt"},
            "data.manifest: must have either file or lists, the other null. Got both.",
        ),
        (
            {"data.manifest.columns.label": "path"},
            "data.manifest.columns: must be different columns. Got path, path.",
        ),
        (
            {"data.manifest.columns.path": -1},
            "data.manifest.columns.path: must be the name of a column, its number from 0, or a list of at least two "
            "columns. Got -1.",
        ),
        (
            {"data.manifest.columns.label": ["cat"]},
            "data.manifest.columns.label: must be the name of a column, its number from 0, or a list of at least two "
            "columns. Got ['cat'].",
        ),
        (
            {"data.manifest.columns.split": ["a", "b"]},
            "data.manifest.columns.split: must be the name of a column, its number from 0, or null. Got ['a', 'b'].",
        ),
        ({"data.on_bad": "skip"}, "data.on_bad: must be one of quarantine, fail. Got 'skip'."),
        ({"data.max_bad_fraction": 5}, "data.max_bad_fraction: must be less than or equal to 1. Got 5."),
        (
            {"data.duplicates.near_distance": 16},
            "data.duplicates.near_distance: must be less than or equal to 15. Got 16.",
        ),
        (
            {"backbone.name": "MobilNetV2"},
            "backbone.name: must be one of MobileNet, MobileNetV2, MobileNetV3Small, MobileNetV3Large, ResNet50, "
            "ResNet101, ResNet152, ResNet50V2, ResNet101V2, ResNet152V2, EfficientNetB0, EfficientNetB1, … (46 in all)."
            " Got 'MobilNetV2'. Did you mean 'MobileNetV2'?",
        ),
        ({"backbone.input_size": 16}, "backbone.input_size: must be at least 32 pixels for MobileNetV2. Got 16."),
        (
            {"backbone.alpha": 1.0, "backbone.weights": "bundled"},
            "backbone.alpha: must be 0.35 for the bundled weights of MobileNetV2. Got 1.",
        ),
        (
            {"backbone.weights": "imagenet", "backbone.alpha": 0.36},
            "backbone.alpha: must be one of 0.35, 0.5, 0.75, 1, 1.3, 1.4 for ImageNet weights of MobileNetV2. "
            "Got 0.36.",
        ),
        (
            {"backbone.weights": "imagnet"},
            "backbone.weights: must be an existing file, or must be one of auto, bundled, imagenet, random. "
            "Got 'imagnet'. Did you mean 'imagenet'?",
        ),
        (
            {"train.head": "conv"},
            "extract.pooling: must be null for train.head: conv, which reads unpooled feature maps. Got 'avg'.",
        ),
        (
            {"train.head": "conv", "extract.taps": "all", "finetune.enabled": False},
            "train.head: must be one that reads vectors for extract.taps: all, as all do but conv. Got 'conv'.",
        ),
        (
            {"train.head": "taps"},
            "extract.taps: must be all for train.head: taps. Got 'none'.",
        ),
        (
            {"train.head": "taps", "extract.taps": "all"},
            "finetune.enabled: must be false for extract.taps: all, whose head reads layers below finetune.cut too. "
            "Got true.",
        ),
        (
            {"extract.taps": "all", "extract.pooling": None, "finetune.enabled": False},
            "extract.pooling: must be avg or max for extract.taps: all. Got null.",
        ),
        (
            {"extract.taps": "all", "finetune.enabled": False, "backbone.name": "Pixels", "backbone.weights": "none"},
            "extract.taps: must be none for Pixels, which has no layers. Got 'all'.",
        ),
        (
            {"train.heads.linear.pooling": "max"},
            "train.heads.linear.pooling: must be 'avg', as extract.pooling stores the features (or set extract.pooling:"
            " null, which serves every head). Got 'max'.",
        ),
        (
            {"finetune.cut": 200},
            "finetune.cut: must leave at most 153 layers to train. Got 200, 200 layers.",
        ),
        (
            {"finetune.cut": 1.5},
            "finetune.cut: must be a layer's name, a number of layers from 1 to 153, or a fraction between 0 and 1. "
            "Got 1.5.",
        ),
    ],
)
def test_one_fault_one_bullet(params_with: Callable[..., Path], changes: dict[str, Any], fault: str) -> None:
    assert faults(params_with(changes)) == (fault,)


def test_an_unknown_layer_names_a_near_one(params_with: Callable[..., Path]) -> None:
    (fault,) = faults(params_with({"finetune.cut": "block13_expand"}))
    assert fault.startswith("finetune.cut: a layer name must be one of ")
    assert "Got 'block13_expand'. Did you mean 'block_13_expand'?" in fault
    assert "graft backbones show NAME" in fault


def test_dvc_writes_small_rates_without_a_point(tmp_path: Path) -> None:
    """`dvc exp run -S finetune.learning_rate=0.00001` writes 1e-05, a number in YAML 1.2 but not in 1.1."""
    path = tmp_path / "params.yaml"
    path.write_text((REPOSITORY / "params.yaml").read_text())
    apply_overrides(path, ["finetune.learning_rate=0.00001", "train.weight_decay=1e-4"])
    assert "1e-05" in path.read_text()
    loaded = load(path)
    assert (loaded.finetune.learning_rate, loaded.train.weight_decay) == (1e-5, 1e-4)


def test_a_weights_file_is_pinned_by_its_content(params_with: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "own.weights.h5"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (fault,) = faults(params_with({"backbone.weights": str(file)}))
    assert fault == f"backbone.weights_sha256: must be the sha256 of {file}, {digest}. Got null."
    load(params_with({"backbone.weights": str(file), "backbone.weights_sha256": digest}))
    file.write_bytes(b"other weights")
    assert (
        f"Got '{digest}'" in faults(params_with({"backbone.weights": str(file), "backbone.weights_sha256": digest}))[0]
    )


def test_no_cut_where_nothing_is_fine_tuned(params_with: Callable[..., Path]) -> None:
    assert load(params_with({"finetune.cut": None, "finetune.enabled": False})).finetune.cut is None


def test_all_faults_at_once(params_with: Callable[..., Path]) -> None:
    found = faults(
        params_with(
            {
                "seed": -1,
                "train.learning_rate": 0,
                "train.epochs": None,
                "backbone.input_size": 8,
                "finetune.cut": "x",
                "extra": 1,
            },
            drop=("data.source",),
        )
    )
    assert [fault.split(":")[0] for fault in found] == [
        "seed",
        "data.source",
        "train.learning_rate",
        "extra",
        "train",
        "backbone.input_size",
        "finetune.cut",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a\n- b\n", "must be a mapping of sections. Got list."),
        ("seed: [1\n", "must be YAML."),
        ("seed: 1\nseed: 2\n", "key 'seed' stands twice"),
        ("data: {{ x }}\n", "must be YAML."),
        ("data: {path: s3://photos}\n", "is better not written within [] or {}, but on a line of its own"),
        ("data: [really?]\n", "is better not written within [] or {}, but on a line of its own"),
        ("seed: " + "9" * 5000 + "\n", "must be YAML."),
        ("seed: " + "9" * 400 + "\n", "seed: must be at most 9,007,199,254,740,992. Got a number of 333 hex digits."),
        ("seed: 2020-01-01\n", "seed: must be a text, number, boolean or list. Got a date; quote it."),
        ("a: " + "[" * 40 + "]" * 40 + "\n", "a: must be at most 20 levels deep."),
        ("a: " + "[" * 100_000 + "]" * 100_000 + "\n", "must be at most 20 levels deep. Got far more."),
        ("- " * 100_000 + "a\n", "must be at most 20 levels deep. Got far more."),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefgh")),
            "must hold at most 20,000 values. Got more; look for aliases",
        ),
        ("x: " + "a" * 2**20, "must be at most 1,048,576 characters."),
    ],
)
def test_what_is_no_params_file(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert fault in faults(path)[0]


@pytest.mark.parametrize("value", ["yes", "No", "on", "OFF", "042", "-010", "1:30", "12:30:45.5"])
def test_what_readers_take_differently_is_refused_by_name(tmp_path: Path, value: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"data:\n  classes:\n    top:\n    - shirt\n    - {value}\n    other: '*'\n")
    (fault,) = faults(path)
    assert fault.startswith(
        f"data.classes.top: must be quoted, or written otherwise, since readers of YAML take {value} "
    )
    path.write_text(f"data:\n  classes: {{top: [shirt, '{value}'], other: '*'}}\n")
    assert yaml_file.read_by_people(path)["data"]["classes"]["top"] == ["shirt", value]


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "dvc.lock"])
def test_files_are_read_as_dvc_reads_them(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    assert yaml_file.parse(text, name) == parse_yaml(text, name)


def test_values_are_read_as_dvc_reads_them() -> None:
    values = """1e-05 1E5 .5 1. 0o17 0x1f 1_000 true TRUE null ~ Null .inf yes 1:30 042 '042' 1.2.3 +1 0b1 <<x"""
    text = "".join(f"k{i}: {value}\n" for i, value in enumerate(values.split()))
    found = yaml_file.parse(text, "text")
    assert found == parse_yaml(text, "text")
    assert (found["k0"], found["k13"], found["k14"]) == (1e-5, "yes", "1:30")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.learning_rate=0.00001", "learning_rate: 1e-05"),
        ("train.steps=500", "steps: 500"),
        ("train.epochs=null", "epochs:"),
        ("data.classes={odd:['1','3'],other:'*'}", None),
        ("train.heads.mlp.hidden_units=[64,32]", "mlp: {pooling: avg, hidden_units: [64, 32], dropout: 0.2}"),
        ("extract.augment.horizontal_flip=true", "horizontal_flip: true"),
        ("tracking.run_name=mine", "run_name: mine"),
    ],
)
def test_one_override_changes_one_line(tmp_path: Path, override: str, line: str | None) -> None:
    """What `dvc exp run -S` does to the file; a mapping takes a line for each of its own."""
    path = tmp_path / "params.yaml"
    before = (REPOSITORY / "params.yaml").read_text()
    path.write_text(before)
    apply_overrides(path, [override])
    changed = [new for new in ndiff(before.splitlines(), path.read_text().splitlines()) if new[0] in "+-"]
    if line is None:
        assert len([new for new in changed if new[0] == "-"]) <= 1
    else:
        assert [new[0] for new in changed] == ["-", "+"]
        assert changed[1][1:].split("#")[0].strip() == line
    yaml_file.read_by_people(path)


@pytest.mark.parametrize(
    "name", ["graft.complete", "mlflow.runName", "dvc.exp_name", "", "a=b,c*", "bad!?", "/a", "../a", "a//b", "x" * 251]
)
def test_tags_that_are_not_the_users_are_refused(params_with: Callable[..., Path], name: str) -> None:
    (fault,) = faults(params_with({"tracking.tags": {"team": "one", name: "x"}}))
    assert fault.startswith("tracking.tags: a tag must ")
    assert fault.endswith(f"Got {name!r}.")
    load(params_with({"tracking.tags": {"team": "one", "who/where: x": "y" * 8000}}))


def test_a_missing_file(tmp_path: Path) -> None:
    assert faults(tmp_path / "params.yaml") == ("must exist. Run the command in the project's root.",)


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["params", "check"], ["backbones"]])
def test_help_and_checks_import_nothing_heavy(command: list[str]) -> None:
    """In a process of its own: TensorFlow takes 3 s to import, MLflow 1.4 s."""
    script = (
        "import sys; from graft.cli import app\n"
        f"try: app({command!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_command_reports_faults_and_exits_1(params_with: Callable[..., Path]) -> None:
    path = params_with({"train.learning_rate": -1, "train.epochs": 0})
    done = subprocess.run(
        [sys.executable, "-m", "graft", "params", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"graft: {path}: 2 faults",
        "  - train.learning_rate: must be greater than 0. Got -1.",
        "  - train.epochs: must be greater than or equal to 1. Got 0.",
    ]
