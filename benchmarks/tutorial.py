"""The tutorial's own way, to compare with: a frozen MobileNetV2 inside `fit`, augmenting generator, every image decoded
and computed anew in each epoch.

    python benchmarks/tutorial.py photos epochs file   # photos: train/, validation/, test/ with a directory per class

Writes the test accuracy of the best epoch by validation loss into the file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import keras
from keras._tf_keras.keras.preprocessing.image import ImageDataGenerator

SIDE = 224


def main(photos: Path, epochs: int, result: Path) -> None:
    keras.utils.set_random_seed(0)
    preprocess = keras.applications.mobilenet_v2.preprocess_input
    augmenting = ImageDataGenerator(
        preprocessing_function=preprocess,
        rotation_range=10,
        width_shift_range=0.08,
        height_shift_range=0.08,
        horizontal_flip=True,
    )
    plain = ImageDataGenerator(preprocessing_function=preprocess)
    size = (SIDE, SIDE)
    train = augmenting.flow_from_directory(photos / "train", target_size=size, batch_size=32, interpolation="bilinear")
    validation, test = (
        plain.flow_from_directory(
            photos / name, target_size=size, batch_size=32, shuffle=False, interpolation="bilinear"
        )
        for name in ("validation", "test")
    )
    base = keras.applications.MobileNetV2(include_top=False, weights="imagenet", input_shape=(*size, 3))
    base.trainable = False
    inputs = keras.Input((*size, 3))
    x = base(inputs, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(len(train.class_indices), activation="softmax")(x))
    model.compile(keras.optimizers.Adam(0.001), "categorical_crossentropy", metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        best = str(Path(folder) / "best.keras")
        keep = keras.callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True)
        model.fit(train, validation_data=validation, epochs=epochs, callbacks=[keep], verbose=2)
        _, accuracy = keras.models.load_model(best).evaluate(test, verbose=0)
    result.write_text(f"{accuracy}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
