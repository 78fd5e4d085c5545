"""Texts in `prepare`: every source, every fault with its reason, copies, and the page about them."""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import PreparedData, paths_in
from graft.config.data import Kind
from graft.config.load import load
from graft.errors import DataError, ParamsError, StaleError, SurroundingsError
from graft.examining.text import examine
from graft.examples import catalogue, report
from graft.examples.checks import kinds, near_texts
from graft.examples.checks import texts as checked
from graft.examples.checks.examined import Looks
from graft.examples.sources import SOURCES, names, tables
from graft.examples.sources.tables import embedded, text_paths, texts
from graft.inputs.text import parts

Prepare = Callable[..., PreparedData]

WORDS = [first + vowel + last for first in "bdfgklmnprst" for vowel in "aeiou" for last in ("n", "rt", "sk", "m")]
COLUMNS = {"path": "path", "text": "question", "second": None, "label": "topic", "split": "part", "group": None,
           "weight": None}  # fmt: skip
TABLE = {"kind": "text", "manifest.columns": COLUMNS}
FILES = {"kind": "text"}


def sentence(seed: int, length: int = 12) -> str:
    """Words that no language has; two seeds have next to no run of five characters in common."""
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


def rows_of(n: int = 24) -> pd.DataFrame:
    """question, answer, topic and part; a question may have what tables quote."""
    questions = [f'{sentence(i)}, "{i}"' if i % 5 == 0 else f"  {sentence(i)}\n{i} é " for i in range(n)]
    frame = pd.DataFrame({"question": questions, "answer": [sentence(1000 + i) for i in range(n)]})
    frame["topic"] = [("card", "loan")[i % 2] for i in range(n)]
    frame["part"] = [("train", "train", "validation", "test")[i // 2 % 4] for i in range(n)]
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case ".json":
            frame.to_json(path, orient="records")
        case ".parquet":
            frame.to_parquet(path, row_group_size=5)


def write_files(root: Path, contents: dict[str, bytes | str]) -> None:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)


def classes_of_files(n: int = 6) -> dict[str, bytes | str]:
    return {f"{topic}/{i}.txt": sentence(100 * k + i) for k, topic in enumerate(("card", "loan")) for i in range(n)}


def test_every_kind_has_its_rows() -> None:
    assert set(kinds.KINDS) == set(names.NAMES) == set(report.SHOWN) == set(catalogue.ITEMS) == set(get_args(Kind))
    assert set(catalogue.MEASURES) == set(get_args(Kind))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("second", [None, "answer"])
def test_a_table_of_any_kind(suffix: str, second: str | None, tmp_path: Path, prepare: Prepare) -> None:
    frame, file = rows_of(), f"qa{suffix}"
    write_table(frame, tmp_path / file)
    found = prepare(
        tmp_path, TABLE | {"manifest.file": file, "manifest.columns": COLUMNS | {"second": second}}, "manifest"
    )
    columns = "question,answer" if second else "question"
    assert found.catalogue["path"].tolist() == [f"{file}/{columns}/row-{i:06d}.txt" for i in range(len(frame))]
    questions = [text.strip() for text in frame["question"]]
    expected = [f"{q}\0{a}" if second else q for q, a in zip(questions, frame["answer"], strict=True)]
    reader = SOURCES["manifest"].open(tmp_path)
    assert [reader.read(path).decode() for path in found.catalogue["path"]] == expected
    assert [reader.size(path) for path in found.catalogue["path"]] == [len(text.encode()) for text in expected]
    assert found.catalogue["sha256"].tolist() == [hashlib.sha256(text.encode()).hexdigest() for text in expected]
    assert found.catalogue["characters"].astype(int).tolist() == [len(text.replace("\0", "")) for text in expected]
    assert found.catalogue["words"].astype(int).tolist() == [len(text.replace("\0", " ").split()) for text in expected]
    assert found.catalogue["label"].tolist() == frame["topic"].tolist()
    assert list(found.sides.values()) == frame["part"].tolist()
    assert found.metrics["used"] == len(frame)
    assert "image" not in found.said


def test_the_catalogue_of_texts_is_read_back(tmp_path: Path, prepare: Prepare) -> None:
    write_table(rows_of(), tmp_path / "qa.csv")
    found = prepare(tmp_path, TABLE | {"manifest.file": "qa.csv"}, "manifest")
    written = (found.folder / "catalogue.csv").read_text()
    assert written.splitlines()[0] == "path,sha256,bytes,characters,words,label,state,reason,detail"
    back = catalogue.read(found.folder / "catalogue.csv")
    assert catalogue.kind_of(back.used) == "text"
    assert back.classes == ["card", "loan"]
    assert back.used["characters"].dtype.kind == "i"
    back.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == written
    assert catalogue.COLUMNS == ("path", "sha256", "bytes", "width", "height", "label", "state", "reason", "detail")


def test_columns_by_number_and_a_split_by_the_names_of_tables(tmp_path: Path, prepare: Prepare) -> None:
    frame = rows_of()[["topic", "question"]]
    for part, some in (("train", frame[:16]), ("test", frame[16:])):
        some.to_csv(tmp_path / f"{part}.csv", index=False, header=False)
    columns = COLUMNS | {"path": 0, "text": 1, "label": 0, "split": None}
    found = prepare(tmp_path, FILES | {"manifest.file": "*.csv", "manifest.columns": columns}, "manifest")
    assert [path for path, side in found.sides.items() if side == "test"] == [
        f"test.csv/@1/row-{i:06d}.txt" for i in range(8)
    ]
    reader = SOURCES["manifest"].open(tmp_path)
    assert reader.read("train.csv/@1/row-000003.txt").decode() == frame["question"][3].strip()
    with pytest.raises(OSError, match="no such row or column in the table"):
        reader.read("train.csv/@1/row-000016.txt")
    with pytest.raises(OSError, match="no such row or column in the table"):
        reader.read("train.csv/@2/row-000003.txt")


@pytest.mark.parametrize("name", ["what, then/who", "@1", "50%", "Frage (groß) & é"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_of_any_name(name: str, suffix: str, tmp_path: Path, prepare: Prepare) -> None:
    frame = rows_of().rename(columns={"question": name})
    write_table(frame, tmp_path / f"qa{suffix}")
    columns = COLUMNS | {"text": name, "second": "answer"}
    found = prepare(tmp_path, FILES | {"manifest.file": f"qa{suffix}", "manifest.columns": columns}, "manifest")
    reader = SOURCES["manifest"].open(tmp_path)
    assert reader.read(found.catalogue["path"][2]).decode() == f"{frame[name][2].strip()}\0{frame['answer'][2]}"
    assert found.catalogue["path"][2].count("/") == 2


def test_a_name_that_two_columns_have_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "qa.csv").write_text("text,text,label\na,b,c\n")
    columns = COLUMNS | {"text": 1, "label": "label", "split": None}
    with pytest.raises(DataError, match=r"columns\.text: must be a column of texts with a name of its own in qa\.csv"):
        prepare(tmp_path, FILES | {"manifest.file": "qa.csv", "manifest.columns": columns}, "manifest")


def test_a_table_is_parsed_twice_however_many_rows(
    tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for its labels, once for its texts; and once more where copies are to be compared."""
    n = 10_000
    frame = pd.DataFrame({"question": [f"{i:x} {i * 7919}" for i in range(n)], "topic": ["a", "b"] * (n // 2)})
    write_table(frame, tmp_path / "qa.csv")
    times, read = [], tables.read
    monkeypatch.setattr(tables, "read", lambda *given, **named: times.append(1) or read(*given, **named))
    columns = COLUMNS | {"split": None}
    changes = {"manifest.file": "qa.csv", "manifest.columns": columns, "duplicates.near_similarity": 1}
    found = prepare(tmp_path, FILES | changes, "manifest")
    assert found.metrics["used"] == n
    assert len(times) <= 3


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_held_of_tables_is_bounded(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = rows_of()
    files = [f"{k}{suffix}" for k in range(3)]
    for name in files:
        write_table(frame, tmp_path / name)
    for module in (embedded, texts):
        monkeypatch.setattr(module, "MOST_BYTES", 10)
    reader = SOURCES["manifest"].open(tmp_path)
    assert isinstance(reader, texts.TextsReader)
    for row, name in itertools.product((0, 7, 23), files):
        assert reader.read(f"{name}/question/row-{row:06d}.txt").decode() == frame["question"][row].strip()
        assert len(reader._tables) + len(reader._others._groups) == 1


def test_quotes_between_tabs_are_often_no_more_than_that(tmp_path: Path, prepare: Prepare) -> None:
    """Read as they stand in a CSV, the quotes of the second and the fourth line would make one row of three."""
    lines = ['one "word" more\tcard', '"begins with one\tloan', "nothing\tcard", 'ends"\tloan', '"all of it"\tcard']
    (tmp_path / "qa.tsv").write_text("question\ttopic\n" + "\n".join(lines) + "\n")
    columns = COLUMNS | {"split": None}
    found = prepare(tmp_path, FILES | {"manifest.file": "qa.tsv", "manifest.columns": columns}, "manifest")
    reader = SOURCES["manifest"].open(tmp_path)
    assert [reader.read(path).decode() for path in found.catalogue["path"]] == [x.split("\t")[0] for x in lines]


def test_a_text_in_a_list_may_begin_like_a_comment(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "qa.txt").write_text("#hashtags are text\tcard\nother words\tloan\n#and more\tcard\nlast\tloan\n")
    columns = COLUMNS | {"path": 1, "text": 0, "label": 1, "split": None}
    found = prepare(tmp_path, FILES | {"manifest.file": "qa.txt", "manifest.columns": columns}, "manifest")
    assert found.metrics["used"] == 4
    assert SOURCES["manifest"].open(tmp_path).read("qa.txt/@0/row-000000.txt") == b"#hashtags are text"


def test_files_by_class_and_part(tmp_path: Path, prepare: Prepare) -> None:
    write_files(tmp_path, {f"train/{name}": text for name, text in classes_of_files().items()})
    write_files(tmp_path, {"test/card/x.TXT": sentence(900), "test/loan/y.txt": sentence(901)})
    write_files(tmp_path, {"README.md": "notes", "train/card/scan.pdf": b"%PDF", "train/card/a.png": b"png"})
    found = prepare(tmp_path, FILES)
    assert found.metrics["used"] == 14
    assert {path for path, side in found.sides.items() if side == "test"} == {"test/card/x.TXT", "test/loan/y.txt"}
    assert found.aside == {
        "train/card/scan.pdf": ("format not read", ".pdf; convert it to plain text in UTF-8, .txt"),
    }
    assert found.metrics["ignored"] == 2
    assert "2 other files ignored: not the name of a text file (2)" in found.said
    assert "image" not in found.said


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_of_files(kind: str, tmp_path: Path, prepare: Prepare) -> None:
    contents = classes_of_files()
    write_files(tmp_path / "set", contents)
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "set"))
    found = prepare(packed, FILES)
    assert dict(zip(found.catalogue["path"], found.catalogue["bytes"].astype(int), strict=True)) == {
        name: len(text) for name, text in contents.items()
    }


def test_a_table_in_an_archive(tmp_path: Path, prepare: Prepare) -> None:
    """Other archives beside it are nobody's business."""
    write_table(rows_of(), tmp_path / "set" / "qa.csv")
    write_files(tmp_path / "set", {"more.zip": b"PK"})
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "set"))
    assert prepare(packed, TABLE | {"manifest.file": "qa.csv"}, "manifest").metrics["used"] == 24


def test_a_list_of_files(tmp_path: Path, prepare: Prepare) -> None:
    contents = classes_of_files()
    write_files(tmp_path, {f"texts/{name}": text for name, text in contents.items()} | {"texts/left.txt": "not listed"})
    rows = pd.DataFrame({"path": [*contents, "card/gone.txt", "card/a.pdf"]})
    rows["topic"] = rows["path"].str.partition("/")[0]
    rows.to_csv(tmp_path / "list.csv", index=False)
    write_files(tmp_path, {"texts/card/a.pdf": b"%PDF"})
    columns = COLUMNS | {"text": None, "split": None}
    changes = {"manifest.file": "list.csv", "manifest.columns": columns, "manifest.root": "texts"}
    found = prepare(tmp_path, FILES | changes, "manifest")
    assert found.metrics["used"] == 12
    assert found.aside == {
        "texts/card/gone.txt": ("missing file", ""),
        "texts/card/a.pdf": ("format not read", ".pdf; convert it to plain text in UTF-8, .txt"),
    }
    assert found.metrics["ignored"] == 1


FAULTS: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "empty", "no character"),
    "blank": (b" \r\n\t\xc2\xa0", "empty", "only white space"),
    "marked_blank": (b"\xef\xbb\xbf", "empty", "no character"),
    "latin": (b"caf\xe9 au lait", "not UTF-8", "byte 0xe9 at 3: invalid continuation byte; save it as UTF-8"),
    "marked_latin": (b"\xef\xbb\xbfcaf\xe9", "not UTF-8", "byte 0xe9 at 6: unexpected end of data; save it as UTF-8"),
    "surrogate": (b"a\xed\xa0\x80b", "not UTF-8", "byte 0xed at 1: invalid continuation byte; save it as UTF-8"),
    "utf_16": (
        "\ufeffwide".encode("utf-16-le"),
        "not UTF-8",
        "byte 0xff at 0: invalid start byte; it begins like UTF-16; save it as UTF-8",
    ),
    "bell": ("é rings \a and \x9f".encode(), "control characters", "U+0007 at character 9, 2 in all"),
    "nul": (b"one\0two", "control characters", "U+0000 at character 4"),
    "deleted": (b"a\x7f", "control characters", "U+007F at character 2"),
    "long": ("é".encode() * 301, "too long", "301 characters, more than data.max_characters 300"),
    "huge": (b"a" * 1300, "too long", "1300 bytes, more than data.max_characters 300 can have"),
}


