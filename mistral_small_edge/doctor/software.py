"""Versions, and the build of llama.cpp held against the processor that it runs on."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from mistral_small_edge.doctor.report import UNREADABLE, Fact, Finding, Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.llama.build import Build

OURS, BINDINGS = "mistral-small-edge", "llama-cpp-python"
_LIBRARIES = (
    OURS,
    BINDINGS,
    "llguidance",
    "gguf",
    "numpy",
    "huggingface-hub",
    "pillow",
    "fastapi",
    "uvicorn",
    "typer",
)

# The kernel's name of a processor's instructions -> llama.cpp's of a build that uses them. On x86
# and on ARM.
_INSTRUCTIONS = {
    "ssse3": "SSSE3",
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "bmi2": "BMI2",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512vbmi": "AVX512_VBMI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "asimdhp": "FP16_VA",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
    "sme": "SME",
}
# Without these the kernels are several times slower; the others are worth some percent.
_DEAR = frozenset({"AVX", "AVX2", "FMA", "F16C", "NEON", "DOTPROD"})
# `scripts/setup` leaves it out where the compiler breaks it.
_LEFT_OUT = frozenset({"AMX_INT8"})


def versions(
    installed: Callable[[str], str] = version,
    required: Callable[[str], list[str] | None] = requires,
) -> Section:
    """Of ourselves, Python, the system and the libraries that matter."""
    found = {name: _version(name, installed) for name in _LIBRARIES}
    facts = [
        Fact("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Fact("system", platform.platform()),
        *(Fact(name, told or "not installed") for name, told in found.items()),
    ]
    findings = []
    wanted = _pinned(BINDINGS, required)
    if wanted and found[BINDINGS] != wanted:
        findings.append(
            Finding(
                "warning",
                f"{BINDINGS} is {found[BINDINGS] or 'not installed'}, and only {wanted} is known to fit",
                f"pip install {BINDINGS}=={wanted}",
                fatal=not found[BINDINGS],
            )
        )
    return Section("versions", tuple(facts), tuple(findings))


def build(linked: Build, instructions: frozenset[str], system: str = sys.platform) -> Section:
    """What llama.cpp was built with, and what of the processor it leaves unused, or lacks.

    Args:
        instructions: the processor's, in the kernel's names; empty where the system does not tell.
    """
    facts = (
        Fact("llama.cpp", linked.version or UNREADABLE),
        Fact("uses", " ".join(sorted(linked.flags)) or "nothing in particular"),
        Fact("devices", " ".join(linked.devices) or UNREADABLE),
        Fact("RPC", "yes" if linked.rpc else "no"),
        Fact("processor offers", " ".join(sorted(_offered(instructions))) or UNREADABLE),
    )
    findings = [*_against(linked.flags, instructions)]
    if system == "darwin" and not any(map(_is_metal, linked.devices)):
        findings.append(
            Finding("warning", "the build leaves Apple's Metal unused", rebuild("-DGGML_METAL=ON"))
        )
    if instructions and not findings:
        findings.append(Finding("ok", "the build fits the processor"))
    return Section("build", facts, tuple(findings))


def _is_metal(device: str) -> bool:
    return device.startswith(("Metal", "MTL"))


def rebuild(*arguments: str) -> str:
    """What to type for a build that fits this processor."""
    pinned = _pinned(BINDINGS, requires)
    what = f"{BINDINGS}=={pinned}" if pinned else BINDINGS
    options = " ".join(("-DGGML_NATIVE=ON", *arguments))
    return (
        f'CMAKE_ARGS="{options}" pip install --force-reinstall --no-deps --no-cache-dir '
        f"--no-binary {BINDINGS} {what}"
    )


def _against(used: frozenset[str], instructions: frozenset[str]) -> list[Finding]:
    if not instructions:
        return []
    offered = _offered(instructions)
    known = frozenset(_INSTRUCTIONS.values())
    findings = []
    if lacking := (used & known) - offered:
        findings.append(
            Finding(
                "warning",
                f"the build uses {_list(lacking)}, which this processor does not have: it will end "
                "in an illegal instruction",
                rebuild(),
                fatal=True,
            )
        )
    unused = offered - used
    if dear := unused & _DEAR:
        text = (
            f"the processor has {_list(dear)} and the build does not use it: several times slower"
        )
        findings.append(Finding("warning", text, rebuild()))
    if some := unused - _DEAR - _LEFT_OUT:
        text = f"the processor has {_list(some)} and the build does not use it"
        findings.append(Finding("note", text, rebuild()))
    if unused & _LEFT_OUT:
        text = "AMX is left out of the build, as where a compiler breaks llama.cpp's kernels for it"
        findings.append(Finding("note", text))
    return findings


def _offered(instructions: frozenset[str]) -> frozenset[str]:
    return frozenset(_INSTRUCTIONS[name] for name in instructions & _INSTRUCTIONS.keys())


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _version(name: str, installed: Callable[[str], str]) -> str:
    try:
        return installed(name)
    except PackageNotFoundError:
        return ""


def _pinned(name: str, required: Callable[[str], list[str] | None]) -> str:
    """The one version of a library that ours asks for; empty if it asks for no single one."""
    try:
        wanted = required(OURS) or []
    except PackageNotFoundError:
        return ""
    exact = (want.partition("==") for want in wanted if ";" not in want)
    return next((number for library, _, number in exact if library.strip() == name), "")
