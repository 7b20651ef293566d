"""One build, and one way to run it, out of all that a machine can do.

What fits goes before what is tight, a build that is not coarse before one that is, and then as little
as possible is given up of what was asked. Of the builds that can do the same it is the usual one, the
next smaller one where that does not fit, or a larger one where it still writes fluently; a build is
not given up for exact numbers in the KV cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, product
from typing import TYPE_CHECKING

from mistral_small_edge.advice.outlook import Setting, judge
from mistral_small_edge.config import DEFAULT_CONTEXT_LENGTH, MIN_CONTEXT_LENGTH
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.memory import can_quantize_kv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.advice.outlook import Candidate, Outlook, Sight, Verdict
    from mistral_small_edge.config import KVType
    from mistral_small_edge.gguf import ModelHeader
    from mistral_small_edge.machines import Machine

FLUENT_RATE = 10.0  # tokens a second, twice what people read: beyond it exactness is worth more
COARSE_SHARE = 0.75  # of the usual build's size; what is smaller makes noticeably more mistakes

_CONTEXTS = (DEFAULT_CONTEXT_LENGTH, 4096)  # tokens; with less there is little to talk about
_KV_TYPES: tuple[KVType, ...] = ("f16", "q8_0")
_VERDICTS: tuple[Verdict, ...] = ("fits", "tight")
_VERBS: dict[Verdict, str] = {"fits": "fits", "tight": "is tight"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a build is to be run with; None leaves it open."""

    context_length: int | None = None
    kv_type: KVType | None = None
    vision: bool | None = None

    def settings(
        self, header: ModelHeader, sight: Sight | None, contexts: Sequence[int] = _CONTEXTS
    ) -> list[Setting]:
        """Every way that is left open, the most wanted one first.

        Given up are the KV cache's exact numbers first, then pictures, then `contexts` by their
        order, as far as the model was trained on them.

        Raises:
            InvalidRequest: the model cannot do what is asked.
        """
        each = product(self._contexts(header, contexts), self._visions(sight), self._kinds(header))
        return [Setting(tokens, kind, vision) for tokens, vision, kind in each]

    def _contexts(self, header: ModelHeader, usual: Sequence[int]) -> tuple[int, ...]:
        trained = header.context_length
        if self.context_length is None:
            return tuple(dict.fromkeys(min(tokens, trained) for tokens in usual))
        if self.context_length < MIN_CONTEXT_LENGTH:
            raise InvalidRequest(
                f"context_length is {self.context_length}; it must be at least {MIN_CONTEXT_LENGTH}",
                "context_length",
            )
        if self.context_length > trained:
            raise InvalidRequest(
                f"context_length is {self.context_length}; the model was trained on {trained}",
                "context_length",
            )
        return (self.context_length,)

    def _visions(self, sight: Sight | None) -> tuple[bool, ...]:
        if sight is None and self.vision:
            raise InvalidRequest(
                "vision is asked for, and no projector is known for this model", "vision"
            )
        if self.vision is not None:
            return (self.vision,)
        return (False,) if sight is None else (True, False)

    def _kinds(self, header: ModelHeader) -> tuple[KVType, ...]:
        if self.kv_type is not None:
            return (self.kv_type,)
        return _KV_TYPES if can_quantize_kv(header) else ("f16",)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One outlook, which fits or is tight, and why this one."""

    outlook: Outlook
    reason: str


def recommend(
    candidates: Sequence[Candidate], machine: Machine, sight: Sight | None, wish: Wish
) -> Recommendation | None:
    """The best of `candidates` (builds of one model, the usual one first); None if none can be run.

    Raises:
        InvalidRequest: the model cannot do what is asked.
    """
    usual, ways = candidates[0], wish.settings(candidates[0].header, sight)
    coarse = [each for each in candidates if _is_coarse(each, usual)]
    others = [each for each in candidates if each not in coarse]
    for verdict, group, alike in product(_VERDICTS, (others, coarse), _alike(ways)):
        outlooks = [judge(each, way, machine, sight) for way in alike for each in group]
        found = _best([each for each in outlooks if each.verdict == verdict], usual)
        if found is not None:
            way = found.setting
            other = judge(usual, way, machine, sight) if len(candidates) > 1 else None
            return Recommendation(found, _because(found, other, _given_up(way, ways[0])))
    return None


def _alike(ways: Sequence[Setting]) -> list[list[Setting]]:
    """Ways that differ in the KV cache's numbers only, which an answer hardly feels."""
    return [list(group) for _, group in groupby(ways, lambda way: (way.context_length, way.vision))]


def _given_up(way: Setting, wanted: Setting) -> tuple[str, ...]:
    """What `way` lacks of what was wanted."""
    lacks = (
        (way.kv_type != wanted.kv_type, f"the KV cache is {way.kv_type}"),
        (way.vision != wanted.vision, "it sees no pictures"),
        (
            way.context_length != wanted.context_length,
            f"the context is {way.context_length:,} tokens",
        ),
    )
    return tuple(words for lacking, words in lacks if lacking)


def _is_coarse(candidate: Candidate, usual: Candidate) -> bool:
    return _size(candidate) < COARSE_SHARE * _size(usual)


def _best(outlooks: Sequence[Outlook], usual: Candidate) -> Outlook | None:
    """The largest up to the usual one's size, or above it if it writes fluently; the first of equals."""
    limit = _size(usual)
    worth = [
        each
        for each in outlooks
        if _size(each.candidate) <= limit or (each.rate is not None and each.rate >= FLUENT_RATE)
    ]
    if worth:
        return max(worth, key=lambda each: _size(each.candidate))
    return min(outlooks, key=lambda each: _size(each.candidate), default=None)


def _because(found: Outlook, usual: Outlook | None, lacks: Sequence[str]) -> str:
    """Goes on from the build's name; `usual` is the usual one's outlook, run the same way."""
    room = f"it {_VERBS[found.verdict]} and {found.reason}"
    if usual is None:
        why = room
    elif found.candidate == usual.candidate:
        why = f"the usual build; {room}"
    elif usual.verdict == found.verdict:
        name = usual.candidate.name
        why = f"more exact than the usual {name}, and memory is fast enough for it; {room}"
    else:
        why = f"{room}, while the usual {usual.candidate.name} {usual.reason}"
    return why + (f"; for that {', '.join(lacks)}" if lacks else "")


def _size(candidate: Candidate) -> int:
    return candidate.header.parameter_bytes
