"""Builds against processors, and versions against what is asked for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from mistral_small_edge.doctor import software
from mistral_small_edge.llama.build import Build, linked_build, parse_system_info

X86 = frozenset({"fpu", "ssse3", "avx", "avx2", "fma", "f16c", "bmi2"})
X86_BUILD = frozenset({"SSE3", "SSSE3", "AVX", "AVX2", "FMA", "F16C", "BMI2", "OPENMP"})
PI5 = frozenset({"fp", "asimd", "asimddp", "asimdhp"})
PI5_BUILD = frozenset({"NEON", "ARM_FMA", "DOTPROD", "FP16_VA"})


def found(
    flags: frozenset[str],
    instructions: frozenset[str],
    *,
    devices: tuple[str, ...] = ("CPU",),
    system: str = "linux",
) -> list[tuple[str, bool, str]]:
    section = software.build(Build("1.0 abc", flags, devices, rpc=True), instructions, system)
    return [(one.level, one.fatal, one.text) for one in section.findings]


@pytest.mark.parametrize(("flags", "offered"), [(X86_BUILD, X86), (PI5_BUILD, PI5)])
def test_a_build_that_fits(flags: frozenset[str], offered: frozenset[str]) -> None:
    assert [level for level, _, _ in found(flags, offered)] == ["ok"]


def test_a_build_for_a_better_processor_will_not_work() -> None:
    ((level, fatal, text),) = found(X86_BUILD | {"AVX512"}, X86)
    assert (level, fatal) == ("warning", True)
    assert "AVX512" in text


@pytest.mark.parametrize(
    ("flags", "offered", "level", "named"),
    [
        (X86_BUILD - {"AVX2"}, X86, "warning", "AVX2"),
        (PI5_BUILD - {"DOTPROD"}, PI5, "warning", "DOTPROD"),
        (X86_BUILD, X86 | {"avx512f"}, "note", "AVX512"),
        (X86_BUILD, X86 | {"amx_int8"}, "note", "AMX"),
    ],
)
def test_what_the_build_leaves_unused(
    flags: frozenset[str], offered: frozenset[str], level: str, named: str
) -> None:
    ((said, fatal, text),) = found(flags, offered)
    assert (said, fatal) == (level, False)
    assert named in text


def test_a_mac_without_metal() -> None:
    assert found(PI5_BUILD, frozenset(), devices=("CPU",), system="darwin")[0][0] == "warning"
    assert found(PI5_BUILD, frozenset(), devices=("MTL", "CPU"), system="darwin") == []


def test_a_system_that_tells_no_instructions_is_not_judged() -> None:
    assert found(X86_BUILD, frozenset()) == []


def test_the_command_that_rebuilds_names_the_version_that_fits() -> None:
    assert "llama-cpp-python==0." in software.rebuild()


def test_what_llama_cpp_says_of_itself() -> None:
    told = "MTL : EMBED_LIBRARY = 1 | CPU : NEON = 1 | SVE = 0 | SVE_CNT = 16 | REPACK = 1 | "
    assert parse_system_info(told) == (
        frozenset({"EMBED_LIBRARY", "NEON", "SVE_CNT", "REPACK"}),
        ("MTL", "CPU"),
    )
    assert parse_system_info("") == (frozenset(), ())
    linked = linked_build()
    assert "CPU" in linked.devices
    assert linked.version


def test_versions() -> None:
    section = software.versions(lambda name: "1.2.3", lambda name: ["llama-cpp-python==1.2.3"])
    assert {fact.name for fact in section.facts} >= {"Python", "system", "mistral-small-edge"}
    assert section.findings == ()


@pytest.mark.parametrize("installed", ["0.3.35", None])
def test_bindings_that_do_not_fit(installed: str | None) -> None:
    def version(name: str) -> str:
        if name == software.BINDINGS and installed is None:
            raise PackageNotFoundError(name)
        return installed or "1.0"

    (finding,) = software.versions(version, lambda name: ["llama-cpp-python==0.3.36"]).findings
    assert finding.level == "warning"
    assert finding.fatal is (installed is None)
    assert finding.advice == "pip install llama-cpp-python==0.3.36"
