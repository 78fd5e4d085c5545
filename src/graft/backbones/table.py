"""Every backbone, one row each. To add one, add a row; `tests/test_backbones.py` drives them all.

No TensorFlow here: the command line and the checks of params.yaml read this table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from graft.errors import BackboneError, unknown

Preprocessing = Literal["tf", "torch", "caffe", "built-in", "unit"]
"""How pixels in [0, 255] enter the network (`keras.applications.imagenet_utils.preprocess_input`).

tf: x / 127.5 - 1. torch: x / 255, then ImageNet mean and standard deviation per channel.
caffe: RGB to BGR, ImageNet mean subtracted. built-in: the network does it itself. unit: x / 255.
"""

WEIGHTS_FOLDER = Path(__file__).parent / "weights"


def keras_models() -> Path:
    """Where Keras keeps downloaded weights, without importing Keras."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


@dataclass(frozen=True)
class Bundled:
    """Weights that come with graft, for one `alpha`; pretrained at `input_size` pixels."""

    file: str
    sha256: str
    alpha: float
    input_size: int

    @property
    def path(self) -> Path:
        return WEIGHTS_FOLDER / self.file


@dataclass(frozen=True)
class Backbone:
    """A row: the class in `keras.applications`, or none, and what a user or a stage must know about it.

    feature_dim: channels of the last feature map at alpha 1.
    min_input_size, default_input_size: side in pixels; the default is what ImageNet weights saw.
    weights_glob: the names under which Keras keeps the ImageNet weights without top in its cache; "" for a row without
        a network, whose features are the pixels themselves.
    alphas: width multipliers with ImageNet weights; empty where the network has no such choice.
    scale_depends_on_weights: Keras adds a rescaling layer only for `weights="imagenet"`
        (EfficientNet), so an official file must not be loaded by hand.
    """

    name: str
    preprocessing: Preprocessing
    feature_dim: int
    min_input_size: int
    default_input_size: int
    weights_glob: str
    alphas: tuple[float, ...] = ()
    bundled: Bundled | None = None
    scale_depends_on_weights: bool = False

    @property
    def is_network(self) -> bool:
        """Whether there is anything to pretrain or to fine-tune."""
        return bool(self.weights_glob)


MOBILENET_ALPHAS = (0.25, 0.5, 0.75, 1.0)
MOBILENET_V2_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
MOBILENET_V3_ALPHAS = (0.75, 1.0)

GLYPHS = Bundled(
    file="mobilenet_v2_0.35_glyphs.weights.h5",
    sha256="eaf0f1bdfcd6fce44b1fbdef19e3be8ccf66d2f61dc31b6ab8c10e00e25b64ea",
    alpha=0.35,
    input_size=96,
)


def _row(
    name: str,
    preprocessing: Preprocessing,
    feature_dim: int,
    min_input_size: int,
    default_input_size: int,
    weights_glob: str,
    **more: object,
) -> tuple[str, Backbone]:
    return name, Backbone(
        name,
        preprocessing,
        feature_dim,
        min_input_size,
        default_input_size,
        weights_glob,
        **more,  # type: ignore[arg-type]
    )


