"""The `data` section of params.yaml: where examples come from, their classes, their split, what may be wrong."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from graft.config.section import Count, Fraction, Probability, Runner, Section
from graft.errors import without_credentials

SourceName = Literal["digits", "folder", "manifest", "mnist", "fashion_mnist", "cifar10", "cifar100"]
Kind = Literal["image", "text"]
SplitMethod = Literal["auto", "official", "fractions", "counts", "folds"]
Conflict = Literal["keep", "quarantine", "fail"]


class Fractions(Section):
    train: Annotated[float, Field(gt=0, lt=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Fraction

    @model_validator(mode="after")
    def _sum(self) -> Fractions:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise PydanticCustomError("sum", "must add up to 1. Got {total}.", {"total": f"{total:g}"})
        return self


class FolderParams(Section):
    class_depth: Count | None
    label: str | None

    @property
    def names(self) -> re.Pattern[str] | None:
        """What `label` matches whole: a group `label`, in any text but / where it has wildcards. Raises re.error."""
        if self.label is None:
            return None
        if "(?P<label>" in self.label:
            return re.compile(self.label)
        wild = {"{label}": "(?P<label>[^/]+)", "*": "[^/]*", "?": "[^/]"}
        parts = re.split(r"(\{label\}|\*|\?)", self.label)
        return re.compile("".join(wild.get(part, re.escape(part)) for part in parts), re.IGNORECASE)

    @model_validator(mode="after")
    def _label(self) -> FolderParams:
        try:
            one = self.names is None or list(self.names.groupindex) == ["label"]
            fault = "" if one else " It has no label, or other names."
        except re.error as error:
            fault = f" It is not a pattern: {error}."
        if fault:
            raise PydanticCustomError(
                "names",
                "label must have {label} once among other text, or be a regular expression with the group "
                "(?P<label>...). Got {got}.{fault}",
                {"got": repr(self.label), "fault": fault},
            )
        return self


class ListsParams(Section):
    train: str | None
    validation: str | None
    test: str | None

    @property
    def given(self) -> dict[str, str]:
        """split -> file, of those that are not null."""
        return {name: file for name, file in self.model_dump().items() if file is not None}


Column = str | int
"""A column by its name, or by its number from 0."""


class ColumnsParams(Section):
    """path: of several columns, the parts of the path. label: of several columns, one for each class.

    text, second: of texts that stand in the table itself; None where they are files at `path`, or there is but one.
    """

    path: Column | list[Column]
    text: Column | None
    second: Column | None
    label: Column | list[Column]
    split: Column | None
    group: Column | None
    weight: Column | None

    @property
    def named(self) -> bool:
        """Whether a column has a name, so that a text's first line is the header."""
        given = [self.text, self.second, self.split, self.group, self.weight]
        for several in (self.path, self.label):
            given += several if isinstance(several, list) else [several]
        return any(isinstance(column, str) for column in given)

    @field_validator("*", mode="before")
    @classmethod
    def _column(cls, value: object, info: ValidationInfo) -> object:
        several = info.field_name in ("path", "label")
        if _is_column(value) or (value is None and not several):
            return value
        if several and isinstance(value, list) and len(value) > 1 and all(map(_is_column, value)):
            return value
        other = "a list of at least two columns" if several else "null"
        raise PydanticCustomError(
            "columns",
            "must be the name of a column, its number from 0, or {other}. Got {value}.",
            {"other": other, "value": "null" if value is None else repr(value)},
        )

    @model_validator(mode="after")
    def _differ(self) -> ColumnsParams:
        """A part of a path may be the label too."""
        single = [self.text, self.second, self.split, self.group, self.weight]
        single += [self.path] if self.text is None and not isinstance(self.path, list) else []
        single += self.label if isinstance(self.label, list) else [self.label]
        names = [str(name) for name in single if name is not None]
        if len(set(names)) < len(names):
            raise PydanticCustomError(
                "columns", "must be different columns. Got {names}.", {"names": ", ".join(sorted(names))}
            )
        return self


def _is_column(value: object) -> bool:
    return isinstance(value, str) or (type(value) is int and value >= 0)


