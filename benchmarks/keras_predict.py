"""The same network and files with Keras alone: `model.predict` on `image_dataset_from_directory`.

    python benchmarks/keras_predict.py photos side images

A process of its own, since graft sets TensorFlow to one thread an operation; prints images/s, its start not counted.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import keras

BATCH_SIZE = 32


def main(photos: Path, side: int, images: int) -> None:
    files = keras.utils.image_dataset_from_directory(
        photos, labels=None, image_size=(side, side), batch_size=BATCH_SIZE, shuffle=False, verbose=False
    )
    inputs = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    network = keras.applications.MobileNetV2((side, side, 3), include_top=False, weights=None, pooling="avg")
    model = keras.Model(inputs, network(x, training=False))
    model.predict(files.take(2), verbose=0)
    began = time.perf_counter()
    done = len(model.predict(files.take(images // BATCH_SIZE), verbose=0))
    print(done / (time.perf_counter() - began))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
