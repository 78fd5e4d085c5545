"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 through keras.datasets, with their official train and test parts.

Keras downloads each once, into the datasets folder under KERAS_HOME (~/.keras where that is unset).
"""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.errors import DataError
from graft.examples.sources import arrays, folder
from graft.examples.sources.base import Items, Reader, Source
from graft.runtime.computing.tensorflow import start_tensorflow

if TYPE_CHECKING:
    from graft.config.data import DataParams

DIGITS = tuple("0123456789")
CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": DIGITS,
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    "cifar100": (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
        "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
        "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
        "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
        "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
        "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
        "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
        "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
        "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger",
        "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    ),
}  # fmt: skip
"""Names in the order of the data sets' label numbers, as their authors publish them."""


@cache
def _parts(name: str) -> list[arrays.Part]:
    start_tensorflow()
    import keras

    keras.config.disable_interactive_logging()  # its download bar does not know a log from a terminal
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception for a failed download, and whatever numpy or pickle do
        place = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "datasets"
        raise DataError(
            f"data.source: {name} must be in {place}, where Keras puts it, or be downloadable. "
            f"Got: {' '.join(str(error).split())}. Connect to the network once, or copy the file there from another "
            "machine; KERAS_HOME moves the folder."
        ) from None
    names = CLASSES[name]
    return [
        arrays.Part("train", "train", x_train, [names[int(i)] for i in np.ravel(y_train)]),
        arrays.Part("test", "test", x_test, [names[int(i)] for i in np.ravel(y_test)]),
    ]


def source(name: str) -> Source:
    return arrays.source(name, "data/keras", partial(_parts, name))


def _mnist() -> Source:
    """From Keras, or from PNGs where `data.path` is an archive or a folder with the two parts."""
    loaded = source("mnist")

    def is_pngs(path: Path) -> bool:
        return path.is_file() or (path / "train").is_dir()

    def scan(data: DataParams) -> Items:
        return folder.SOURCE.scan(data) if is_pngs(Path(data.path)) else loaded.scan(data)

    def open_reader(path: Path) -> Reader:
        return folder.SOURCE.open(path) if is_pngs(path) else loaded.open(path)

    return Source(scan, open_reader)


MNIST = _mnist()
