"""A published model's dimensions: what its file's header will say, for plans made before it is here.

They are named as in the header (`gguf/`), which decides as soon as there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.store.tables import nothing_left, take, take_positive

if TYPE_CHECKING:
    from mistral_small_edge.store.tables import Table

_MATRICES = 3  # of a feed-forward block: gate, up, down


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A language model's; `tied_embedding`: what looks words up is also the output."""

    block_count: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    value_length: int
    vocab_size: int
    context_length: int
    tied_embedding: bool = False

    @property
    def parameters(self) -> int:
        """Weights in all matrices; the norms, some thousand a layer, are left out."""
        return self.block_count * self._layer + self._embedding * (1 if self.tied_embedding else 2)

    @property
    def computed_share(self) -> float:
        """Of all weights, those that every token is multiplied by."""
        looked_up = 0 if self.tied_embedding else self._embedding
        return 1 - looked_up / self.parameters

    @property
    def layer_share(self) -> float:
        """Of all weights, those of one layer."""
        return self._layer / self.parameters

    @property
    def _layer(self) -> int:
        heads = self.head_count * (self.key_length + self.value_length)
        heads_kv = self.head_count_kv * (self.key_length + self.value_length)
        return (heads + heads_kv + _MATRICES * self.feed_forward_length) * self.embedding_length

    @property
    def _embedding(self) -> int:
        return self.vocab_size * self.embedding_length


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorShape:
    """A projector's."""

    projection_dim: int
    block_count: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    image_size: int
    patch_size: int
    spatial_merge_size: int


def model_shape(table: Table) -> ModelShape:
    """Read `[model.shape]`.

    Raises:
        ValueError: a dimension is missing, no positive number, or one that nobody knows.
    """
    shape = ModelShape(
        block_count=take_positive(table, "block_count"),
        embedding_length=take_positive(table, "embedding_length"),
        feed_forward_length=take_positive(table, "feed_forward_length"),
        head_count=take_positive(table, "head_count"),
        head_count_kv=take_positive(table, "head_count_kv"),
        key_length=take_positive(table, "key_length"),
        value_length=take_positive(table, "value_length"),
        vocab_size=take_positive(table, "vocab_size"),
        context_length=take_positive(table, "context_length"),
        tied_embedding=take(table, "tied_embedding", bool) if "tied_embedding" in table else False,
    )
    nothing_left(table)
    return shape


def projector_shape(table: Table) -> ProjectorShape:
    """Read `[model.projector.shape]`.

    Raises:
        ValueError: as `model_shape`.
    """
    shape = ProjectorShape(
        projection_dim=take_positive(table, "projection_dim"),
        block_count=take_positive(table, "block_count"),
        embedding_length=take_positive(table, "embedding_length"),
        feed_forward_length=take_positive(table, "feed_forward_length"),
        head_count=take_positive(table, "head_count"),
        image_size=take_positive(table, "image_size"),
        patch_size=take_positive(table, "patch_size"),
        spatial_merge_size=take_positive(table, "spatial_merge_size"),
    )
    nothing_left(table)
    return shape
