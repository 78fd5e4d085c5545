"""`make pairs`: two questions of bank customers, `same` or `different` in what they want, out of data/banking77.

Writes data/pairs/train.csv, validation.csv and test.csv with the columns first, second, label, split. A question is in
one pair at most, so that no question is in two parts, and pairs are as independent as the intervals of their accuracy
take them to be. Train and validation are of Banking77's training questions, test is of its test questions. Half of the
pairs are of one intent. Of the others, every second one is of two intents that have a word in common in their names
(`pending_transfer`, `failed_transfer`), which is harder than two at random.

Everything is drawn by the sha256 of a seed and the question, so that the same tables come out everywhere.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections import defaultdict
from pathlib import Path

import banking77
import pinned

TARGET = Path("data/pairs")
PINS = {
    "train.csv": "5e0955362b35c6f8ac8efbfb109226853ec45a59ad6b7c6fd089f0b01ded72ea",
    "validation.csv": "3bf190e6b65a8469f447666e2a8f1c75844183b038043bf76259d2d3a5d4882d",
    "test.csv": "6bce94f49b6194b9fea00d8ffd5d4710d10e4d33e5ebdfa208cb3a58a674faac",
}
"""What comes out of Banking77 with SEED: one who changes how pairs are drawn changes these too."""

COLUMNS = ("first", "second", "label", "split")
SEED = 0
VALIDATION = 0.2
"""Share of each intent's training questions."""

Question = tuple[str, str]
"""Text and intent."""


def read(file: Path) -> list[Question]:
    """The questions of a table, each once, whatever its spaces and capitals are."""
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    return list({_key(row["text"]): (" ".join(row["text"].split()), row["category"]) for row in rows}.values())


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def _place(question: Question, purpose: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {purpose} {_key(question[0])}".encode()).hexdigest()


def parts(train: list[Question], test: list[Question], seed: int = SEED) -> dict[str, list[Question]]:
    """part -> its questions. What stands in both tables is in test alone."""
    asked = {_key(text) for text, _ in test}
    of_intent = defaultdict(list)
    for question in train:
        if _key(question[0]) not in asked:
            of_intent[question[1]].append(question)
    found: dict[str, list[Question]] = {"train": [], "validation": [], "test": test}
    for intent in sorted(of_intent):
        drawn = sorted(of_intent[intent], key=lambda question: _place(question, "part", seed))
        held_out = round(len(drawn) * VALIDATION)
        found["validation"] += drawn[:held_out]
        found["train"] += drawn[held_out:]
    return found


def pairs(questions: list[Question], seed: int = SEED) -> list[tuple[str, str, str]]:
    """(first, second, same or different), as many of each, in an order that says nothing."""
    of_intent = defaultdict(list)
    for question in sorted(questions, key=lambda question: _place(question, "pair", seed)):
        of_intent[question[1]].append(question)
    same: list[tuple[str, str, str]] = []
    left: list[Question] = []
    for intent in sorted(of_intent):
        drawn = of_intent[intent]
        middle = len(drawn) // 4 * 2
        same += [(drawn[i][0], drawn[i + 1][0], "same") for i in range(0, middle, 2)]
        left += drawn[middle:]
    left.sort(key=lambda question: _place(question, "different", seed))
    different: list[tuple[str, str, str]] = []
    while left and len(different) < len(same):
        first = left.pop(0)
        others = [i for i, other in enumerate(left) if other[1] != first[1]]
        if not others:
            break
        alike = [i for i in others if _words(left[i][1]) & _words(first[1])] if len(different) % 2 else []
        different.append((first[0], left.pop((alike or others)[0])[0], "different"))
    made = same[: len(different)] + different
    return sorted(made, key=lambda pair: hashlib.sha256(f"{seed} order {pair[0]} {pair[1]}".encode()).hexdigest())


def _words(intent: str) -> set[str]:
    return set(intent.lower().strip("?").split("_"))


def write(source: Path, folder: Path) -> dict[str, int]:
    """The three tables of the questions in source; part -> how many pairs it has."""
    counts = {}
    for part, questions in parts(read(source / "train.csv"), read(source / "test.csv")).items():
        made = pairs(questions)
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((*pair, part) for pair in made)
        counts[part] = len(made)
    return counts


def fetch(folder: Path) -> None:
    """Make the tables of data/banking77, which must be there."""
    if (wrong := pinned.fault(banking77.TARGET, banking77.PINS)) is not None:
        pinned.fail(f"{wrong}. `make banking77` fetches it.")
    counts = write(banking77.TARGET, folder)
    sys.stdout.write(", ".join(f"{count:,} pairs in {part}" for part, count in counts.items()) + "\n")


if __name__ == "__main__":
    print(pinned.put(TARGET, PINS, fetch))
