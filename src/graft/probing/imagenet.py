"""Top-1 accuracy on ImageNet's validation images as Keras publishes it for full width: what many choose a network by.

https://keras.io/api/applications/; of MobileNetV3 the docstring of `keras.applications.MobileNetV3Large`. Apart from
the table of backbones, whose rows are part of what features are cached by.
"""

from __future__ import annotations

from graft.backbones.automatic import FULL_WIDTH

TOP1: dict[str, float] = {
    "MobileNet": 0.704, "MobileNetV2": 0.713, "MobileNetV3Small": 0.681, "MobileNetV3Large": 0.756,
    "ResNet50": 0.749, "ResNet101": 0.764, "ResNet152": 0.766,
    "ResNet50V2": 0.760, "ResNet101V2": 0.772, "ResNet152V2": 0.780,
    "EfficientNetB0": 0.771, "EfficientNetB1": 0.791, "EfficientNetB2": 0.801, "EfficientNetB3": 0.816,
    "EfficientNetB4": 0.829, "EfficientNetB5": 0.836, "EfficientNetB6": 0.840, "EfficientNetB7": 0.843,
    "EfficientNetV2B0": 0.787, "EfficientNetV2B1": 0.798, "EfficientNetV2B2": 0.805, "EfficientNetV2B3": 0.820,
    "EfficientNetV2S": 0.839, "EfficientNetV2M": 0.853, "EfficientNetV2L": 0.857,
    "DenseNet121": 0.750, "DenseNet169": 0.762, "DenseNet201": 0.773,
    "InceptionV3": 0.779, "InceptionResNetV2": 0.803, "Xception": 0.790,
    "VGG16": 0.713, "VGG19": 0.713, "NASNetMobile": 0.744, "NASNetLarge": 0.825,
    "ConvNeXtTiny": 0.813, "ConvNeXtSmall": 0.823, "ConvNeXtBase": 0.853, "ConvNeXtLarge": 0.863,
    "ConvNeXtXLarge": 0.867,
}  # fmt: skip


def published(name: str, alpha: float | None) -> float | None:
    """Of a network of the table; None of a width that is not the full one, or without a network."""
    return TOP1.get(name) if alpha in (None, FULL_WIDTH) else None