class ManifestParams(Section):
    file: str | None
    lists: ListsParams
    columns: ColumnsParams
    classes: str | None
    root: str
    suffix: str

    @model_validator(mode="after")
    def _one_kind(self) -> ManifestParams:
        if (self.file is None) == (not self.lists.given):
            got = "neither" if self.file is None else "both"
            raise PydanticCustomError(
                "files", "must have either file or lists, the other null. Got {got}.", {"got": got}
            )
        return self


class CountsParams(Section):
    train: Count
    validation: Annotated[int, Field(ge=0)]
    test: Annotated[int, Field(ge=0)]


class SplitParams(Section):
    method: SplitMethod
    fractions: Fractions
    counts: CountsParams
    fold: str
    few_shot: Count | None

    @property
    def fold_of(self) -> tuple[int, int]:
        """(fold from 1, number of folds) of 'K of N'."""
        found = re.fullmatch(r"(\d+) of (\d+)", self.fold)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @model_validator(mode="after")
    def _fold(self) -> SplitParams:
        k, n = self.fold_of
        if not (n >= 3 and 1 <= k <= n):
            raise PydanticCustomError(
                "fold",
                "fold must be 'K of N' with N at least 3 and K from 1 to N. Got {fold}.",
                {"fold": repr(self.fold)},
            )
        return self


class ConflictingLabels(Section):
    identical: Conflict
    near: Conflict


class DuplicatesParams(Section):
    near_distance: Annotated[int, Field(ge=0, le=15)]
    near_similarity: Annotated[float, Field(gt=0, le=1)]
    across_splits: Literal["keep_together", "fail"]
    conflicting_labels: ConflictingLabels


class DataParams(Section):
    kind: Kind
    source: SourceName
    path: Annotated[str, Field(min_length=1)]
    folder: FolderParams
    manifest: ManifestParams
    classes: dict[str, str | list[str]] | None
    relabel: str | None
    min_images_per_class: Count
    max_images_per_class: Count | None
    split: SplitParams
    on_bad: Literal["quarantine", "fail"]
    max_bad_fraction: Probability
    max_missing_fraction: Probability
    min_side: Count
    max_pixels: Count
    max_characters: Count
    duplicates: DuplicatesParams
    runner: Runner

    @field_validator("path")
    @classmethod
    def _path(cls, path: str) -> str:
        """DVC could not hash what lies at an address."""
        if "://" in path:
            address = without_credentials(path).rstrip("/")
            name = re.sub(r"[^\w-]+", "-", address.rpartition("/")[2].partition(".")[0]).strip("-") or "images"
            listing = f"data/{name}.listing"
            raise PydanticCustomError(
                "address",
                "must be a directory, an archive, or a listing of what lies at an address. Got {address}. Run "
                "`graft data list {address} --to {listing}`, and set data.path: {listing}.",
                {"address": address, "listing": listing},
            )
        return path

    @field_validator("relabel")
    @classmethod
    def _relabel(cls, name: str | None) -> str | None:
        """Only what lies in the folder is seen by DVC."""
        if name is not None and (not name or name.startswith(("/", "~")) or {"..", "."} & set(name.split("/"))):
            raise PydanticCustomError(
                "names", "must be the name of a table in data/relabel, or null. Got {name}.", {"name": repr(name)}
            )
        return name

    @model_validator(mode="after")
    def _classes(self) -> DataParams:
        seen: dict[str, str] = {}
        for name, labels in (self.classes or {}).items():
            if not name.strip() or not name.isprintable() or not labels:
                raise PydanticCustomError(
                    "classes",
                    "classes must have printable names and at least one label each. Got {name}: {labels}.",
                    {"name": repr(name), "labels": repr(labels)},
                )
            for label in [labels] if isinstance(labels, str) else labels:
                if label in seen:
                    raise PydanticCustomError(
                        "classes",
                        "classes must name each label once. Got {label} for {first} and for {second}.",
                        {"label": repr(label), "first": repr(seen[label]), "second": repr(name)},
                    )
                seen[label] = name
        return self
