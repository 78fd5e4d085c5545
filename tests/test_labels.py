"""data.classes maps, merges, keeps and drops labels; classes may be limited in size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import PreparedData, drawing, encoded, write_drawings
from graft.errors import DataError
from graft.examples import labels
from graft.examples.sources.base import Item, listed

Prepare = Callable[..., PreparedData]
LABELS = ("dress", "hat", "shirt/long", "shirt/short", "shoes")


def mapped(classes: dict[str, Any] | None, given: tuple[str, ...] = LABELS) -> dict[str, str]:
    """label -> class of what is used"""
    items = labels.assign(listed(Item(f"{label}/x.png", label) for label in given), classes)
    return {item.path.removesuffix("/x.png"): item.label for item in items if item.problem is None}


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (None, {label: label for label in LABELS}),
        (
            {"dress": ["dress"], "other": "*"},
            {"dress": "dress", **{label: "other" for label in LABELS if label != "dress"}},
        ),
        ({"dress": "dress", "hat": "hat"}, {"dress": "dress", "hat": "hat"}),
        (
            {"shirt": "shirt/*", "*": "*"},
            {"dress": "dress", "hat": "hat", "shirt/long": "shirt", "shirt/short": "shirt", "shoes": "shoes"},
        ),
        ({"-": ["shoes", "hat"], "*": "*"}, {label: label for label in LABELS if label not in ("shoes", "hat")}),
        ({"long": "shirt/long", "shirt": "shirt/*"}, {"shirt/long": "long", "shirt/short": "shirt"}),
        ({"rest": "*", "shirt": "shirt/*"}, {"dress": "rest", "hat": "rest", "shirt/long": "shirt",
                                             "shirt/short": "shirt", "shoes": "rest"}),
    ],
    ids=["as they are", "one against the rest", "kept", "merged by pattern", "dropped", "exact first", "* last"],
)  # fmt: skip
def test_classes(classes: dict[str, Any] | None, expected: dict[str, str]) -> None:
    assert mapped(classes) == expected


def test_what_is_in_no_class_is_left_out_by_name(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 4)
    (tmp_path / "cross" / "empty.png").write_bytes(b"")
    found = prepare(tmp_path, {"classes": {"round": "circle", "striped": ["stripes"]}})
    left = found.catalogue[found.catalogue["state"] == "left out"]
    assert set(left["reason"]) == {"label not in data.classes"}
    assert set(left["detail"]) == {"cross"}
    assert found.metrics["left_out"] == 5
    assert found.metrics["used"] == 8
    assert "note: 5 files left out: label not in data.classes (5)" in found.said


def test_one_against_the_rest_through_the_stage(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 5)
    found = prepare(tmp_path, {"classes": {"circle": ["circle"], "other": "*"}})
    assert found.split["label"].value_counts().to_dict() == {"other": 10, "circle": 5}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"a": ["dres"]}, r"data\.classes: 'a': a label must be one of dress, .*Got 'dres'\. Did you mean 'dress'\?"),
        ({"a": ["skirt*"]}, r"data\.classes: 'a': 'skirt\*' must match a label\. Labels: dress, hat,"),
    ],
)
def test_labels_that_do_not_exist(classes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        mapped(classes)


def test_classes_that_differ_in_case_only() -> None:
    with pytest.raises(DataError) as caught:
        mapped(None, ("Dress", "dress", "hat"))
    assert str(caught.value) == (
        "data.path: classes must differ in more than case. Got 'Dress' and 'dress'. Rename one, or merge them: "
        'data.classes: {dress: [Dress, dress], "*": "*"}.'
    )
    merged = mapped({"dress": ["Dress", "dress"], "*": "*"}, ("Dress", "dress", "hat"))
    assert merged == {"Dress": "dress", "dress": "dress", "hat": "hat"}


def test_classes_that_look_alike_are_said() -> None:
    """A no-break blank, one at the end, two blanks, full width, a ligature, one of no width."""
    assert labels.look_alike(["red apple", "hat", "red\u00a0apple", "shoe"]) == [
        'classes that look alike: "red apple" and "red\\u00a0apple". If they are one, rename one, or merge them with '
        "data.classes"
    ]
    for other in ("hat ", " hat", "\uff48at", "hat\u200b", "h\u2060at", "\U0001d421at"):
        assert len(labels.look_alike(["hat", other])) == 1
    assert "\\U0001d421at" in labels.look_alike(["hat", "\U0001d421at"])[0]
    assert len(labels.look_alike(["a  b", "a b", "\ufb01sh", "fish"])) == 2
    assert labels.look_alike(["hat", "hats", "t-shirt", "t shirt", "tshirt", "Äpfel", "Apfel"]) == []


def test_a_class_under_two_names_is_said_before_its_split_fails(tmp_path: Path, prepare: Prepare, capsys: Any) -> None:
    for name in ("train", "test"):
        write_drawings(tmp_path / name, 3, first_seed=len(name))
    (tmp_path / "test" / "circle").rename(tmp_path / "test" / "circle\u00a0")
    with pytest.raises(DataError, match="every class must have training images"):
        prepare(tmp_path)
    assert 'note: classes that look alike: "circle" and "circle\\u00a0".' in capsys.readouterr().err


def test_least_and_most_images_of_a_class(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 8)
    (tmp_path / "rare").mkdir()
    for i in range(2):
        (tmp_path / "rare" / f"{i}.png").write_bytes(encoded(drawing("cross", 500 + i)))
    limits = {"min_images_per_class": 3, "max_images_per_class": 6}
    found = prepare(tmp_path, limits)
    assert found.split["label"].value_counts().to_dict() == {"circle": 6, "cross": 6, "stripes": 6}
    assert "8 files left out: beyond data.max_images_per_class (6), class below data.min_images_per_class (2)" in (
        found.said
    )
    other_seed = prepare(tmp_path, limits, seed=5)
    assert (found.folder / "catalogue.csv").read_bytes() == (other_seed.folder / "catalogue.csv").read_bytes()
    assert found.sides != other_seed.sides


def test_defects_of_dropped_labels_do_not_count(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 4)
    (tmp_path / "old").mkdir()
    for i in range(20):
        (tmp_path / "old" / f"{i}.heic").write_bytes(b"II*")
    found = prepare(tmp_path, {"classes": {"-": ["old"], "*": "*"}, "max_bad_fraction": 0.0})
    assert found.metrics["quarantined"] == 0
    assert found.metrics["left_out"] == 20


def test_brackets_are_no_pattern() -> None:
    assert mapped({"a": "a[1]*", "*": "*"}, ("a[1]x", "a1x", "b")) == {"a[1]x": "a", "a1x": "a1x", "b": "b"}


def test_a_class_that_would_end_dvcs_program_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 3)
    (tmp_path / "circle").rename(tmp_path / "a<")
    (tmp_path / "a<" / "script>").mkdir()
    for file in (tmp_path / "a<").glob("*.png"):
        file.rename(tmp_path / "a<" / "script>" / file.name)
    with pytest.raises(DataError, match=r"a class must not be called 'a</script>'"):
        prepare(tmp_path, {"folder.class_depth": None})
    found = prepare(tmp_path, {"folder.class_depth": None, "classes": {"circle": "a</script>", "*": "*"}})
    assert set(found.split["label"]) == {"circle", "cross", "stripes"}
