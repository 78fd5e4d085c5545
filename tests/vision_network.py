"""Tiny networks of KerasHub's for images, with random weights, in folders as they are published: no download in tests.

`write_preset(folder, name)` as KerasHub saves one; `write_hugging_face(folder, name)` as transformers does, under the
very names that KerasHub's converters look for. `vit` and `dinov2` compute in plain NumPy what these networks are by
definition.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from numpy_layers import dense, normalised

WIDTH, HEADS, INNER, BLOCKS, PATCH, SIDE = 16, 2, 32, 2, 8, 32
REGISTERS = 2
"""Of DINOv3."""

TRAINED_SIDE = {"ViT": SIDE, "DINOV2": 48, "DINOV3": 48, "SigLIP": SIDE}
"""Pixels of the images that a network's own positions are for."""

COMMON: dict[str, Any] = {"num_layers": BLOCKS, "num_heads": HEADS, "hidden_dim": WIDTH, "patch_size": PATCH}
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
"""What a folder's own files say, unlike those of any family."""


def network(name: str, blocks: int = BLOCKS, **others: Any) -> Any:
    """Built by KerasHub itself. others: arguments of its class."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(3)
    models, shape = keras_hub.models, (TRAINED_SIDE[name], TRAINED_SIDE[name], 3)
    common = COMMON | {"num_layers": blocks, "image_shape": shape} | others
    if name == "ViT":
        made = models.ViTBackbone(mlp_dim=INNER, **common)
    elif name == "DINOV2":
        made = models.DINOV2Backbone(intermediate_dim=INNER, position_embedding_shape=shape[:2], **common)
    elif name == "DINOV3":
        common = {"num_register_tokens": REGISTERS} | common
        made = models.DINOV3Backbone(intermediate_dim=INNER, **common)
    else:
        seen = models.SigLIPVisionEncoder(intermediate_dim=INNER, **common)
        text = models.SigLIPTextEncoder(20, WIDTH, WIDTH, 1, HEADS, INNER, max_sequence_length=4)
        made = models.SigLIPBackbone(seen, text)
    rng = np.random.default_rng(7)
    for variable in made.weights:
        if "float" in variable.dtype:
            variable.assign(drawn(variable.path, tuple(variable.shape), rng))
    if name == "DINOV2":
        made.embeddings.interpolated_position_embeddings.assign(made.embeddings.position_embeddings)
    return made


def drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Of a size that every patch of an image tells in what comes out."""
    if name.endswith("gamma") or "lambda" in name:
        return rng.uniform(0.7, 1.3, shape).astype(np.float32)
    if len(shape) < 2 or name.endswith("bias"):
        return rng.normal(0, 0.1, shape).astype(np.float32)
    return rng.normal(0, 0.3, shape).astype(np.float32)


def write_preset(folder: Path, name: str, blocks: int = BLOCKS, own_pixels: bool = True, **others: Any) -> Path:
    """own_pixels: whether the folder says how pixels are rescaled. others: arguments of KerasHub's class."""
    import keras_hub

    made = network(name, blocks, **others)
    folder.mkdir(parents=True)
    made.save_to_preset(str(folder))
    if own_pixels:
        scale, offset = [1 / 255 / one for one in STD], [-m / s for m, s in zip(MEAN, STD, strict=True)]
        kind = getattr(keras_hub.layers, f"{name}ImageConverter")
        kind(image_size=(SIDE, SIDE), scale=scale, offset=offset).save_to_preset(str(folder))
    return folder


