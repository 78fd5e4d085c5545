"""Splits: stratified, exact, official, grouped, folded, few-shot; deterministic, stable, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import CLASSES, NO_TEXT, PreparedData, data_params, drawing, encoded, write_drawings
from graft.errors import DataError, StaleError
from graft.examples import split
from graft.examples.splitting.limits import few_shot
from graft.examples.splitting.make import make_split

Prepare = Callable[..., PreparedData]


def table(per_class: int, classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    """Used images as `prepare` gives them, with contents that are prefixes of those of a larger table."""
    rows = [
        (f"{c}/{i}.png", np.random.default_rng([k, i]).bytes(32).hex(), c)
        for k, c in enumerate(classes)
        for i in range(per_class)
    ]
    used = pd.DataFrame(rows, columns=["path", "sha256", "label"])
    return used.assign(official=None, group="", weight=1.0)


@dataclass
class Made:
    table: pd.DataFrame
    notes: list[str]


def made(
    used: pd.DataFrame, changes: dict[str, Any] | None = None, seed: int = 1, copies: np.ndarray | None = None
) -> Made:
    data = data_params({f"split.{key}": value for key, value in (changes or {}).items()})
    each = np.arange(len(used)) if copies is None else copies
    return Made(*make_split(used.reset_index(drop=True), each, data.split, seed))


def by_path(result: Made) -> dict[str, str]:
    return dict(zip(result.table["path"], result.table["split"], strict=True))


def counts(result: Made) -> pd.DataFrame:
    table = result.table
    return pd.crosstab(table["label"], table["split"]).reindex(
        columns=["train", "validation", "test", "unused"], fill_value=0
    )


METHODS = {
    "fractions": {"method": "fractions"},
    "counts": {"method": "counts", "counts": {"train": 10, "validation": 3, "test": 4}},
    "folds": {"method": "folds", "fold": "2 of 5"},
    "few-shot": {"few_shot": 5},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_deterministic_in_the_seed_and_blind_to_order(name: str) -> None:
    used = table(20)
    first = made(used, METHODS[name])
    assert by_path(first) == by_path(made(used, METHODS[name]))
    assert by_path(first) == by_path(made(used.sample(frac=1, random_state=3), METHODS[name]))
    assert by_path(first) != by_path(made(used, METHODS[name], seed=2))
    assert set(first.table["split"]) <= {"train", "validation", "test", "unused"}


@pytest.mark.parametrize("name", METHODS)
def test_added_images_move_few_others(name: str) -> None:
    """20 images more beside 200: at most as many others change sides, and none between validation and test."""
    before = by_path(made(table(200, ("a", "b")), METHODS[name]))
    after = by_path(made(table(220, ("a", "b")), METHODS[name]))
    moved = [(path, before[path], after[path]) for path in before if before[path] != after[path]]
    assert len(moved) <= 40
    if name != "folds":
        assert not [move for move in moved if set(move[1:]) == {"validation", "test"}]


def test_one_more_image_moves_at_most_one_other() -> None:
    for n in range(30, 60):
        before, after = by_path(made(table(n, ("a", "b")))), by_path(made(table(n + 1, ("a", "b"))))
        assert sum(before[path] != after[path] for path in before) <= 2 * 2


def test_fractions_are_stratified() -> None:
    of_class = counts(made(table(20)))
    assert (of_class[["train", "validation", "test"]] == [12, 4, 4]).all(axis=None)


def test_counts_are_exact_and_the_rest_unused() -> None:
    """The tutorial's protocol: so many images of each class for training, so many for testing."""
    result = made(table(40), {"method": "counts", "counts": {"train": 20, "validation": 0, "test": 7}})
    assert (counts(result) == [20, 0, 7, 13]).all(axis=None)
    assert result.notes == [
        "39 images are beyond data.split.counts: unused, though their features are computed. "
        "data.max_images_per_class: 27 leaves them out",
        "no validation images at all",
    ]
    with pytest.raises(DataError) as caught:
        made(
            pd.concat([table(40), table(20, ("rare",))]),
            {"method": "counts", "counts": {"train": 20, "validation": 3, "test": 7}},
        )
    assert str(caught.value) == (
        "data.split.counts: every class must have 20 + 3 + 7 images for train, validation, test, and copies and groups "
        "stay together. Too small: rare (20 images, 10 too few for train). Lower the counts, or leave small classes "
        "out with data.min_images_per_class."
    )