def test_every_fault_of_a_file(tmp_path: Path, prepare: Prepare) -> None:
    write_files(tmp_path, classes_of_files() | {f"card/{name}.txt": fault[0] for name, fault in FAULTS.items()})
    good: dict[str, bytes | str] = {"lines": "a\r\nb\tc\n", "at_limit": "é" * 300, "emoji": "👍🏽 fine", "short": "x"}
    write_files(tmp_path, {f"loan/{name}.txt": text for name, text in good.items()})
    write_files(tmp_path, {"loan/marked.txt": b"\xef\xbb\xbfthis one says what it is"})
    found = prepare(tmp_path, FILES | {"max_characters": 300})
    assert found.aside == {f"card/{name}.txt": (reason, detail) for name, (_, reason, detail) in FAULTS.items()}
    assert found.metrics["quarantined_for"] == {
        "control characters": 3, "empty": 3, "not UTF-8": 4, "too long": 2
    }  # fmt: skip
    assert found.metrics["found"] == 12 + len(FAULTS) + len(good) + 1
    assert found.metrics["used"] == 12 + len(good) + 1
    assert found.metrics["used_although"] == {"byte order mark": 1}
    rows = found.catalogue.set_index("path")
    assert rows.loc["loan/marked.txt", ["bytes", "characters", "words"]].tolist() == ["27", "24", "6"]
    assert rows.loc["card/huge.txt", ["bytes", "characters", "sha256"]].tolist() == ["1300", "0", ""]


