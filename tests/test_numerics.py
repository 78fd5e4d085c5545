"""How numbers are computed is set before a library reads it, and nothing in the surroundings changes it in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from graft.backbones.table import BACKBONES
from graft.errors import SurroundingsError
from graft.features.engines import portable
from graft.runtime.computing import numerics


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which none of the variables is set; whatever a test sets there is taken back."""
    for name in (*numerics.VARIABLES, *numerics.KERAS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_each_is_set_for_this_process_and_its_children(clean: pytest.MonkeyPatch) -> None:
    numerics.apply("portable")
    assert (os.environ["TF_ENABLE_ONEDNN_OPTS"], os.environ["ONEDNN_MAX_CPU_ISA"]) == ("1", "AVX2")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    numerics.apply("portable")  # what graft itself has set is no fault


def test_native_holds_nothing_back(clean: pytest.MonkeyPatch) -> None:
    numerics.apply("native")
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
    assert "ONEDNN_MAX_CPU_ISA" not in os.environ


@pytest.mark.parametrize("name", numerics.VARIABLES)
@pytest.mark.parametrize("how", ["portable", "native"])
def test_what_the_user_has_set_otherwise_is_named(clean: pytest.MonkeyPatch, name: str, how: str) -> None:
    clean.setenv(name, "0")
    with pytest.raises(SurroundingsError, match=rf"^{name}: must be .* for numerics: {how}\. Got '0'; unset it\.$"):
        numerics.apply(how)


def test_what_a_command_says(tmp_path: Path) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((REPOSITORY / name).read_text())
    done = subprocess.run(
        [sys.executable, "-m", "graft", "extract"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0", "PYTHONPATH": str(REPOSITORY / "src")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "graft: TF_ENABLE_ONEDNN_OPTS: must be 1 or unset for numerics: portable. Got '0'; unset it.\n"
    )


def test_the_cap_is_lifted_and_put_back(clean: pytest.MonkeyPatch) -> None:
    numerics.apply("portable")
    with numerics.instructions(capped=False):
        assert "ONEDNN_MAX_CPU_ISA" not in os.environ
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    numerics.instructions(capped=True)


def test_the_instruction_set_that_mattered(monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX2 wherever that decides; else what names the processor."""
    info = {"flags": "fpu avx avx2 avx512f amx_tile fma", "model name": "A Processor 9000"}
    monkeypatch.setattr(numerics, "_cpuinfo", lambda key: info.get(key, ""))
    assert numerics.instruction_set("portable", uncapped_is_equal=False) == "AVX2"
    assert numerics.instruction_set("native", uncapped_is_equal=True) == "AVX2"
    assert "A Processor 9000 amx_tile avx avx2 avx512f fma" in numerics.instruction_set("native", False)
    assert numerics.is_portable_here()
    info["flags"] = "fpu avx"
    assert "A Processor 9000" in numerics.instruction_set("portable", uncapped_is_equal=True)
    assert not numerics.is_portable_here()


def test_the_table_has_every_network() -> None:
    """What was not tried counts as held to AVX2; a network with a layer that no cap reaches as not OpenVINO's."""
    assert list(portable.table()) == list(BACKBONES)
    for name, widths in portable.table().items():
        assert set(widths.values()) <= {portable.ANY, portable.AVX2, portable.NONE}, name
    assert portable.depends_on("MobileNetV2", 1.0) == portable.ANY
    assert portable.depends_on("MobileNetV2", 0.4) == portable.AVX2
    assert portable.depends_on("ResNet50", None) == portable.AVX2
    assert portable.depends_on("MobileNetV3Small", 0.9) == portable.NONE
    assert portable.uncapped_is_equal("MobileNetV2", 1.0, "openvino", "float32")
    assert not portable.uncapped_is_equal("MobileNetV2", 1.0, "openvino", "bfloat16")
    assert not portable.uncapped_is_equal("MobileNetV2", 1.0, "tensorflow", "float32")


KERAS_JSON = """
import json, sys
from graft.runtime.computing import numerics
numerics.apply("portable")
from graft.runtime.computing.tensorflow import start_tensorflow
start_tensorflow()
import keras
print(json.dumps([keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format(),
                  keras.config.epsilon(), keras.config.dtype_policy().name, keras.layers.Dense(2).dtype]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        '{"floatx": "float64", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}',
        '{"floatx": "float16"}',
        "not json",
    ],
)
def test_keras_json_changes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "keras.json").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", KERAS_JSON], capture_output=True, text=True, check=False,
        env=os.environ | {"KERAS_HOME": str(tmp_path), "KERAS_MAX_EPOCHS": "1", "PYTHONPATH": str(REPOSITORY / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == '["tensorflow", "float32", "channels_last", 1e-07, "float32", "float32"]\n'


def test_a_keras_json_that_keras_refuses_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "bfloat16"}')
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((REPOSITORY / name).read_text())
    done = subprocess.run(
        [sys.executable, "-m", "graft", "extract"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"KERAS_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY / "src")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"graft: {tmp_path}/keras.json: must be a file that Keras accepts, or none. Got: ")
