"""Trains, exports, evaluates and describes the toy: `python -m scripts.toy`."""

from __future__ import annotations

import argparse
import logging
from functools import cache
from pathlib import Path

from scripts.toy.card import card
from scripts.toy.encoding import Encoder
from scripts.toy.evaluation import by_task, evaluate, save
from scripts.toy.export import write_model, write_projector
from scripts.toy.recipe import trained
from scripts.toy.runtime import loaded
from scripts.toy.tekken import Tekken

_ROOT = Path(__file__).parent.parent.parent
_MODEL = "mistral-small-edge-toy-f16.gguf"
_PROJECTOR = "mmproj-mistral-small-edge-toy-f16.gguf"

_log = logging.getLogger("scripts.toy")


def main() -> None:
    """Every stage, in order; those of training only if `--work` does not hold them yet."""
    options = _options()
    logging.basicConfig(format="%(asctime)s %(message)s")
    _log.setLevel(logging.INFO)
    options.work.mkdir(parents=True, exist_ok=True)
    options.into.mkdir(parents=True, exist_ok=True)
    network = trained(options.work, _encoder(options.work))
    files = options.into / _MODEL, options.into / _PROJECTOR
    write_model(network, files[0])
    write_projector(network, files[1])
    with loaded(*files) as runtime:
        scores = evaluate(runtime)
    save(scores, options.work / "scores.json")
    for task, ratio in by_task(scores).items():
        _log.info("%s: %.3f", task, ratio)
    (options.into / "README.md").write_text(card(network, files, scores), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/train_toy", description=__doc__)
    parser.add_argument(
        "--work",
        type=Path,
        default=_ROOT / "build" / "toy",
        help="directory of finished stages, from which a later run goes on (build/toy)",
    )
    parser.add_argument(
        "--into",
        type=Path,
        default=_ROOT / "models" / "toy",
        help="directory of the two files and the card (models/toy)",
    )
    return parser.parse_args()


def _encoder(work: Path) -> Encoder:
    """By the original tokenizer: the training needs no file of ours."""
    tokenizer = Tekken().oracle(work).instruct_tokenizer.tokenizer
    return Encoder(cache(lambda text: tokenizer.encode(text, bos=False, eos=False)))


if __name__ == "__main__":
    main()
