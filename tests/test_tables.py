"""Tables of labels as people publish them, read as they mean them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import CLASSES, PreparedData, data_params, drawing, encoded
from graft.errors import DataError
from graft.examples.sources import SOURCES
from graft.examples.sources.base import Item
from graft.examples.sources.tables import class_names, embedded, read
from graft.examples.sources.tables.embedded import TablesReader
from graft.examples.sources.tree import open_tree

NUMBERS = {"manifest.columns.path": 0, "manifest.columns.label": 1}
CATS = [("a.png", "cat"), ("b.png", "dog"), ("c.png", "cat")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """a.png to d.png, and the same four in each of one/ and two/."""
    for folder in (tmp_path, tmp_path / "one", tmp_path / "two"):
        folder.mkdir(exist_ok=True)
        for k, name in enumerate("abcd"):
            (folder / f"{name}.png").write_bytes(encoded(drawing("circle", k)))
    return tmp_path


def scan(root: Path, changes: dict[str, Any]) -> list[Item]:
    return list(SOURCES["manifest"].scan(data_params({"source": "manifest", "path": str(root), **changes})))


def labelled(root: Path, changes: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item.path, item.label) for item in scan(root, changes) if item.problem is None]


def test_delimiters_are_found(root: Path) -> None:
    """Commas, semicolons with decimal commas, tabs; quoted or not; marks, line ends and empty lines of any editor."""
    for name, content in {
        "commas.csv": b'path,label\na.png,cat\n"b.png",dog\nc.png, "cat"\n',
        "semicolons.csv": b"path;label;area\na.png;cat;1,5\nb.png;dog;2,5\nc.png;cat;10,0\n",
        "tabs.csv": b"path\tlabel\na.png\tcat\nb.png\tdog\nc.png\tcat\n",
        "tabs.tsv": b'path\tlabel\tnote\na.png\tcat\tx, y\nb.png\tdog\t"tab\there, too"\nc.png\tcat\t\n',
        "commas.tsv": b"path,label\na.png,cat\nb.png,dog\nc.png,cat",
        "excel.csv": b"\xef\xbb\xbfpath;label\r\na.png;cat\r\nb.png;dog\r\nc.png;cat\r\n;\r\n\r\n",
        "inside.csv": b'path,label,note\na.png,cat,"one, two; three"\nb.png,dog,"a\nline"\nc.png,cat,"a ""word"""\n',
        "blanks.txt": b"# of a list\npath  label\n\na.png cat \n b.png   dog\nc.png cat\n",
    }.items():
        (root / name).write_bytes(content)
        assert labelled(root, {"manifest.file": name}) == CATS, name
    table = read(io.BytesIO((root / "inside.csv").read_bytes()), "inside.csv", True)
    assert [row[2] for row in table.rows] == ["one, two; three", "a\nline", 'a "word"']
    assert table.numbers == [2, 4, 5]


def test_columns_by_number(root: Path) -> None:
    """Without a header, the first line is an image; beside a name, a number counts the header's columns."""
    for name, content in {
        "pets.txt": b"#Image CLASS-ID SPECIES\na.png cat 1\nb.png dog 2\nc.png cat 1\n",
        "list.csv": b"a.png;cat;1,5\nb.png;dog;0,5\nc.png;cat;2,5\n",
        "own blanks.txt": b"a.png cat\nb.png dog\nc.png cat\nmy own photo.png cat\n",
    }.items():
        (root / name).write_bytes(content)
        assert labelled(root, NUMBERS | {"manifest.file": name}) == CATS, name
    assert "my own photo.png" in {item.path for item in scan(root, NUMBERS | {"manifest.file": "own blanks.txt"})}
    (root / "named.csv").write_text("id,path,what\n1,a.png,cat\n2,b.png,dog\n3,c.png,cat\n")
    columns = {"manifest.columns.path": 1, "manifest.columns.label": "what"}
    assert labelled(root, {"manifest.file": "named.csv", **columns}) == CATS
    with pytest.raises(DataError, match=r"columns\.label: must be below 3, the number of columns of named\.csv.*Got 7"):
        scan(root, {"manifest.file": "named.csv", "manifest.columns.path": 1, "manifest.columns.label": 7})