def test_folds_test_and_validate_every_image_once() -> None:
    used = table(23)
    results = [by_path(made(used, {"method": "folds", "fold": f"{k} of 5"})) for k in range(1, 6)]
    for path in used["path"]:
        sides = [result[path] for result in results]
        assert sorted(sides) == ["test", "train", "train", "train", "validation"]
        assert sides.index("validation") == (sides.index("test") - 1) % 5
    for result in results:
        per_class = pd.Series(result).groupby(lambda path: path.split("/")[0]).value_counts().unstack()
        assert per_class["test"].between(4, 5).all()


def test_folds_of_small_classes_always_train() -> None:
    """Cross-validation must not die in the third fold of five."""
    used = pd.concat([table(20), *(table(n, (f"of{n}",)) for n in (1, 2, 3))])
    for n_folds in (3, 5):
        for k in range(1, n_folds + 1):
            assert (counts(made(used, {"method": "folds", "fold": f"{k} of {n_folds}"}))["train"] > 0).all()


def test_a_large_group_does_not_fill_a_held_out_part() -> None:
    used = table(300, ("a", "b"))
    used.loc[:199, "group"] = "one shopper"
    for seed in range(30):
        result = made(used, seed=seed)
        assert counts(result).loc["a"].tolist() == [200, 40, 60, 0]
        assert counts(result).loc["b"].tolist() == [180, 60, 60, 0]
    used["group"] = [f"g{i // 100}" for i in range(600)]
    assert made(used).notes == [
        "far from data.split.fractions, since copies or groups stay together: a (train 0.33, validation 0.33, test "
        "0.33), b (train 0.33, validation 0.33, test 0.33)"
    ]


def test_weights_of_zero_train_nothing() -> None:
    with pytest.raises(DataError, match=r"weight: must be above 0 for some training images\. Got 0 for all"):
        made(table(10).assign(weight=0.0))


def test_few_shot_leaves_the_rest_of_the_split_untouched() -> None:
    used = table(30)
    whole, ten, five = made(used), made(used, {"few_shot": 10}), made(used, {"few_shot": 5})
    for few, n in ((ten, 10), (five, 5)):
        assert (counts(few)["train"] == n).all()
        for path, side in by_path(few).items():
            assert side == by_path(whole)[path] or (side, by_path(whole)[path]) == ("unused", "train")
    of_ten = {path for path, side in by_path(ten).items() if side == "train"}
    assert {path for path, side in by_path(five).items() if side == "train"} < of_ten
    again = few_shot(used, np.arange(len(used)), whole.table["split"], 10, 1)
    assert list(again) == list(ten.table["split"]), "of a split that is there"
    assert made(used, {"few_shot": 25}).notes == [
        "fewer than data.split.few_shot: 25 training images in: circle (18), cross (18), stripes (18)"
    ]


@pytest.mark.parametrize("name", METHODS)
def test_copies_and_groups_stay_together(name: str) -> None:
    """Pairs of copies, and shoppers of five images each that overlap with pairs."""
    used = table(30)
    used["group"] = [f"shopper{i // 5}" if i < 40 else "" for i in range(90)]
    copies = np.arange(90) // 2
    sides = pd.Series(by_path(made(used, METHODS[name], copies=copies))).reindex(used["path"]).to_numpy()
    together = [np.flatnonzero(copies == n) for n in range(45)]
    together += [np.flatnonzero(used["group"] == group) for group in set(used["group"]) - {""}]
    for rows in together:
        assert len(set(sides[rows]) - {"unused"}) <= 1, "a part of a unit may be unused"
    assert len(set(sides)) >= 3