# fmt: off
BACKBONES: dict[str, Backbone] = dict([
    #    name                 pixels      features min default  ImageNet weights in the Keras cache
    _row("MobileNet",         "tf",       1024, 32, 224, "mobilenet_*_tf_no_top.h5", alphas=MOBILENET_ALPHAS),
    _row("MobileNetV2",       "tf",       1280, 32, 224, "mobilenet_v2_weights_*_no_top.h5", alphas=MOBILENET_V2_ALPHAS, bundled=GLYPHS),
    _row("MobileNetV3Small",  "built-in",  576, 32, 224, "weights_mobilenet_v3_small_*_no_top_v2.h5", alphas=MOBILENET_V3_ALPHAS),
    _row("MobileNetV3Large",  "built-in",  960, 32, 224, "weights_mobilenet_v3_large_*_no_top_v2.h5", alphas=MOBILENET_V3_ALPHAS),
    _row("ResNet50",          "caffe",    2048, 32, 224, "resnet50_*_notop.h5"),
    _row("ResNet101",         "caffe",    2048, 32, 224, "resnet101_*_notop.h5"),
    _row("ResNet152",         "caffe",    2048, 32, 224, "resnet152_*_notop.h5"),
    _row("ResNet50V2",        "tf",       2048, 32, 224, "resnet50v2_*_notop.h5"),
    _row("ResNet101V2",       "tf",       2048, 32, 224, "resnet101v2_*_notop.h5"),
    _row("ResNet152V2",       "tf",       2048, 32, 224, "resnet152v2_*_notop.h5"),
    _row("EfficientNetB0",    "built-in", 1280, 32, 224, "efficientnetb0_notop.h5", scale_depends_on_weights=True),
    _row("EfficientNetB1",    "built-in", 1280, 32, 240, "efficientnetb1_notop.h5", scale_depends_on_weights=True),
    _row("EfficientNetB2",    "built-in", 1408, 32, 260, "efficientnetb2_notop.h5", scale_depends_on_weights=True),
    _row("EfficientNetB3",    "built-in", 1536, 32, 300, "efficientnetb3_notop.h5", scale_depends_on_weights=True),
    _row("EfficientNetB4",    "built-in", 1792, 32, 380, "efficientnetb4_notop.h5", scale_depends_on_weights=True),
    _row("EfficientNetB5",    "built-in", 2048, 32, 456, "efficientnetb5_notop.h5", scale_depends_on_weights=True),
    _row("EfficientNetB6",    "built-in", 2304, 32, 528, "efficientnetb6_notop.h5", scale_depends_on_weights=True),
    _row("EfficientNetB7",    "built-in", 2560, 32, 600, "efficientnetb7_notop.h5", scale_depends_on_weights=True),
    _row("EfficientNetV2B0",  "built-in", 1280, 32, 224, "efficientnetv2-b0_notop.h5"),
    _row("EfficientNetV2B1",  "built-in", 1280, 32, 240, "efficientnetv2-b1_notop.h5"),
    _row("EfficientNetV2B2",  "built-in", 1408, 32, 260, "efficientnetv2-b2_notop.h5"),
    _row("EfficientNetV2B3",  "built-in", 1536, 32, 300, "efficientnetv2-b3_notop.h5"),
    _row("EfficientNetV2S",   "built-in", 1280, 32, 384, "efficientnetv2-s_notop.h5"),
    _row("EfficientNetV2M",   "built-in", 1280, 32, 480, "efficientnetv2-m_notop.h5"),
    _row("EfficientNetV2L",   "built-in", 1280, 32, 480, "efficientnetv2-l_notop.h5"),
    _row("DenseNet121",       "torch",    1024, 32, 224, "densenet121_*_notop.h5"),
    _row("DenseNet169",       "torch",    1664, 32, 224, "densenet169_*_notop.h5"),
    _row("DenseNet201",       "torch",    1920, 32, 224, "densenet201_*_notop.h5"),
    _row("InceptionV3",       "tf",       2048, 75, 299, "inception_v3_*_notop.h5"),
    _row("InceptionResNetV2", "tf",       1536, 75, 299, "inception_resnet_v2_*_notop.h5"),
    _row("Xception",          "tf",       2048, 71, 299, "xception_*_notop.h5"),
    _row("VGG16",             "caffe",     512, 32, 224, "vgg16_*_notop.h5"),
    _row("VGG19",             "caffe",     512, 32, 224, "vgg19_*_notop.h5"),
    _row("NASNetMobile",      "tf",       1056, 32, 224, "nasnet_mobile_no_top.h5"),
    _row("NASNetLarge",       "tf",       4032, 32, 331, "nasnet_large_no_top.h5"),
    _row("ConvNeXtTiny",      "built-in",  768, 32, 224, "convnext_tiny_notop.h5"),
    _row("ConvNeXtSmall",     "built-in",  768, 32, 224, "convnext_small_notop.h5"),
    _row("ConvNeXtBase",      "built-in", 1024, 32, 224, "convnext_base_notop.h5"),
    _row("ConvNeXtLarge",     "built-in", 1536, 32, 224, "convnext_large_notop.h5"),
    _row("ConvNeXtXLarge",    "built-in", 2048, 32, 224, "convnext_xlarge_notop.h5"),
    _row("Pixels",            "unit",        3, 8, 28, ""),  # no network: a head that is trained from scratch
    _row("GreyPixels",        "unit",        1, 8, 28, ""),  # the mean of the three colours
])
# fmt: on


def get(name: str) -> Backbone:
    """The row called `name`. Raises BackboneError listing the known names."""
    if name not in BACKBONES:
        raise BackboneError(f"backbone.name: {unknown(name, BACKBONES)}")
    return BACKBONES[name]


def has_batch_norm(name: str) -> bool:
    """Whether a network of the table normalises by statistics that it learnt: all but VGG and ConvNeXt do.

    Networks of KerasHub's, which are not in the table, have none.
    """
    return name in BACKBONES and BACKBONES[name].is_network and not name.startswith(("VGG", "ConvNeXt"))