def test_every_fault_of_a_pair(tmp_path: Path, prepare: Prepare) -> None:
    pairs = [
        ("fine words", "and fine ones"), ("", "alone"), ("alone too", "  "), ("N\0UL", "x"), ("bell", "rings \a"),
        ("x" * 41, "short"), ("half", "\ud800"), (None, None), ("other words", "are fine as well"),
    ]  # fmt: skip
    entries = [{"question": a, "answer": b, "topic": ("card", "loan")[i % 2]} for i, (a, b) in enumerate(pairs)]
    entries.append({"question": "more", "answer": "of this", "topic": "loan"})
    (tmp_path / "qa.jsonl").write_text("\n".join(map(json.dumps, entries)))
    columns = COLUMNS | {"second": "answer", "split": None}
    changes = {"manifest.file": "qa.jsonl", "manifest.columns": columns, "max_characters": 40}
    found = prepare(tmp_path, FILES | changes, "manifest")
    assert {int(path[-10:-4]): why for path, why in found.aside.items()} == {
        1: ("empty", "first text: no character"),
        2: ("empty", "second text: no character"),
        3: ("control characters", "U+0000 in one of the two texts"),
        4: ("control characters", "second text: U+0007 at character 7"),
        5: ("too long", "first text: 41 characters, more than data.max_characters 40"),
        6: ("not UTF-8", "byte 0xed at 5: invalid continuation byte; save it as UTF-8"),
        7: ("empty", "first text: no character"),
    }
    assert found.metrics["used"] == 3


