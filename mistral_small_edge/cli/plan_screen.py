"""`plan` at a glance: the machine, the builds, and one of them with the words to type.

As wide as a terminal of 100 columns.
"""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING

from mistral_small_edge.advice import SPARE_BYTES, largest_context
from mistral_small_edge.cli import console, failures
from mistral_small_edge.cli.plan_figures import rate, tokens
from mistral_small_edge.config import DEFAULT_CONTEXT_LENGTH, EngineConfig
from mistral_small_edge.errors import readable_size
from mistral_small_edge.host import choose_threads
from mistral_small_edge.machines import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_small_edge.advice import Outlook, Setting, Sight, Verdict
    from mistral_small_edge.cli.plan_figures import Figures
    from mistral_small_edge.cli.planning import Build
    from mistral_small_edge.config import KVType
    from mistral_small_edge.machines import Machine
    from mistral_small_edge.workers import Lent

WIDTH = 100  # columns
_USUAL = EngineConfig()
_NONE = "-"
_GOES_ON = " \\"  # a command in the next line
_WORKERS_A_LINE = 3
_CONTEXT = (
    "KV, pictures: tokens of the largest context that fits, with that KV cache or with pictures."
)
_RATE = (
    "tok/s: at most, as the weights and half of the context are read once for every token; answers "
    "come somewhat slower."
)
_MEANING: dict[Verdict, str] = {
    "tight": f"tight: less than {readable_size(SPARE_BYTES)} is left, and less than a tenth of what "
    "is free; other programs would push weights out of memory.",
    "no": "no: with --force it might start, and would read weights from the disk for every token.",
}
_SPLIT = (
    "Machines compute their layers one after the other: several hold more, and are no faster. Each is "
    "taken to read as fast as the first one, and to cost 1 ms a token, as over a wire of 1 Gbit/s."
)
_SPLIT_MEANING: dict[Verdict, str] = {
    "tight": f"tight: on one of the machines less than {readable_size(SPARE_BYTES)} is left, and less "
    "than a tenth of what is free.",
    "no": "no: weights are copied to workers, and one that has no room for them is ended by its system.",
}
_UNKNOWN = "how fast is not known; --bandwidth tells it"
_FORETOLD = "*: on this disk; the others are computed from the catalog's sizes."


def show(figures: Figures) -> None:
    """Print it on stdout."""
    console.write_table((figures.machine.name, ""), list(_machine(figures.machine)))
    console.write_line("")
    _show_builds(figures)
    for paragraph in (_legend(figures), *_advice(figures)):
        console.write_line("\n" + paragraph)
    if figures.take is not None and figures.machine.lent:
        console.write_line("")
        _show_split(figures.take.outlook)


def _machine(machine: Machine) -> Iterator[tuple[str, str]]:
    host, speed = machine.host, machine.bandwidth
    threads = choose_threads(host)
    accelerator = "Metal" if machine.metal else "no Metal"
    yield "processor", f"{machine.title}; {threads} threads would compute; {accelerator}"
    yield "memory", _memory(machine)
    known = "" if speed is None else f"{speed / 1e9:.1f} GB/s, {machine.bandwidth_source}"
    yield "reading it", known or _UNKNOWN
    if machine.free_disk is not None:
        yield "disk", f"{readable_size(machine.free_disk)} free for {machine.disk}"
    for one in machine.lent:
        yield (
            "worker",
            f"{one.address} lends {readable_size(one.free)} of {readable_size(one.total)}",
        )


def _memory(machine: Machine) -> str:
    total = readable_size(machine.host.total_memory)
    free = f"{readable_size(machine.host.available_memory)} free"
    if not machine.is_here:
        sold = f"{machine.host.total_memory / GIB:g} GB"
        return f"{sold} as it is sold, {total} by the byte; {free} beside its own programs"
    limit = "" if machine.memory_limit is None else ", all that its container grants"
    swap = f"; {readable_size(machine.swap)} of swap, not counted on" if machine.swap else ""
    return f"{total}{limit}; {free} now{swap}"


def _show_builds(figures: Figures) -> None:
    kinds = tuple(dict.fromkeys(way.kv_type for way in figures.ways))
    sees = any(way.vision for way in figures.ways)
    columns = (
        _names(figures.builds[0])[0],
        "size",
        *(f"{kind} KV" for kind in kinds),
        *(("pictures",) if sees else ()),
        "tok/s",
        f"{tokens(figures.wanted.context_length)}, {_way(figures.wanted)}",
    )
    rows = [_build(figures, build, kinds, sees=sees) for build in figures.builds]
    console.write_table(columns, rows)


