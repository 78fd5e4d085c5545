"""Where examples come from. To add a source, add a row; each row is scanned and read the same way."""

from __future__ import annotations

from graft.examples.sources import digits, folder, keras_datasets, manifest
from graft.examples.sources.base import Source

SOURCES: dict[str, Source] = {
    "digits": digits.SOURCE,
    "folder": folder.SOURCE,
    "manifest": manifest.SOURCE,
    "mnist": keras_datasets.MNIST,
    "fashion_mnist": keras_datasets.source("fashion_mnist"),
    "cifar10": keras_datasets.source("cifar10"),
    "cifar100": keras_datasets.source("cifar100"),
}