def test_a_path_of_several_columns(root: Path) -> None:
    """A directory for each class, whose name is the label too."""
    (root / "images.csv").write_text("class,file\none,a.png\ntwo,a.png\ntwo,b.png\n")
    columns = {"manifest.columns.path": ["class", "file"], "manifest.columns.label": "class"}
    assert labelled(root, columns) == [("one/a.png", "one"), ("two/a.png", "two"), ("two/b.png", "two")]


def test_a_column_for_each_class(root: Path) -> None:
    table = "path,cat,dog,other\na.png,1.0,0.0,x\nb.png,0,1,\nc.png,true,False,\nd.png,0,,\n"
    (root / "images.csv").write_text(table)
    columns = {"manifest.columns.label": ["cat", "dog"]}
    assert labelled(root, columns) == CATS
    unset = next(item for item in scan(root, columns) if item.path == "d.png")
    assert unset.problem is not None
    assert unset.problem.reason == "no label"
    (root / "images.csv").write_text(table.replace("b.png,0,1", "b.png,1,1").replace("d.png,0,", "d.png,1,1"))
    with pytest.raises(DataError, match=r"images\.csv, line 3: must have one label.*Got cat, dog; 2 of 4.*multi-label"):
        scan(root, columns)
    (root / "images.csv").write_text(table.replace("1.0", "0.7"))
    with pytest.raises(DataError, match=r"images\.csv, line 2: cat must be 0 or 1, .*Got '0\.7'"):
        scan(root, columns)
    (root / "images.csv").write_text("a.png,1,0\nb.png,0,1\nc.png,1,0\n")
    columns = {"manifest.columns.path": 0, "manifest.columns.label": [1, 2]}
    assert labelled(root, columns) == [("a.png", "0"), ("b.png", "1"), ("c.png", "0")]
    (root / "names.txt").write_text("cat\ndog\n")
    assert labelled(root, columns | {"manifest.classes": "names.txt"}) == CATS


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("names.txt", "red fox\nclass 2\n\n", {"0": "red fox", "1": "class 2"}),
        ("names.txt", "01 red fox\n2 wolf, grey\n", {"1": "red fox", "2": "wolf, grey"}),
        ("names.txt", "7: red fox\n2: wolf\n", {"7": "red fox", "2": "wolf"}),
        ("names.csv", 'ClassId,SignName\r\n0,stop\r\n1,"turn, left"\r\n', {"0": "stop", "1": "turn, left"}),
        ("names.csv", "class,number\nstop,1\nturn,0\n", {"1": "stop", "0": "turn"}),
        ("names.json", '["stop", "turn"]', {"0": "stop", "1": "turn"}),
        ("names.json", '{"0": "stop", "11": "turn"}', {"0": "stop", "11": "turn"}),
        ("names.json", '{"stop": 1, "turn": 0}', {"1": "stop", "0": "turn"}),
    ],
)
def test_names_of_classes(name: str, content: str, names: dict[str, str]) -> None:
    assert class_names.read(content.encode(), name) == names


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.txt", "1 fox\n1 wolf\n", r"names\.txt must name each class once\. Got 'fox' and 'wolf' for 1"),
        ("names.txt", "\n", r"names\.txt must name the classes\. Got nothing"),
        ("names.json", '{"a": "b"}', r"names\.json must be a list of names, or an object of names and numbers"),
        ("names.json", "{", r"names\.json must be JSON\. Got: Expecting property name"),
    ],
)
def test_names_that_are_refused(name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        class_names.read(content.encode(), name)


def test_numbers_become_names(root: Path) -> None:
    (root / "images.csv").write_text("path,label\na.png,0\nb.png,01\nc.png,0\n")
    (root / "names.json").write_text(json.dumps(["cat", "dog"]))
    assert labelled(root, {"manifest.classes": "names.json"}) == CATS
    assert "names.json" not in {item.path for item in scan(root, {"manifest.classes": "names.json"})}
    (root / "images.csv").write_text("path,label\na.png,1\nb.png,2\nc.png,1\n")
    with pytest.raises(
        DataError, match=r"images\.csv, line 3: the label must be a number of names\.json, which has 2 "
    ):
        scan(root, {"manifest.classes": "names.json"})


def test_the_line_that_is_wrong_is_named(root: Path) -> None:
    for name, content, message in (
        ("a.csv", "path;label\na.png;cat\nb.png;dog;x\n", r"a\.csv, line 3: must have 2 fields, .*Got 3: b\.png, dog"),
        ("b.txt", "# list\npath label\n\na.png\n", r"b\.txt, line 4: must have 2 fields, .*Got 1: a\.png"),
        ("c.csv", 'path,label\n"a.png"x,cat\n', r"c\.csv, line 2: must be a table\. Got: ',' expected after"),
    ):
        (root / name).write_text(content)
        with pytest.raises(DataError, match=message):
            scan(root, {"manifest.file": name})


# JSON


def coco(*annotations: tuple[int, int]) -> dict[str, Any]:
    """annotations: (image, category)."""
    return {
        "info": {},
        "images": [{"id": k, "file_name": f"{name}.png"} for k, name in enumerate("abcd")],
        "annotations": [{"image_id": image, "category_id": one, "bbox": [0, 0, 1, 1]} for image, one in annotations],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
    }


@pytest.mark.parametrize(
    ("content", "changes"),
    [
        ([{"path": path, "label": label, "box": [1, 2]} for path, label in CATS], {}),
        ([{"file": path, "of": label} for path, label in CATS],
         {"manifest.columns.path": "file", "manifest.columns.label": "of"}),
        ([{"path": path, label: True} for path, label in CATS], {"manifest.columns.label": ["cat", "dog"]}),
        ([list(pair) for pair in CATS], NUMBERS),
        (dict(CATS), {}),
        ({path: {"label": label} for path, label in CATS}, {}),
        (coco((0, 7), (1, 9), (2, 7), (2, 7)), {}),
    ],
    ids=["objects", "other keys", "one-hot", "lists", "path: label", "path: object", "COCO"],
)  # fmt: skip
def test_json(root: Path, content: Any, changes: dict[str, Any]) -> None:
    (root / "images.json").write_text(json.dumps(content))
    assert labelled(root, {"manifest.file": "images.json", **changes}) == CATS


def test_paths_under_their_label_and_json_lines(root: Path) -> None:
    (root / "images.json").write_text(json.dumps({"cat": ["a", "c"], "dog": ["b"]}))
    changes = {"manifest.file": "images.json", "manifest.suffix": ".png"}
    assert labelled(root, changes) == [("a.png", "cat"), ("c.png", "cat"), ("b.png", "dog")]
    lines = [json.dumps({"path": path, "label": label}) for path, label in CATS]
    (root / "images.jsonl").write_text("\ufeff" + "\r\n".join([*lines, "", ""]), encoding="utf-8")
    assert labelled(root, {"manifest.file": "images.jsonl"}) == CATS
    numbers = [{"path": path, "label": len(label) % 2} for path, label in (*CATS[:2], ("d.png", "four"))]
    (root / "images.jsonl").write_text("\n".join(json.dumps(one) for one in [*numbers, {"path": "c.png"}]))
    items = {item.path: item for item in scan(root, {"manifest.file": "images.jsonl"})}
    assert {path: items[path].label for path in ("a.png", "b.png", "d.png")} == {
        "a.png": "1",
        "b.png": "1",
        "d.png": "0",
    }
    assert items["c.png"].problem is not None
    assert items["c.png"].problem.reason == "no label"


def test_images_of_several_categories_are_multi_label(root: Path) -> None:
    (root / "images.json").write_text(json.dumps(coco((0, 7), (1, 9), (1, 7), (2, 7))))
    message = r"images\.json, b\.png: must have one label.*Got dog, cat; 1 of 4 images.*multi-label data set"
    with pytest.raises(DataError, match=message):
        scan(root, {"manifest.file": "images.json"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"a.png": "cat",\n"b.png" "dog"}', r"a\.json: must be JSON\. Got: Expecting ':' delimiter: line 2"),
        ("a.json", '{"a.png": "cat", "a.png": "dog"}', r"a\.json: must be JSON\. Got: 'a\.png' twice in one object"),
        ("a.json", '"cat"', r'a\.json: must be a list of objects, an object of paths.*COCO.*Got "cat"'),
        ("a.json", '{"labels": [["a.png", 1]], "n": 3}', r"a\.json: must be a list of objects"),
        ("a.json", '[{"path": "a.png"}, 3]', r"a\.json, entry 2: must be an object, as the first is\. Got 3"),
        ("a.json", '[["a.png", 1], ["b.png"]]', r"a\.json, entry 2: must be a list of 2, as the first is"),
        ("a.json", '[["a.png", 1]]', r"columns\.path: must be a number from 0, since a\.json has no header"),
        ("a.json", '[{"path": "a.png", "label": ["cat"]}]', r"label.*'label' of a\.json has lists: .* multi-label"),
        ("a.json", json.dumps(coco((0, 8))), r"a\.json, annotation 1: must be of category ids that .* Got 8"),
        ("a.json", json.dumps(coco((9, 7))), r"a\.json, annotation 1: must be of image ids that .* Got 9"),
        ("a.json", '{"images": [{"id": 1}], "annotations": []}', r"a file_name for each image.* Got KeyError"),
        ("a.jsonl", '{"path": "a.png"}\n\n{"path": }', r"a\.jsonl, line 3: must be JSON\. Got: Expecting value"),
    ],
)  # fmt: skip
def test_json_that_is_refused(root: Path, name: str, content: str, message: str) -> None:
    (root / name).write_text(content)
    with pytest.raises(DataError, match=message):
        scan(root, {"manifest.file": name})


