"""Writes files of the true model's shape with random weights, as `python -m scripts.synthesize`.

Where the real ones cannot be had, these take the same time and the same memory: neither depends
on the values. A seed gives the same bytes. What such a file says is noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.synthetic.projector import ProjectorShape, write_projector
from scripts.synthetic.quants import QUANTS, file_type
from scripts.synthetic.text import TextShape, write_text_model
from scripts.synthetic.whole_file import Refused, whole_file


def main(arguments: list[str] | None = None) -> None:
    """Write what the command line asks for; what cannot be written is one sentence and exit 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _check(options)
        with whole_file(options.file) as part:
            options.write(part, options)
    except Refused as refusal:
        parser.exit(2, f"{parser.prog}: {refusal}\n")
    except OSError as error:
        reason = error.strerror or error
        parser.exit(2, f"{parser.prog}: {options.file} cannot be written: {reason}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: stopped, nothing is written\n")


def _check(options: argparse.Namespace) -> None:
    for name, least in (("layers", 1), ("projection_dim", 1), ("seed", 0)):
        value = getattr(options, name, least)
        if value < least:
            raise Refused(f"--{name.replace('_', '-')} {value} is less than {least}")


def _write_text_model(path: Path, options: argparse.Namespace) -> None:
    shape = TextShape(layers=options.layers)
    write_text_model(path, shape, file_type(options.quant), options.seed)


def _write_projector(path: Path, options: argparse.Namespace) -> None:
    shape = ProjectorShape(projection_dim=options.projection_dim, layers=options.layers)
    write_projector(path, shape, options.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/synthesize", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    text = what.add_parser("text", help="Mistral Small 3.2's language model, 14.33 GB as Q4_K_M")
    text.set_defaults(write=_write_text_model)
    text.add_argument("file", type=Path, help="the file to write")
    text.add_argument(
        "--quant",
        default="Q4_K_M",
        help=f"the types its matrices have in a published file (%(default)s): {', '.join(QUANTS)}",
    )
    _add_layers_and_seed(text, TextShape().layers, "all with the same weights; fewer is smaller")
    projector = what.add_parser("projector", help="Mistral Small 3.2's projector, 878 MB")
    projector.set_defaults(write=_write_projector)
    projector.add_argument("file", type=Path, help="the file to write")
    true = ProjectorShape()
    projector.add_argument(
        "--projection-dim",
        type=int,
        default=true.projection_dim,
        help="width of the language model that it is for (%(default)s)",
    )
    _add_layers_and_seed(projector, true.layers, "of the vision tower")
    return parser


def _add_layers_and_seed(parser: argparse.ArgumentParser, layers: int, help_: str) -> None:
    parser.add_argument("--layers", type=int, default=layers, help=f"{help_} (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (%(default)s)")


if __name__ == "__main__":
    main()
