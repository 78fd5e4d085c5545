"""The whole job against the tutorial's way (`tutorial.py`): cold, and with another learning rate of the head.

    python benchmarks/pipeline.py photos        # train/, validation/ and test/, with a directory per class each

Both train a linear head on a frozen MobileNetV2 1.0 at 224 pixels with ImageNet weights (KERAS_HOME has them, or they
are downloaded). The tutorial decodes, augments and computes every image in each of its ten epochs. Commands are timed
as a whole: process starts, `dvc`, the MLflow run. Takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="of graft; the tutorial's way runs once, after the first")
    parser.add_argument("--numerics", choices=("native", "portable"), default="native", help="of graft")
    options = parser.parse_args()
    photos = options.photos.resolve()
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
