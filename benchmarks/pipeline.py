"""The whole job against the tutorial's way (`tutorial.py`): cold, and with another learning rate of the head.

    python benchmarks/pipeline.py photos        # train/, validation/ and test/, with a directory per class each
    python benchmarks/pipeline.py photos --only edits --before ../earlier/.venv/bin/python

Both train a linear head on a frozen MobileNetV2 1.0 at 224 pixels with ImageNet weights (KERAS_HOME has them, or they
are downloaded). The tutorial decodes, augments and computes every image in each of its ten epochs. Commands are timed
as a whole: process starts, `dvc`, the MLflow run. Takes a quarter of an hour.

Then a head is edited in turn: in a project of this commit, in one without its tracking, which tells what that adds, and
in one of an earlier commit, whose Python `--before` names. What other work on the machine adds, it adds to all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import edits
from common import make_project, timed
from record import keep

EPOCHS = 10
RATES = (0.001, 0.002, 0.0005, 0.003)
"""Of the head: first the protocol's, then three edits in turn."""
PROTOCOL = {
    "data.source": "folder", "data.duplicates.conflicting_labels.near": "keep",
    "backbone.alpha": 1.0, "backbone.input_size": 224, "backbone.weights": "imagenet",
    "extract.views": 0, "train.learning_rate": RATES[0], "train.epochs": EPOCHS,
    "finetune.enabled": False,
}  # fmt: skip

EARLIER = {"data.duplicates.conflicting_labels": "keep", "finetune.cut": None}
"""The protocol's other values in a commit before `data.duplicates.conflicting_labels.near` (24e439a, for one)."""


def compare_edits(here: Path, photos: Path, options: argparse.Namespace) -> dict[str, float]:
    """Edits of a head in turn, and what they tell."""
    protocol = PROTOCOL | {"data.path": str(photos), "numerics": options.numerics}
    projects = {"now": edits.of_this_commit(here / "now", protocol)}
    projects["untracked"] = edits.without_tracking(here / "untracked", protocol)
    if options.before:
        earlier = {key: value for key, value in protocol.items() if key != "numerics" and not key.endswith(".near")}
        projects["before"] = edits.of_earlier_commit(here / "before", earlier | EARLIER, options.before)
    for project in projects.values():
        project.repro()
    seconds: dict[str, list[float]] = {name: [] for name in projects}
    for _ in range(options.edits):
        for name, project in projects.items():
            seconds[name].append(project.edit())
            print(f"head edited, {name}: {seconds[name][-1]:.1f} s (load {os.getloadavg()[0]:.1f})", flush=True)
    middle = {name: statistics.median(all_of_it) for name, all_of_it in seconds.items()}
    tracked = statistics.median(a - b for a, b in zip(seconds["now"], seconds["untracked"], strict=True))
    found = {"pipeline.tracking_seconds": tracked}
    if "before" in middle:
        found["pipeline.head_edit_before_seconds"] = middle["before"]
        found["pipeline.head_edit_vs_before"] = middle["now"] / middle["before"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="of graft; the tutorial's way runs once, after the first")
    parser.add_argument("--numerics", choices=("native", "portable"), default="native", help="of graft")
    parser.add_argument("--edits", type=int, default=5, help="of a head in each project, in turn")
    parser.add_argument("--before", type=Path, help="the Python of an earlier commit, installed in place")
    parser.add_argument("--only", choices=("edits",), help="not the tutorial's way")
    options = parser.parse_args()
    photos = options.photos.resolve()
    with tempfile.TemporaryDirectory() as name:
        keep(compare_edits(Path(name), photos, options))
    if options.only:
        return
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        cold, edited, accuracies = [], [], []
        for k in range(options.rounds):
            project = here / f"project{k}"
            make_project(project, PROTOCOL | {"data.path": str(photos), "numerics": options.numerics})
            cold.append(timed(["dvc", "repro"], project, here / f"cache{k}")[0])
            metrics = json.loads((project / "data" / "evaluation.json").read_text())
            accuracies.append(metrics["head"]["test"]["accuracy"])
            print(f"cold {cold[-1]:.1f} s, test accuracy {accuracies[-1]:.4f}", flush=True)
            params = project / "params.yaml"
            for before, after in itertools.pairwise(RATES):
                text = params.read_text()
                params.write_text(text.replace(f"learning_rate: {before}\n", f"learning_rate: {after}\n", 1))
                edited.append(timed(["dvc", "repro"], project, here / f"cache{k}")[0])
                print(f"head edited {edited[-1]:.1f} s", flush=True)
            if k == 0:
                tutorial = [sys.executable, str(Path(__file__).with_name("tutorial.py")), str(photos), str(EPOCHS)]
                accuracy_file = here / "accuracy"
                seconds, _ = timed([*tutorial, str(accuracy_file)], here, here / "none")
                print(f"tutorial {seconds:.0f} s", flush=True)
        keep(
            {
                "pipeline.tutorial_seconds": seconds,
                "pipeline.tutorial_test_accuracy": float(accuracy_file.read_text()),
                "pipeline.cold_seconds": statistics.median(cold),
                "pipeline.head_edit_seconds": statistics.median(edited),
                "pipeline.test_accuracy": accuracies[0],
                "pipeline.cold_vs_tutorial": seconds / statistics.median(cold),
                "pipeline.head_edit_vs_tutorial": seconds / statistics.median(edited),
            }
        )


if __name__ == "__main__":
    main()