def test_a_long_cell_is_one_text_set_aside_and_not_the_table(tmp_path: Path, prepare: Prepare) -> None:
    frame = rows_of()
    frame.loc[3, "question"] = "word " * 40_000
    write_table(frame, tmp_path / "qa.csv")
    found = prepare(tmp_path, TABLE | {"manifest.file": "qa.csv"}, "manifest")
    assert [why for why, _ in found.aside.values()] == ["too long"]
    assert found.metrics["used"] == len(frame) - 1


def test_values_of_a_parquet_that_are_no_strings(tmp_path: Path, prepare: Prepare) -> None:
    columns: dict[str, Any] = {
        "question": pa.array([b"caf\xe9", "naïve".encode(), None, b" of bytes "], pa.binary()),
        "number": pa.array([1, 2, None, 4]),
        "category": pa.array(["one", "two", None, "four"]).dictionary_encode(),
        "many": pa.array([["a"], ["b"], [], ["c"]]),
    }
    pq.write_table(pa.table(columns | {"topic": ["card", "loan", "card", "card"]}), tmp_path / "qa.parquet")
    reader = SOURCES["manifest"].open(tmp_path)

    def read(column: str) -> list[bytes]:
        return [reader.read(f"qa.parquet/{column}/row-{row:06d}.txt") for row in range(4)]

    assert read("question") == [b"caf\xe9", "naïve".encode(), b"", b"of bytes"]
    assert read("number") == [b"1", b"2", b"", b"4"]
    assert read("category") == [b"one", b"two", b"", b"four"]
    assert read("many") == [b"", b"", b"", b""]
    changes = {"manifest.file": "qa.parquet", "manifest.columns": COLUMNS | {"text": "category", "split": None}}
    found = prepare(tmp_path, FILES | changes, "manifest")
    assert {path: why for path, (why, _) in found.aside.items()} == {"qa.parquet/category/row-000002.txt": "empty"}


