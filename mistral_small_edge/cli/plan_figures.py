"""What `plan` has found: every build in every way that is left open, as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from mistral_small_edge.advice import Outlook, Setting, judge
from mistral_small_edge.cli import console
from mistral_small_edge.errors import readable_size
from mistral_small_edge.host import choose_threads
from mistral_small_edge.machines import PRESETS

if TYPE_CHECKING:
    from mistral_small_edge.advice import Recommendation, Wish
    from mistral_small_edge.cli.planning import Build, Choice
    from mistral_small_edge.machines import Machine

CONTEXTS = (4096, 8192, 32768, 131072)  # tokens, where none is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The builds on one machine.

    Attributes:
        wanted: the way to run a build that nothing is given up for.
        ways: all that are left open.
        least: the build and the way that are content with the least memory.
        take: the build to take, and how; None if nothing can be run.
        take_if_alone: the same if no other program ran.
    """

    choice: Choice
    machine: Machine
    wanted: Setting
    ways: tuple[Setting, ...]
    least: Outlook
    take: Recommendation | None
    take_if_alone: Recommendation | None

    @classmethod
    def of(cls, choice: Choice, machine: Machine, wish: Wish) -> Self:
        """Ask for advice.

        Raises:
            InvalidRequest: the model cannot do what is wished.
        """
        header, sight = choice.builds[0].candidate.header, choice.sight
        acceptable = wish.settings(header, sight)
        outlooks = (
            judge(build.candidate, way, machine, sight)
            for build in choice.builds
            for way in acceptable
        )
        return cls(
            choice=choice,
            machine=machine,
            wanted=acceptable[0],
            ways=tuple(wish.settings(header, sight, CONTEXTS)),
            least=min(outlooks, key=lambda each: each.memory.total),
            take=choice.recommend(machine, wish),
            take_if_alone=choice.recommend(machine.emptied(), wish),
        )

    @property
    def builds(self) -> list[Build]:
        """The smallest first."""
        return sorted(self.choice.builds, key=lambda build: build.size)

    def judge(self, build: Build, way: Setting) -> Outlook:
        """What is to be expected of it."""
        return judge(build.candidate, way, self.machine, self.choice.sight)

    def show_all(self) -> None:
        """One line for each build and way."""
        parts = [purpose for purpose, _ in self._fullest().memory.parts]
        split = ("layers",) if self.machine.lent else ()
        columns = (
            "build",
            "context",
            "KV",
            "pictures",
            *parts,
            "in all",
            *split,
            "tok/s",
            "verdict",
        )
        rows = [
            _row(self.judge(build, way), parts, split) for build in self.builds for way in self.ways
        ]
        console.write_table(columns, rows)

    def as_json(self) -> dict[str, object]:
        """Every figure, in bytes, tokens and tokens a second; null is not known."""
        return {
            "machine": machine_object(self.machine),
            "builds": [self._build_object(build) for build in self.builds],
            "recommendation": _recommendation_object(self.take),
            "recommendation_if_alone": _recommendation_object(self.take_if_alone),
        }

    def _fullest(self) -> Outlook:
        """One that has every part."""
        outlooks = [self.judge(self.builds[0], way) for way in self.ways]
        return max(outlooks, key=lambda each: len(each.memory.parts))

    def _build_object(self, build: Build) -> dict[str, object]:
        return {
            "name": build.candidate.name,
            "size": build.size,
            "size_is_approximate": build.approximate,
            "on_this_disk": build.here,
            "plans": [_outlook_object(self.judge(build, way)) for way in self.ways],
        }


def show_presets(*, as_json: bool) -> None:
    """The machines that have a name."""
    if as_json:
        console.write_json([_preset_object(name) for name in PRESETS])
        return
    table = [
        (
            name,
            board.title,
            f"{gib} GB",
            readable_size(board.system),
            f"{board.bandwidth / 1e9:.1f} GB/s",
            board.source,
        )
        for name, (board, gib) in PRESETS.items()
    ]
    columns = ("name", "machine", "memory", "its system takes", "reading at most", "by")
    console.write_table(columns, table)


def _preset_object(name: str) -> dict[str, object]:
    board, gib = PRESETS[name]
    return {
        "name": name,
        "title": board.title,
        "memory_gib": gib,
        "system_bytes": board.system,
        "cores": board.cores,
        "memory_bytes_per_second": board.bandwidth,
        "memory_bytes_per_second_source": board.source,
        "metal": board.metal,
    }


def tokens(count: int) -> str:
    """`8k` where it is whole thousands, as people say it."""
    return f"{count // 1024}k" if count and not count % 1024 else str(count)


def rate(outlook: Outlook) -> str:
    """Tokens a second, to what can be told apart."""
    if outlook.rate is None:
        return "?"
    return f"{outlook.rate:.0f}" if outlook.rate >= 20 else f"{outlook.rate:.1f}"


def _row(outlook: Outlook, parts: list[str], split: tuple[str, ...]) -> tuple[str, ...]:
    way, sizes = outlook.setting, dict(outlook.memory.parts)
    return (
        outlook.candidate.name,
        tokens(way.context_length),
        way.kv_type,
        "yes" if way.vision else "no",
        *(readable_size(sizes[part]) if part in sizes else "" for part in parts),
        readable_size(outlook.memory.total),
        *((" ".join(str(share.layers) for share in outlook.shares),) if split else ()),
        rate(outlook),
        f"{outlook.verdict}, {outlook.reason}",
    )


def machine_object(machine: Machine) -> dict[str, object]:
    """Sizes in bytes."""
    host = machine.host
    return {
        "name": machine.name,
        "title": machine.title,
        "memory": host.total_memory,
        "memory_available": host.available_memory,
        "memory_limit": machine.memory_limit,
        "swap_free": machine.swap,
        "disk": None if machine.disk is None else str(machine.disk),
        "disk_free": machine.free_disk,
        "logical_cpus": host.logical_cpus,
        "usable_cpus": host.usable_cpus,
        "cpu_quota": host.cpu_quota,
        "threads": choose_threads(host),
        "memory_bytes_per_second": machine.bandwidth,
        "memory_bytes_per_second_source": machine.bandwidth_source,
        "metal": machine.metal,
        "workers": [
            {"address": str(one.address), "memory": one.total, "memory_available": one.free}
            for one in machine.lent
        ],
    }


def _recommendation_object(found: Recommendation | None) -> dict[str, object] | None:
    if found is None:
        return None
    name = found.outlook.candidate.name
    return {"build": name, "reason": found.reason, **_outlook_object(found.outlook)}


def _outlook_object(outlook: Outlook) -> dict[str, object]:
    way, memory = outlook.setting, outlook.memory
    return {
        "context_length": way.context_length,
        "kv_type": way.kv_type,
        "vision": way.vision,
        "verdict": outlook.verdict,
        "verdict_reason": outlook.reason,
        "memory": memory.total,
        "memory_parts": dict(memory.parts),
        "memory_left": outlook.spare,
        "shares": [
            {
                "machine": share.name,
                "layers": share.layers,
                "memory": share.taken,
                "memory_left": share.spare,
            }
            for share in outlook.shares
        ],
        "tokens_per_second_at_most": outlook.rate,
    }