# images in a table


IMAGES = {"manifest.columns.path": "image", "manifest.file": "data/*.parquet"}


def picture(number: int) -> bytes:
    return encoded(drawing(CLASSES[number % 3], number))


def write_images(file: Path, numbers: Sequence[int], label: Callable[[int], int | None] = lambda i: i % 3) -> None:
    """As Hugging Face's datasets write them: cells of {bytes, path}, names of classes in the metadata."""
    file.parent.mkdir(exist_ok=True)
    cells = [{"bytes": picture(i), "path": f"{i}.png" if i % 2 else None} for i in numbers]
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    table = pa.table({"image": cells, "label": pa.array([label(i) for i in numbers], pa.int64())})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), file, row_group_size=4)


def test_images_in_the_tables_of_hugging_face(tmp_path: Path, prepare: Callable[..., PreparedData]) -> None:
    write_images(tmp_path / "data" / "train-00000-of-00002.parquet", range(9))
    write_images(tmp_path / "data" / "train-00001-of-00002.parquet", range(9, 18))
    write_images(tmp_path / "data" / "validation-00000-of-00001.parquet", range(20, 26))
    write_images(tmp_path / "data" / "test-00000-of-00001.parquet", range(30, 36))
    found = prepare(tmp_path, IMAGES, source="manifest")
    assert found.metrics["split"] == {"train": 18, "validation": 6, "test": 6, "unused": 0}
    assert found.metrics["found"] == 30
    assert found.aside == {}
    assert len(found.quarantine) == 0
    labels = dict(zip(found.split["path"], found.split["label"], strict=True))
    assert labels["data/train-00001-of-00002.parquet/image/row-000004.png"] == CLASSES[13 % 3]
    reader = SOURCES["manifest"].open(tmp_path)
    assert reader.read("data/train-00001-of-00002.parquet/image/row-000004.png") == picture(13)
    assert reader.read("data/test-00000-of-00001.parquet/image/row-000000") == picture(30)
    assert reader.size("data/test-00000-of-00001.parquet/image/row-000005.png") == len(picture(35))