def worn(text: str, seed: int, changes: int) -> str:
    """The text with so many of its letters replaced."""
    rng, letters = np.random.default_rng(seed), list(text)
    for place in rng.choice(len(text), changes, replace=False):
        letters[place] = "xqzj"[rng.integers(4)]
    return "".join(letters)


def runs(text: str) -> set[str]:
    """As `examine.shingles`, written anew."""
    flat = re.sub(r"\s+", " ", text.strip()).casefold()
    return {"".join(run) for run in zip(*(flat[k:] for k in range(5)), strict=False)} or {flat}


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_near_texts_are_those_that_brute_force_finds(similarity: float) -> None:
    contents = [worn(sentence(i, 6 + 5 * (i % 9)), 9 * i + k, k) for i in range(60) for k in (0, 0, 1, 2, 4, 8)]
    contents += [text.upper().replace(" ", "\n ") for text in contents[:30]] + ["ok", "OK", "no", "k", "okay"]
    data = [text.encode() for text in contents]
    looks = Looks.of(map(near_texts.look, examine.examine(data, False, 10**6)))
    sha256s = [hashlib.sha256(one).hexdigest() for one in data]
    found = near_texts.groups(sha256s, looks, similarity, lambda i: data[i])
    of = [runs(text) for text in contents]
    group = list(range(len(contents)))
    for i, j in itertools.combinations(range(len(contents)), 2):
        if group[i] != group[j] and len(of[i] & of[j]) / len(of[i] | of[j]) >= similarity:
            group = [group[i] if one == group[j] else one for one in group]
    assert pd.factorize(found)[0].tolist() == pd.factorize(np.array(group))[0].tolist()
    assert len(set(group)) < len(contents) - 60