def write_hugging_face(folder: Path, name: str, **preprocessor: Any) -> Path:
    """preprocessor: of preprocessor_config.json, which is there where this is not empty."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIGS[name]))
    if preprocessor:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    save_file(weights(name), folder / "model.safetensors")
    return folder


ANY_CONFIG = {
    "hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS, "intermediate_size": INNER,
    "patch_size": PATCH, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "ViT": ANY_CONFIG | {
        "model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": SIDE, "qkv_bias": True,
        "layer_norm_eps": 1e-3,
    },
    "DINOV2": ANY_CONFIG | {
        "model_type": "dinov2", "architectures": ["Dinov2Model"], "image_size": TRAINED_SIDE["DINOV2"], "mlp_ratio": 2,
        "layerscale_value": 1.0, "use_swiglu_ffn": False, "drop_path_rate": 0.0,
    },
    "DINOV3": ANY_CONFIG | {
        "model_type": "dinov3_vit", "architectures": ["DINOv3ViTModel"], "image_size": TRAINED_SIDE["DINOV3"],
        "layerscale_value": 1.0, "num_register_tokens": REGISTERS, "use_gated_mlp": False, "query_bias": True,
        "key_bias": False, "value_bias": True, "proj_bias": True, "mlp_bias": True, "attention_dropout": 0.0,
        "drop_path_rate": 0.0, "layer_norm_eps": 1e-5, "rope_theta": 100.0,
    },
}  # fmt: skip


def weights(name: str) -> dict[str, np.ndarray]:
    """Name in the file -> float32 values; kernels are (out, in), as PyTorch has them."""
    rng = np.random.default_rng(11)
    shapes = {"ViT": _vit_shapes, "DINOV2": _dinov2_shapes, "DINOV3": _dinov3_shapes}[name]()
    found = {}
    for one, shape in shapes.items():
        is_norm = ("norm" in one and one.endswith("weight")) or "lambda" in one
        found[one] = drawn("gamma" if is_norm else one, shape, rng)
    return found


def _pair(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _vit_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "vit.embeddings.cls_token": (1, 1, WIDTH),
        "vit.embeddings.position_embeddings": (1, 1 + (SIDE // PATCH) ** 2, WIDTH),
        **_pair("vit.embeddings.patch_embeddings.projection", WIDTH, 3, PATCH, PATCH),
        **_pair("vit.layernorm", WIDTH),
    }
    for layer in (f"vit.encoder.layer.{i}" for i in range(BLOCKS)):
        for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
            shapes |= _pair(f"{layer}.attention.{part}", WIDTH, WIDTH)
        shapes |= _pair(f"{layer}.layernorm_before", WIDTH) | _pair(f"{layer}.layernorm_after", WIDTH)
        shapes |= _pair(f"{layer}.intermediate.dense", INNER, WIDTH) | _pair(f"{layer}.output.dense", WIDTH, INNER)
    return shapes


def _dinov2_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.mask_token": (1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + (TRAINED_SIDE["DINOV2"] // PATCH) ** 2, WIDTH),
        **_pair("embeddings.patch_embeddings.projection", WIDTH, 3, PATCH, PATCH),
        **_pair("layernorm", WIDTH),
    }
    for layer in (f"encoder.layer.{i}" for i in range(BLOCKS)):
        for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
            shapes |= _pair(f"{layer}.attention.{part}", WIDTH, WIDTH)
        shapes |= _pair(f"{layer}.norm1", WIDTH) | _pair(f"{layer}.norm2", WIDTH)
        shapes |= _pair(f"{layer}.mlp.fc1", INNER, WIDTH) | _pair(f"{layer}.mlp.fc2", WIDTH, INNER)
        shapes |= {f"{layer}.layer_scale{i}.lambda1": (WIDTH,) for i in (1, 2)}
    return shapes


def _dinov3_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.mask_token": (1, 1, WIDTH),
        "embeddings.register_tokens": (1, REGISTERS, WIDTH),
        **_pair("embeddings.patch_embeddings", WIDTH, 3, PATCH, PATCH),
        **_pair("norm", WIDTH),
    }
    for layer in (f"layer.{i}" for i in range(BLOCKS)):
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes |= _pair(f"{layer}.attention.{part}", WIDTH, WIDTH)
        del shapes[f"{layer}.attention.k_proj.bias"]
        shapes |= _pair(f"{layer}.norm1", WIDTH) | _pair(f"{layer}.norm2", WIDTH)
        shapes |= _pair(f"{layer}.mlp.up_proj", INNER, WIDTH) | _pair(f"{layer}.mlp.down_proj", WIDTH, INNER)
        shapes |= {f"{layer}.layer_scale{i}.lambda1": (WIDTH,) for i in (1, 2)}
    return shapes


# ---- what they are by definition, in float64


def vit(pixels: np.ndarray) -> np.ndarray:
    """Dosovitskiy et al. 2020 (https://arxiv.org/abs/2010.11929), eq. 1 to 4: rescaled pixels (n, side, side, 3) ->
    (n, 1 + patches, width)."""
    w = {name.removeprefix("vit."): values.astype(np.float64) for name, values in weights("ViT").items()}
    epsilon = CONFIGS["ViT"]["layer_norm_eps"]
    x = _embedded(pixels, w) + w["embeddings.position_embeddings"]
    for layer in (f"encoder.layer.{i}" for i in range(BLOCKS)):
        x = x + _attended(normalised(x, w, f"{layer}.layernorm_before", epsilon), w, layer)
        inner = _gelu(dense(normalised(x, w, f"{layer}.layernorm_after", epsilon), w, f"{layer}.intermediate.dense"))
        x = x + dense(inner, w, f"{layer}.output.dense")
    return normalised(x, w, "layernorm", epsilon)


def dinov2(pixels: np.ndarray) -> np.ndarray:
    """Oquab et al. 2023 (https://arxiv.org/abs/2304.07193): ViT whose steps are scaled, at its own size."""
    w = {name: values.astype(np.float64) for name, values in weights("DINOV2").items()}
    x = _embedded(pixels, w) + w["embeddings.position_embeddings"]
    for layer in (f"encoder.layer.{i}" for i in range(BLOCKS)):
        step = _attended(normalised(x, w, f"{layer}.norm1", 1e-6), w, layer)
        x = x + step * w[f"{layer}.layer_scale1.lambda1"]
        inner = _gelu(dense(normalised(x, w, f"{layer}.norm2", 1e-6), w, f"{layer}.mlp.fc1"))
        x = x + dense(inner, w, f"{layer}.mlp.fc2") * w[f"{layer}.layer_scale2.lambda1"]
    return normalised(x, w, "layernorm", 1e-6)


def _embedded(pixels: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """The class token, and a token for each patch from left to right and from top to bottom."""
    n, side = pixels.shape[0], pixels.shape[1] // PATCH
    patches = pixels.astype(np.float64).reshape(n, side, PATCH, side, PATCH, 3).transpose(0, 1, 3, 5, 2, 4)
    kernel = w["embeddings.patch_embeddings.projection.weight"].reshape(WIDTH, -1)
    tokens = patches.reshape(n, side * side, -1) @ kernel.T + w["embeddings.patch_embeddings.projection.bias"]
    return np.concatenate([np.repeat(w["embeddings.cls_token"], n, axis=0), tokens], axis=1)


def _attended(x: np.ndarray, w: dict[str, np.ndarray], layer: str) -> np.ndarray:
    n, length, _ = x.shape
    query, key, value = (
        dense(x, w, f"{layer}.attention.attention.{part}").reshape(n, length, HEADS, -1).swapaxes(1, 2)
        for part in ("query", "key", "value")
    )
    scores = np.exp(query @ key.swapaxes(2, 3) / math.sqrt(WIDTH // HEADS))
    mixed = scores / scores.sum(-1, keepdims=True) @ value
    return dense(mixed.swapaxes(1, 2).reshape(n, length, WIDTH), w, f"{layer}.attention.output.dense")


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