def test_a_group_that_crosses_classes_and_copies_is_one_unit() -> None:
    used = table(12)
    used.loc[[0, 12], "group"] = "mixed"
    copies = np.arange(36)
    copies[24] = copies[0]
    sides = by_path(made(used, copies=copies))
    assert len({sides[used["path"][i]] for i in (0, 12, 24)}) == 1


# official splits


def official(n: int) -> pd.DataFrame:
    """n images a class, the last two validate and test."""
    return table(n).assign(official=(["train"] * (n - 2) + ["validation", "test"]) * 3)


def test_an_official_split_keeps_its_held_out_parts() -> None:
    """A copy on a side nearer to training is not used; what was published to test with stays whole."""
    used = official(10)
    copies = np.arange(30)
    copies[0] = copies[9]  # train and test
    copies[11] = copies[18]  # train and validation
    copies[28] = copies[29]  # validation and test
    copies[1] = copies[2]  # both train
    result = made(used, copies=copies)
    sides = by_path(result)
    paths = used["path"]
    assert [sides[paths[i]] for i in (0, 9, 11, 18, 28, 29, 1, 2)] == [
        "unused", "test", "unused", "validation", "unused", "test", "train", "train",
    ]  # fmt: skip
    assert result.notes == [
        "3 images are copies, or of a group, of images on a side of the official split that is further from training: "
        "unused (2 of train, 1 of validation): circle/0.png, cross/1.png, stripes/8.png",
        "no validation images of: stripes. Its metrics say nothing of them; add images, merge with data.classes, or "
        "drop them there",
    ]


def test_an_official_split_without_test_is_used_whole() -> None:
    used = table(12).assign(official=(["train"] * 9 + ["validation"] * 3) * 3)
    result = made(used)
    assert by_path(result) == dict(zip(used["path"], used["official"], strict=True))
    assert "official split without test, used whole: what the models are worth is judged on validation" in result.notes
    assert "no test images at all" in result.notes


def test_no_test_part_where_its_fraction_is_0() -> None:
    fractions = {"train": 0.75, "validation": 0.25, "test": 0.0}
    sides = list(by_path(made(table(12), {"fractions": fractions})).values())
    assert [sides.count(name) for name in ("train", "validation", "test")] == [27, 9, 0]
    only_train = table(12).assign(official=["train"] * 36)
    sides = list(by_path(made(only_train, {"fractions": fractions})).values())
    assert [sides.count(name) for name in ("train", "validation", "test")] == [27, 9, 0]


def test_an_official_split_without_validation_cuts_it_from_train() -> None:
    used = table(12).assign(official=(["train"] * 9 + ["test"] * 3) * 3)
    result = made(used)
    assert result.notes == ["official split without validation: cut from train by data.split.fractions"]
    assert (counts(result)[["train", "validation", "test"]] == [7, 2, 3]).all(axis=None)
    assert all(by_path(result)[p] == "test" for p in used.loc[used["official"] == "test", "path"])


def test_images_in_no_part_of_an_official_split() -> None:
    used = official(8)
    used.loc[0, "official"] = None
    result = made(used)
    assert by_path(result)["circle/0.png"] == "unused"
    assert result.notes == ["1 images are in no part of the official split: unused"]


def test_a_method_may_set_an_official_split_aside() -> None:
    used = official(10)
    result = made(used, {"method": "fractions"})
    assert by_path(result) == by_path(made(used.assign(official=None)))
    assert result.notes == ["the source's official split is not used, since data.split.method is fractions"]
    with pytest.raises(DataError, match=r"data\.split\.method: must be auto, fractions, counts or folds for a source"):
        made(table(5), {"method": "official"})


# classes in trouble


