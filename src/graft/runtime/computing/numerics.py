"""How numbers are computed: `numerics` of params.yaml, set in the environment before a library reads it.

TensorFlow and OpenVINO compute with oneDNN, which takes the largest instruction set that the processor has; another
one sums in another order and gives other late decimals. `portable` holds both to AVX2, which every x86-64 processor
since 2013 has, so that all of them give the same bytes; and OpenBLAS, which NumPy and SciPy bring, likewise. `native`
lets them use all that is there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graft.errors import SurroundingsError

ISA = "ONEDNN_MAX_CPU_ISA"
PORTABLE_ISA = "AVX2"
BLAS = "OPENBLAS_CORETYPE"

VARIABLES: dict[str, dict[str, str | None]] = {
    "TF_ENABLE_ONEDNN_OPTS": {"portable": "1", "native": "1"},  # off by default on some processors
    ISA: {"portable": PORTABLE_ISA, "native": None},
    "DNNL_MAX_CPU_ISA": {"portable": None, "native": None},  # the older name of the same
    "ONEDNN_DEFAULT_FPMATH_MODE": {"portable": None, "native": None},  # lets float32 be computed in bfloat16
    "DNNL_DEFAULT_FPMATH_MODE": {"portable": None, "native": None},
    "TF_SET_ONEDNN_FPMATH_MODE": {"portable": None, "native": None},
    "TF_XLA_FLAGS": {"portable": None, "native": None},  # may compile what is trained, in another order of sums
    "TF_USE_LEGACY_KERAS": {"portable": None, "native": None},
    BLAS: {"portable": "Haswell", "native": None},  # of NumPy and SciPy, for heads that are solved
    "NVIDIA_TF32_OVERRIDE": {"portable": None, "native": None},
}
"""Variables that change numbers -> what each must be, None for unset: another value is an error that names it."""

KERAS: dict[str, str | None] = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_NNX_ENABLED": "false",
    "KERAS_MAX_EPOCHS": None,
    "KERAS_MAX_STEPS_PER_EPOCH": None,
}
"""What Keras reads as it is imported -> what graft needs, None for unset. Set without a word: users have them, like
their keras.json, for other projects, and what they mean there is nothing that was asked of graft."""


def settings(numerics: str) -> dict[str, str]:
    """What is set for `numerics`: a value of params.yaml. OpenBLAS would not check that the processor has AVX2."""
    found = {name: wanted for name, by in VARIABLES.items() if (wanted := by[numerics]) is not None}
    if not is_portable_here():
        found.pop(BLAS, None)
    return found


def apply(numerics: str) -> None:
    """Set the environment of this process and its children, before TensorFlow or OpenVINO is imported.

    Raises SurroundingsError where the user has set a variable to something else: then `numerics` would not be true.
    """
    faults = []
    for name, by in VARIABLES.items():
        wanted, found = by[numerics], os.environ.get(name)
        if found is not None and found.upper() != (wanted or "").upper():
            should = f"must be {wanted} or unset" if wanted else "must be unset"
            faults.append(f"{name}: {should} for numerics: {numerics}. Got {found!r}; unset it.")
    if faults:
        raise SurroundingsError("\n".join(faults))
    os.environ |= settings(numerics)
    set_keras()


def set_keras() -> None:
    """The environment as KERAS says, before Keras is imported."""
    for name, wanted in KERAS.items():
        if wanted is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = wanted


@contextmanager
def instructions(capped: bool) -> Iterator[None]:
    """Let oneDNN use all instructions, or those of `portable` alone, where it is first used inside."""
    before = os.environ.get(ISA)
    if capped:
        os.environ[ISA] = PORTABLE_ISA
    else:
        os.environ.pop(ISA, None)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ISA, None)
        else:
            os.environ[ISA] = before


def instruction_set(numerics: str, uncapped_is_equal: bool) -> str:
    """What a value computed here depends on: AVX2 where every processor that has it gives the same, else this model."""
    flags = _processor_flags()
    if PORTABLE_ISA.lower() in flags and (numerics == "portable" or uncapped_is_equal):
        return PORTABLE_ISA
    return " ".join([platform.machine(), _processor_model(), *sorted(flags)])


def is_portable_here() -> bool:
    """Whether this is a processor on which `portable` means the same bytes as elsewhere."""
    return PORTABLE_ISA.lower() in _processor_flags()


def _processor_flags() -> list[str]:
    """The instruction sets that decide how numbers are rounded, as Linux names them; none where it cannot be told."""
    line = _cpuinfo("flags") or _cpuinfo("Features")
    return [flag for flag in line.split() if flag.startswith(("avx", "amx", "fma", "sve", "asimd"))]


def _processor_model() -> str:
    return _cpuinfo("model name") or platform.processor()


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")
