"""The stages of training: from a seed always the same, and kept for a later run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="the extra `toy` is not installed")
pytest.importorskip("transformers", reason="the extra `toy` is not installed")

from scripts.toy.copying import learn_copying  # noqa: E402
from scripts.toy.encoding import Encoder  # noqa: E402
from scripts.toy.network import new_model  # noqa: E402
from scripts.toy.recipe import STAGES, trained  # noqa: E402
from scripts.toy.training import learn_everything, learn_texts  # noqa: E402
from scripts.toy.vision_pretraining import pretrain  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Any encoding will do: what is learned does not matter here.
ENCODER = Encoder(lambda text: [1000 + byte for byte in text.encode()][:20])


def small() -> Any:
    return new_model(0, width=64, layers=1)


def eyes(model: Any, tell: Callable[..., None]) -> None:
    pretrain(model, steps=2, seed=1, on_step=tell)


def copying(model: Any, tell: Callable[..., None]) -> None:
    learn_copying(model, steps=2, seed=1, on_step=tell)


def texts(model: Any, tell: Callable[..., None]) -> None:
    learn_texts(model, ENCODER, steps=2, seed=1, on_step=tell)


def everything(model: Any, tell: Callable[..., None]) -> None:
    learn_everything(model, ENCODER, steps=2, seed=1, on_step=tell)


@pytest.mark.parametrize("learn", [eyes, copying, texts, everything])
def test_the_same_seed_teaches_the_same(learn: Callable[..., None]) -> None:
    told: list[list[object]] = []
    models = []
    for _ in range(2):
        model, heard = small(), list[object]()
        learn(model, lambda *measured, heard=heard: heard.append(measured))
        models.append(model.state_dict())
        told.append(heard)
    assert told[0] == told[1]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    before = small().state_dict()
    assert any(not torch.equal(models[0][name], before[name]) for name in before)


def test_finished_stages_are_not_run_again(tmp_path: Path) -> None:
    kept = new_model(7).state_dict()
    for stage in STAGES:
        torch.save(kept, tmp_path / f"{stage.name}.pt")
    model = trained(tmp_path, ENCODER)
    assert all(torch.equal(model.state_dict()[name], kept[name]) for name in kept)