@pytest.mark.parametrize(("similarity", "rows"), [(1.0, 128), (0.8, 5), (0.5, 2), (0.1, 1)])
def test_bands_miss_few(similarity: float, rows: int) -> None:
    assert near_texts.rows_of(similarity) == rows


def test_a_signature_says_what_share_two_texts_have_in_common() -> None:
    first, second = sentence(1, 300), sentence(1, 300)[:1100] + sentence(2, 100)
    a, b = (
        np.frombuffer(one.signature, np.uint32)
        for one in examine.examine([first.encode(), second.encode()], False, 10**6)
    )
    exact = near_texts.jaccard(runs(first), runs(second))
    assert 0.4 < exact < 0.9
    assert abs((a == b).mean() - exact) < 4 * (exact * (1 - exact) / 128) ** 0.5
    assert examine.shingles(first.encode()) == [runs(first)]


def test_pairs_are_copies_where_each_of_their_texts_is_one() -> None:
    """Not the other way round, nor where one long text stands beside many short ones."""
    long, short = sentence(1, 100), sentence(2, 5)
    pairs = [(long, short), (short, long), (f"{long} ok".upper(), short), (long, sentence(3, 5)), (long, f" {short}?")]
    data = [parts.joined(texts) for texts in pairs]
    looks = Looks.of(map(near_texts.look, examine.examine(data, True, 1000)))
    assert near_texts.groups(list("abcde"), looks, 0.8, lambda i: data[i]).tolist() == [0, 1, 0, 2, 0]


def test_many_that_are_all_alike_take_little_time() -> None:
    """3,000 orders that differ in their numbers: 4 million pairs, few of which may be looked at."""
    data = [f"{sentence(1, 40)} {sentence(2, 40)} order number {i}".encode() for i in range(3000)]
    looks = Looks.of(map(near_texts.look, examine.examine(data, False, 10**6)))
    looked: list[int] = []
    found = near_texts.groups([str(i) for i in range(3000)], looks, 0.8, lambda i: looked.append(i) or data[i])
    assert set(found) == {0}
    assert len(looked) < 20_000


def copied(root: Path) -> None:
    """Two classes in two parts, with a copy in the other part, a near one, and one of another class."""
    write_files(root, {f"train/{name}": text for name, text in classes_of_files(8).items()})
    write_files(
        root, {f"test/{k}/{i}.txt": sentence(500 + 50 * (k == "loan") + i) for k in ("card", "loan") for i in range(3)}
    )
    write_files(
        root,
        {
            "test/card/same.txt": sentence(1),
            "test/loan/near.txt": sentence(101, 12).upper() + "!",
            "train/loan/wrong.txt": sentence(3),
            "train/loan/like.txt": sentence(5) + " ?",
            "train/card/again.txt": sentence(6),
        },
    )


def test_copies_within_and_across_parts_and_of_other_classes(tmp_path: Path, prepare: Prepare) -> None:
    copied(tmp_path)
    found = prepare(tmp_path, FILES)
    assert found.metrics["duplicates"] == {
        "identical": 6, "near": 4, "within_a_split": 2, "across_splits": 4, "conflicting_labels": 4
    }  # fmt: skip
    groups = {
        (rows["kind"].iloc[0], rows["finding"].iloc[0], *rows["path"]) for _, rows in found.duplicates.groupby("group")
    }
    assert groups == {
        ("identical", "across splits", "test/card/same.txt", "train/card/1.txt"),
        ("near", "across splits", "test/loan/near.txt", "train/loan/1.txt"),
        ("identical", "conflicting labels", "train/card/3.txt", "train/loan/wrong.txt"),
        ("near", "conflicting labels", "train/card/5.txt", "train/loan/like.txt"),
        ("identical", "within a split", "train/card/6.txt", "train/card/again.txt"),
    }
    assert "4 texts set aside: conflicting labels (4)" in found.said
    assert set(found.aside) == {
        "train/card/3.txt", "train/loan/wrong.txt", "train/card/5.txt", "train/loan/like.txt"
    }  # fmt: skip
    assert found.aside["train/card/5.txt"][1] == "card, but nearly identical to train/loan/like.txt of loan"
    assert found.sides["train/card/1.txt"] == found.sides["train/loan/1.txt"] == "unused"
    assert "10 texts are copies of 5: 4 across splits, 4 conflicting labels, 2 within a split" in found.said
    assert "image" not in found.said


