"""The toy's network: transformers' own Mistral 3 classes at a small size.

The forward pass here is theirs, batched over pictures of one size: their vision tower lays a batch
out as one long sequence, which costs the square of its length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
)

from scripts.toy.tekken import TOY_SIZE

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_TOKEN = 10
PAD_TOKEN = 11
CONTEXT = 131_072


def config(*, width: int = 128, layers: int = 4, vision_width: int = 96) -> Mistral3Config:
    """The dimensions: everything that is not small is as in Mistral Small 3.2."""
    text = MistralConfig(
        vocab_size=TOY_SIZE,
        hidden_size=width,
        intermediate_size=width * 5 // 2,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e9},
        max_position_embeddings=CONTEXT,
        sliding_window=None,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=PAD_TOKEN,
    )
    vision = PixtralVisionConfig(
        hidden_size=vision_width,
        intermediate_size=2 * vision_width,
        num_hidden_layers=3,
        num_attention_heads=3,
        patch_size=14,
        image_size=1540,
        hidden_act="silu",
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )
    return Mistral3Config(
        text_config=text,
        vision_config=vision,
        image_token_index=IMAGE_TOKEN,
        projector_hidden_act="gelu",
        multimodal_projector_bias=False,
        spatial_merge_size=2,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )


def new_model(seed: int, **dimensions: int) -> Mistral3ForConditionalGeneration:
    """An untrained network; the same seed gives the same weights."""
    torch.manual_seed(seed)
    model = Mistral3ForConditionalGeneration(config(**dimensions))
    # An id that is attended to is then an id that is said: copying begins with this, or late.
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.language_model.embed_tokens.weight)
    return model


def image_features(model: Mistral3ForConditionalGeneration, pixels: Tensor) -> Tensor:
    """What the language model is given for pictures.

    Args:
        pixels: (pictures, 3, height, width), normalised; sides are multiples of 28.

    Returns:
        (pictures, cells, hidden), cells in rows from the top.
    """
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    patches = tower.patch_conv(pixels)
    _, depth, rows, columns = patches.shape
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    hidden = tower.ln_pre(patches.flatten(2).transpose(1, 2))
    positions = torch.stack([down.flatten(), across.flatten()], dim=-1)
    rotary = tower.patch_positional_embedding(hidden, positions)
    for layer in tower.transformer.layers:
        hidden = layer(hidden, attention_mask=None, position_embeddings=rotary)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    grid = projector.norm(hidden).transpose(1, 2).reshape(-1, depth, rows, columns)
    merged = functional.unfold(grid, kernel_size=2, stride=2).transpose(1, 2)
    merged = projector.linear_1(projector.patch_merger.merging_layer(merged))
    features: Tensor = projector.linear_2(projector.act(merged))
    return features


def hidden_states(
    model: Mistral3ForConditionalGeneration, ids: Tensor, pixels: Tensor | None
) -> Tensor:
    """(batch, length, hidden) before the output matrix; pads stand at the right and see nothing."""
    embedded = model.model.language_model.embed_tokens(ids)
    if pixels is not None:
        features = image_features(model, pixels).reshape(-1, embedded.shape[-1])
        embedded = embedded.masked_scatter((ids == IMAGE_TOKEN).unsqueeze(-1), features)
    states: Tensor = model.model.language_model(
        inputs_embeds=embedded, use_cache=False
    ).last_hidden_state
    return states
