"""What a JSON schema may say that the grammar's compiler would take and not hold to the letter.

The compiler refuses by itself what it does not know. What it lets pass was looked for with the JSON
Schema Test Suite and by thinking of two spellings for one key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mistral_small_edge.errors import InvalidGrammar

Schema = Mapping[str, object] | bool

# Keys are compared as they are spelt, so none may have a second spelling. That leaves out the control
# characters that have no letter of their own.
ONE_SPELLING: Mapping[str, object] = {"json_allowed_escapes": r"nrbtf\""}
_UNSPELT = re.compile(r"[\x00-\x07\x0b\x0e-\x1f]")
_OPTIONS = "x-guidance"
_OF_SCHEMAS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")


def check_schema(schema: Schema, param: str) -> None:
    """Refuse what would not be enforced.

    Raises:
        InvalidGrammar: the text names the keyword.
    """
    if isinstance(schema, Mapping) and _OPTIONS in schema:
        raise InvalidGrammar(f"{_OPTIONS} would loosen the schema, and is not taken", param)
    if any(map(_UNSPELT.search, _strings(schema))):
        raise InvalidGrammar("the schema holds a control character, which is never written", param)
    for one in _subschemas(schema):
        least, required = one.get("minProperties"), one.get("required")
        named = len(required) if isinstance(required, list) else 0
        # The same key twice counts as two while it is written, and as one when it is read.
        if isinstance(least, int | float) and least > max(1, named):
            raise InvalidGrammar(
                f"minProperties is {least}; above 1 it cannot be enforced unless as many properties "
                "are required",
                param,
            )


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield key
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def _subschemas(schema: object) -> Iterator[Mapping[str, object]]:
    """The schema and every one inside it; not what stands where data stands (const, default)."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for keyword, value in schema.items():
        if keyword in _OF_SCHEMAS and isinstance(value, Mapping):
            inner = list(value.values())
        elif keyword not in ("const", "enum", "default", "examples"):
            inner = value if isinstance(value, list) else [value]
        else:
            continue
        for one in inner:
            yield from _subschemas(one)