def test_what_copies_may_do(tmp_path: Path, prepare: Prepare) -> None:
    copied(tmp_path)
    kept = prepare(
        tmp_path, FILES | {"duplicates.near_similarity": 1, "duplicates.conflicting_labels.identical": "keep"}
    )
    assert (kept.metrics["duplicates"]["near"], kept.metrics["quarantined"]) == (0, 0)
    with pytest.raises(
        DataError, match=r"across_splits: fail, and 4 texts have copies on another side of the official"
    ):
        prepare(tmp_path, FILES | {"duplicates.across_splits": "fail"})
    with pytest.raises(DataError, match=r"conflicting_labels\.near: fail, and 2 texts have such a copy with another"):
        prepare(tmp_path, FILES | {"duplicates.conflicting_labels.near": "fail"})
    with pytest.raises(DataError, match=r"data\.max_bad_fraction: at most 0\.01 of the texts may be set aside"):
        prepare(tmp_path, FILES | {"max_bad_fraction": 0.01})


def test_splits_labels_and_few_shot_as_for_images(tmp_path: Path, prepare: Prepare) -> None:
    write_files(tmp_path, classes_of_files(20) | {f"news/{i}.txt": sentence(700 + i) for i in range(20)})
    changes = {"split.few_shot": 3, "max_images_per_class": 15, "classes": {"money": ["card", "loan"], "news": "news"}}
    found = prepare(tmp_path, FILES | changes)
    assert found.metrics["classes"] == 2
    assert found.metrics["left_out"] == 30
    assert found.metrics["split"]["train"] == 6
    single = {"a/1.txt": "one text here", "b/1.txt": "another one there"}
    write_files(tmp_path / "single", single)
    assert (
        "one text only, which trains and is never tested: a, b. Add texts" in prepare(tmp_path / "single", FILES).said
    )


def test_processes_say_the_same(tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(rows_of(80), tmp_path / "qa.csv")
    one = prepare(tmp_path, TABLE | {"manifest.file": "qa.csv"}, "manifest")
    monkeypatch.setattr(checked, "PROCESSES_FROM", 1)
    monkeypatch.setattr(checked, "CHUNK", 8)
    monkeypatch.setattr(checked, "available", lambda: 2)
    several = prepare(tmp_path, TABLE | {"manifest.file": "qa.csv"}, "manifest")
    for name in ("catalogue.csv", "split.csv", "duplicates.csv", "counts.json"):
        assert (one.folder / name).read_bytes() == (several.folder / name).read_bytes()


def test_a_table_that_has_changed_is_stale(tmp_path: Path, prepare: Prepare) -> None:
    write_table(rows_of(), tmp_path / "qa.csv")
    found = prepare(tmp_path, TABLE | {"manifest.file": "qa.csv"}, "manifest")
    frame = rows_of()
    frame.loc[4, "question"] = "something else"
    write_table(frame, tmp_path / "qa.csv")
    read = catalogue.reader(SOURCES["manifest"], tmp_path)
    row = found.catalogue.iloc[5]
    assert read(row["path"], row["sha256"]).decode() == frame["question"][5].strip()
    row = found.catalogue.iloc[4]
    with pytest.raises(StaleError, match="changed since `prepare` catalogued it"):
        read(row["path"], row["sha256"])


def test_without_the_library(tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, classes_of_files())
    monkeypatch.setattr(checked, "NEEDS", ("no_such_library",))
    with pytest.raises(
        SurroundingsError, match=r"data\.kind: text needs no_such_library.*Run `pip install 'graft-transfer\[text\]'`\."
    ):
        prepare(tmp_path, FILES)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (
            {"a.png": "x", "b/c.pdf": "x"},
            r"must hold directories of txt texts, one per class\. Found none in .*format not",
        ),
        (
            {"a.txt": "x", "b.txt": "y"},
            r"must hold a directory for each class\. Got 2 texts in .* itself, such as a\.txt",
        ),
        (
            {"a/1.txt": "one", "a/2.txt": "two"},
            r"must hold readable texts of at least two classes\. Got 2 texts of \['a'\]",
        ),
    ],
)
def test_folders_that_are_refused(
    contents: dict[str, bytes | str], message: str, tmp_path: Path, prepare: Prepare
) -> None:
    write_files(tmp_path, contents)
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, FILES)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"data.kind": "text"},
            "data.source: must be folder or manifest for data.kind: text; digits has images. Got 'digits'.",
        ),
        (
            {"data.manifest.columns.text": "question"},
            "data.manifest.columns.text: must be empty for data.kind: image, whose files data.manifest.columns.path "
            "names. Got 'question'; or set data.kind: text.",
        ),
        (
            {"data.kind": "text", "data.source": "manifest", "data.manifest.columns.second": "answer"},
            "data.manifest.columns.text: must name a column where data.manifest.columns.second does: a second text "
            "stands beside a first. Got null, and 'answer' for second.",
        ),
    ],
)
def test_params_that_are_refused(changes: dict[str, Any], fault: str, params_with: Callable[..., Path]) -> None:
    with pytest.raises(ParamsError) as caught:
        load(params_with(changes))
    assert fault in caught.value.faults