def _build(
    figures: Figures, build: Build, kinds: Sequence[KVType], *, sees: bool
) -> tuple[str, ...]:
    candidate, machine, sight = build.candidate, figures.machine, figures.choice.sight
    outlook = figures.judge(build, figures.wanted)
    rooms = [largest_context(candidate, kind, machine) for kind in kinds]
    if sees:
        rooms.append(largest_context(candidate, figures.wanted.kv_type, machine, sight))
    return (
        _names(build)[1] + ("*" if build.here else ""),
        f"{'~' if build.approximate else ''}{readable_size(build.size)}",
        *(tokens(room) if room else _NONE for room in rooms),
        rate(outlook) if outlook.verdict != "no" else _NONE,
        f"{outlook.verdict}, {outlook.reason}",
    )


def _show_split(outlook: Outlook) -> None:
    """Which layers where."""
    way, begin = outlook.setting, 1
    rows = []
    for share in outlook.shares:
        end = begin + share.layers - 1
        layers = f"{begin} to {end}" if end > begin else str(begin) if share.layers else _NONE
        sizes = map(readable_size, (share.taken, share.free, share.spare))
        rows.append((share.name, layers, *sizes))
        begin = end + 1
    how = f"{outlook.candidate.header.quantization}, {tokens(way.context_length)}, {_way(way)}"
    console.write_table((how, "layers", "takes", "of", "leaves"), rows)


def _names(build: Build) -> tuple[str, str]:
    """The model's and the build's; a path or an address is known by its file."""
    name = build.candidate.name
    if "/" in name:
        return "file", name.rpartition("/")[2]
    model, _, quant = name.partition(":")
    return (model, quant) if quant else ("file", name)


def _way(way: Setting) -> str:
    return f"{way.kv_type}, {'with pictures' if way.vision else 'text only'}"


def _legend(figures: Figures) -> str:
    """What the columns mean, and how far to believe them."""
    builds = figures.builds
    verdicts = {figures.judge(build, figures.wanted).verdict for build in builds}
    meaning = _SPLIT_MEANING if figures.machine.lent else _MEANING
    said = [
        _CONTEXT,
        _RATE,
        *((_SPLIT,) if figures.machine.lent else ()),
        *(meaning[verdict] for verdict in ("tight", "no") if verdict in verdicts),
    ]
    if not all(build.here for build in builds):
        said.append(_FORETOLD)
    return "\n".join(map(_sentence, said))


def _advice(figures: Figures) -> Iterator[str]:
    """What to do, and what to type."""
    take, alone = figures.take, figures.take_if_alone
    if take is None:
        least = figures.least
        yield _sentence(
            f"None of them can be run: even {least.candidate.name} with "
            f"{tokens(least.setting.context_length)} context, {_way(least.setting)}, {least.reason}."
        )
    else:
        yield _sentence(f"Take {take.outlook.candidate.name}: {take.reason}.")
        yield "\n".join(
            f"  {line}"
            for line in _commands(take.outlook, figures.choice.sight, figures.machine.lent)
        )
    if alone is not None and (take is None or alone.outlook.candidate != take.outlook.candidate):
        yield _sentence(
            f"If no other program ran, it would be {alone.outlook.candidate.name}: {alone.reason}."
        )


def _commands(outlook: Outlook, sight: Sight | None, lent: Sequence[Lent]) -> Iterator[str]:
    """What to type next, and after that; a long command goes on in the next line."""
    candidate, way = outlook.candidate, outlook.setting
    blind = ["--no-vision"] if sight is not None and not way.vision else []
    unseen = sight.missing if sight is not None and way.vision else 0
    if candidate.missing or unseen:
        yield shlex.join((failures.PROGRAM, "download", candidate.name, *blind))
    options = [*blind]
    if way.kv_type != _USUAL.kv_type:
        options += ["--kv-type", way.kv_type]
    if way.context_length != min(DEFAULT_CONTEXT_LENGTH, candidate.header.context_length):
        options += ["--context", str(way.context_length)]
    command = shlex.join((failures.PROGRAM, "chat", "--model", candidate.name, *options))
    workers = [f"--worker {one.address}" for one in lent]
    rows = [workers[at : at + _WORKERS_A_LINE] for at in range(0, len(workers), _WORKERS_A_LINE)]
    yield f"{_GOES_ON}\n    ".join((command, *map(" ".join, rows)))


def _sentence(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)