def test_classes_in_trouble_are_said_in_a_line_each() -> None:
    used = pd.concat([table(120, ("plenty",)), table(1, ("single",)), table(2, ("pair",))])
    result = made(used)
    assert result.notes == [
        "one image only, which trains and is never tested: single. Add images, merge with data.classes, or set "
        "data.min_images_per_class: 3",
        "no validation images of: pair. Its metrics say nothing of them; add images, merge with data.classes, or drop "
        "them there",
        "over 50 times rarer than plenty (120): pair (2). Add images, merge with data.classes, set "
        "data.max_images_per_class, or weigh with class_weights: balanced",
    ]
    assert (counts(result).loc["pair"] == [1, 0, 1, 0]).all()
    assert (counts(result).loc["single"] == [1, 0, 0, 0]).all()


def test_a_class_that_does_not_train_is_refused() -> None:
    used = official(4)
    used.loc[used["label"] == "cross", "official"] = "test"
    with pytest.raises(DataError, match=r"every class must have training images\. None for: cross\. Add images, merge"):
        made(used)


def test_a_class_whose_training_images_are_copies_of_held_out_ones() -> None:
    """It is not enough to say that it has none: they are there."""
    used = official(4)
    copies = np.arange(len(used))
    crosses = np.flatnonzero(used["label"] == "cross")
    tested = crosses[(used["official"].iloc[crosses] == "test").to_numpy()]
    training = crosses[(used["official"].iloc[crosses] == "train").to_numpy()]
    copies[training] = tested[0]
    with pytest.raises(DataError) as caught:
        make_split(used, copies, data_params().split, 0)
    assert str(caught.value) == (
        "data.path: every class must have training images. All of the official training part are copies, or of a "
        f"group, of validation or test images, of cross ({len(training)}). duplicates.csv beside the catalogue lists "
        "copies. Take them out of the held-out parts, add other training images, or let graft split: "
        "data.split.method: fractions."
    )


# the file


def test_the_split_is_read_back_and_belongs_to_its_catalogue(tmp_path: Path) -> None:
    used = table(10)
    used["weight"] = np.linspace(0, 2, 30)
    result = made(used)
    split.write(result.table, tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text().startswith("path,label,split,weight\ncircle/0.png,circle,")
    back = split.read(tmp_path / "split.csv", used)
    assert sorted(np.concatenate(list(back.rows.values()))) == list(range(30))
    assert (result.table["split"].iloc[back.rows["test"]] == "test").all()
    assert back.weights == pytest.approx(used["weight"].to_numpy(np.float32))
    with pytest.raises(StaleError, match="belongs to another catalogue"):
        split.read(tmp_path / "split.csv", used.iloc[:-1])


def test_a_group_column_reaches_the_split(tmp_path: Path, prepare: Prepare) -> None:
    """From the manifest to the file: shoppers stay together, and the file says who they are."""
    for i in range(60):
        (tmp_path / f"{i}.png").write_bytes(encoded(drawing(CLASSES[i % 3], i)))
    rows = [(f"{i}.png", CLASSES[i % 3], f"shopper {i // 6}") for i in range(60)]
    pd.DataFrame(rows, columns=["path", "label", "who"]).to_csv(tmp_path / "images.csv", index=False)
    columns = {**NO_TEXT, "path": "path", "label": "label", "split": None, "group": "who", "weight": None}
    found = prepare(tmp_path, {"manifest.columns": columns}, source="manifest")
    assert (found.split.groupby("group")["split"].nunique() == 1).all()
    assert found.split["split"].nunique() == 3


def test_a_side_is_one_of_content_not_of_place(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path / "here", 10)
    first = prepare(tmp_path / "here").sides
    (tmp_path / "here" / "circle").rename(tmp_path / "here" / "ring")
    second = prepare(tmp_path / "here").sides
    assert {p.replace("circle", "ring"): side for p, side in first.items()} == second