def test_the_page_shows_texts_as_text(tmp_path: Path, prepare: Prepare) -> None:
    frame = rows_of()
    hostile = "<script>alert('x')</script> & more"
    frame.loc[0, ["question", "answer"]] = (hostile, "an answer\0 with a NUL")
    frame.loc[1, "question"] = hostile
    frame.loc[[2, 4], ["question", "answer"]] = ("the very same question", "the very same answer")
    frame["question"] = frame["question"].astype(object)
    frame.loc[5, "question"] = "long " * 500
    (tmp_path / "qa.json").write_text(frame.to_json(orient="records"))
    changes = {"manifest.file": "qa.json", "manifest.columns": COLUMNS | {"second": "answer"}}
    prepared = prepare(tmp_path, FILES | changes, "manifest")
    page = report.page("manifest", tmp_path, paths_in(prepared.folder))
    assert "<script" not in page
    shown = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
    for words in (
        "24 texts and other files found", "23 texts used", "Lengths of the texts used", "characters (median",
        "words (median", hostile, "U+0000 in one of the two texts", "across splits (identical)",
        "the very same question the very same answer", "long long …",
    ):  # fmt: skip
        assert words in shown, words
    assert "image" not in shown
    (tmp_path / "qa.json").unlink()
    assert report.page("manifest", tmp_path, paths_in(prepared.folder)).count("not here") >= 20


@pytest.mark.real
def test_banking77(real_data: Path, prepare: Prepare) -> None:
    """Official parts; 262 pairs of texts have 0.8 of their runs in common, by scipy's product of all with all."""
    columns = COLUMNS | {"text": "text", "label": "category", "split": None}
    changes = {"manifest.file": "*.csv", "manifest.columns": columns}
    found = prepare(real_data / "datasets" / "banking77", FILES | changes, "manifest")
    in_tables = found.catalogue["path"].map(text_paths.is_one)
    assert found.catalogue["path"][in_tables].str.partition("/")[0].value_counts().to_dict() == {
        "train.csv": 10_003, "test.csv": 3_080
    }  # fmt: skip
    assert found.metrics["quarantined_for"] == {"conflicting labels": 23}
    assert found.metrics["duplicates"] == {
        "identical": 22, "near": 448, "within_a_split": 238, "across_splits": 209, "conflicting_labels": 23
    }  # fmt: skip
    assert found.duplicates["group"].nunique() == 218
    assert (found.metrics["used"], found.metrics["classes"]) == (13_060, 77)