def test_of_large_tables_some_row_groups_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MOST_BYTES", 9 * len(picture(0)))
    write_images(tmp_path / "set" / "all.parquet", range(40))
    reader = TablesReader(open_tree(tmp_path / "set"))
    for i in (39, 0, *range(40)):
        suffix = ".png" if i % 2 else ""
        assert reader.read(f"all.parquet/image/row-{i:06d}{suffix}") == picture(i)
        assert 1 <= len(reader._groups) <= 3
    with pytest.raises(OSError, match="damaged in the table: no row 40"):
        reader.read("all.parquet/image/row-000040")
    with pytest.raises(OSError, match="damaged in the table: "):
        reader.read("all.parquet/other/row-000001")
    with pytest.raises(FileNotFoundError):
        reader.read("none.parquet/image/row-000001")


def test_images_in_a_table_in_an_archive(tmp_path: Path) -> None:
    """And those of a table without metadata: bytes alone, labels as text."""
    table = pa.table({"picture": [picture(0), picture(1), None], "label": ["cat", "dog", "cat"]})
    pq.write_table(table, tmp_path / "all.parquet")
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.write(tmp_path / "all.parquet", "all.parquet")
    changes = {"manifest.columns.path": "picture", "manifest.file": "all.parquet"}
    items = scan(tmp_path / "set.zip", changes)
    assert [(item.path, item.label, item.split) for item in items] == [
        ("all.parquet/picture/row-000000", "cat", None),
        ("all.parquet/picture/row-000001", "dog", None),
        ("all.parquet/picture/row-000002", "cat", None),
    ]
    reader = SOURCES["manifest"].open(tmp_path / "set.zip")
    assert reader.read(items[1].path) == picture(1)
    with pytest.raises(OSError, match="no image in this row of the table"):
        reader.read(items[2].path)


