"""Ways to fine-tune that are not in params.yaml, and two that are: how each does on the validation images.

    python benchmarks/tried.py mixup=0.2 seed=43      # in a project in which `dvc repro` has run; any of VALUES

Everything else is as params.yaml says. Prints accuracy, log loss and calibration error of the validation images after
each epoch and of means and interpolations of weights at the end, each also at its best temperature. Test images are not
looked at. The table of what came of it: docs/choosing.md.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

import numpy as np

from graft.cli.stages import ready_for_features

VALUES = {
    "seed": 42.0,  # of the order of examples and what dropout drops; the head is the one that was trained
    "clip": 0.0,  # as finetune.clip_norm
    "mixup": 0.0,  # pairs of a batch are mixed at the cut by a share from Beta(mixup, mixup)
    "cutmix": 0.0,  # a rectangle of the activations at the cut comes from another example, likewise
    "layer_decay": 1.0,  # factor of a step for each block further from the head
    "l2_sp": 0.0,  # decoupled pull of each step towards the weights at the start, as weight_decay pulls towards 0
    "gradual": 0.0,  # epochs in which only block_13 and what follows it is trained
    "average": 0.99,  # of an exponential mean of the weights
}
HEAD = 18
"""Blocks of a MobileNetV2 are numbered up to 16; the last convolution counts as 17."""


def main() -> None:
    given = dict(argument.split("=") for argument in sys.argv[1:])
    if unknown := set(given) - set(VALUES):
        raise SystemExit(f"unknown: {', '.join(unknown)}. There are: {', '.join(VALUES)}")
    values = VALUES | {name: float(value) for name, value in given.items()}
    params, paths = ready_for_features("finetune")
    from graft.range_test import subjects

    model, views, data = subjects.of("finetune", params, paths)
    Trial(model, views, data, params.finetune, values).run()


def block(path: str) -> int:
    """Of a variable, by its path."""
    if found := re.search(r"block_(\d+)", path):
        return int(found[1])
    return HEAD if "probabilities" in path else HEAD - 1


class Trial:
    def __init__(self, model: Any, views: Any, data: Any, p: Any, values: dict[str, float]) -> None:
        import keras
        import tensorflow as tf

        from graft.training import optimizers

        self.model, self.views, self.data, self.p, self.values = model, views, data, p, values
        self.seed = int(values["seed"])
        self.train, self.held_out = data.of("train"), data.of("validation")
        self.rng = np.random.default_rng([self.seed, 77])
        keras.utils.set_random_seed(self.seed)
        p = p.model_copy(update={"clip_norm": values["clip"] or None})
        self.optimizer = optimizers.build(p, p.epochs * math.ceil(len(self.train.rows) / p.batch_size))
        self.variables = model.trainable_variables
        self.optimizer.build(self.variables)
        self.start = [variable.numpy() for variable in self.variables]
        self.mean = [tf.Variable(weight) for weight in self.start]
        self.moves = tf.Variable([1.0] * len(self.variables))
        n_classes = len(data.classes)
        shape = (None, *model.input_shape[1:])
        self.step = tf.function(
            self._step, input_signature=[tf.TensorSpec(shape, tf.float32), tf.TensorSpec((None, n_classes), tf.float32)]
        )

    def run(self) -> None:
        blocks = [block(variable.path) for variable in self.variables]
        epochs: list[list[np.ndarray]] = []
        for epoch in range(self.p.epochs):
            held = epoch < self.values["gradual"]
            decay = self.values["layer_decay"]
            self.moves.assign([0.0 if held and b < 13 else decay ** (HEAD - b) for b in blocks])
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train.rows))
            for begin in range(0, len(order), self.p.batch_size):
                some = order[begin : begin + self.p.batch_size]
                inputs = self.views.drawn(self.train.rows[some], self.seed, epoch)
                targets = np.eye(len(self.data.classes), dtype=np.float32)[self.train.targets[some]]
                self.step(*self._mixed(inputs, targets))
            epochs.append([variable.numpy() for variable in self.variables])
            self.judge(f"epoch {epoch + 1}", epochs[-1])
        self.judge("exponential mean", [one.numpy() for one in self.mean])
        for n in (3, 6):
            self.judge(f"mean of the last {n} epochs", [np.mean(one, axis=0) for one in zip(*epochs[-n:], strict=True)])
        for share in (0.5, 0.7, 0.85):
            pairs = zip(self.start, epochs[-1], strict=True)
            self.judge(f"interpolated, {share}", [before + share * (after - before) for before, after in pairs])

    def _step(self, inputs: Any, targets: Any) -> None:
        import keras
        import tensorflow as tf

        from graft.training import shards

        with tf.GradientTape() as tape:
            parts = shards.apply(self.model, shards.cut(inputs, shards.SHARDS), training=True)
            losses = keras.losses.categorical_crossentropy(
                targets, tf.concat(parts, 0), label_smoothing=self.p.label_smoothing
            )
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [variable.value for variable in self.variables])
        before = [tf.identity(variable.value) for variable in self.variables]
        rate = tf.cast(self.optimizer.learning_rate, tf.float32)
        self.optimizer.apply(gradients, self.variables)
        for i, variable in enumerate(self.variables):
            after = before[i] + self.moves[i] * (variable.value - before[i])
            if self.values["l2_sp"] and block(variable.path) < HEAD:
                after -= rate * self.values["l2_sp"] * (after - self.start[i])
            variable.assign(after)
            self.mean[i].assign(self.values["average"] * self.mean[i] + (1 - self.values["average"]) * after)

    def _mixed(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        other = self.rng.permutation(len(inputs))
        if self.values["mixup"]:
            share = np.float32(self.rng.beta(self.values["mixup"], self.values["mixup"]))
            return share * inputs + (1 - share) * inputs[other], share * targets + (1 - share) * targets[other]
        if self.values["cutmix"]:
            share = self.rng.beta(self.values["cutmix"], self.values["cutmix"])
            height, width = inputs.shape[1:3]
            h, w = int(height * math.sqrt(1 - share)), int(width * math.sqrt(1 - share))
            y, x = self.rng.integers(height - h + 1), self.rng.integers(width - w + 1)
            inputs = inputs.copy()
            inputs[:, y : y + h, x : x + w] = inputs[other][:, y : y + h, x : x + w]
            share = np.float32(1 - h * w / (height * width))
            return inputs, share * targets + (1 - share) * targets[other]
        return inputs, targets

    def judge(self, what: str, weights: list[np.ndarray]) -> None:
        """Say how the model does with these weights, which do not stay."""
        from graft.evaluation import metrics, temperature
        from graft.examples import dataset

        now = [variable.numpy() for variable in self.variables]
        self._assign(weights)
        probabilities = dataset.predicted(self.model, self.views, self.held_out.rows)
        self._assign(now)
        found = temperature.fitted(probabilities, self.held_out.targets, self.held_out.weights)
        shown = []
        for p in (probabilities, temperature.divided(probabilities, found)):
            judged = metrics.Judged(p, self.held_out.targets, self.data.classes, 5, 15, 0.95)
            shown.append(
                f"log loss {metrics.log_loss(judged):.3f}, ECE {metrics.expected_calibration_error(judged):.3f}"
            )
        accuracy = (probabilities.argmax(1) == self.held_out.targets).mean()
        print(f"{what}: accuracy {accuracy:.3f}, {shown[0]}; at temperature {found:.2f} {shown[1]}", flush=True)

    def _assign(self, weights: list[np.ndarray]) -> None:
        for variable, value in zip(self.variables, weights, strict=True):
            variable.assign(value)


if __name__ == "__main__":
    main()