def test_class_labels_of_hugging_face(tmp_path: Path) -> None:
    """-1 and null are no label; a number without a name is refused."""
    write_images(tmp_path / "data" / "a.parquet", range(4), lambda i: {0: -1, 1: None}.get(i, i - 2))
    items = scan(tmp_path, IMAGES)
    assert [(item.label, item.problem and item.problem.reason) for item in items] == [
        ("", "no label"), ("", "no label"), ("circle", None), ("cross", None),
    ]  # fmt: skip
    write_images(tmp_path / "data" / "a.parquet", range(4))
    write_images(tmp_path / "data" / "b.parquet", range(4), lambda i: i)
    with pytest.raises(DataError, match=r"data/b\.parquet, row 4: label must be below 3, the number of class names"):
        scan(tmp_path, IMAGES)
    with pytest.raises(DataError, match=r"file: must be a file below .* Got '\*\.csv', which none of 2 files is like"):
        scan(tmp_path, IMAGES | {"manifest.file": "*.csv"})


def test_tables_whose_names_are_parts_of_the_split(root: Path) -> None:
    (root / "train.csv").write_text("path,label\na.png,cat\nb.png,dog\n")
    (root / "test.csv").write_text("path,label\nc.png,cat\n")
    items = scan(root, {"manifest.file": "*.csv"})
    assert [(item.path, item.split) for item in items if item.label] == [
        ("c.png", "test"), ("a.png", "train"), ("b.png", "train"),
    ]  # fmt: skip
    (root / "more.csv").write_text("path,label\nd.png,dog\n")
    assert {item.split for item in scan(root, {"manifest.file": "*.csv"})} == {None}
