"""Pictures written into an address: `data:image/png;base64,…`.

Reads the address and nothing of the picture; what the bytes are is for `decode.py` to find out,
whatever the address calls them.
"""

from __future__ import annotations

import base64
import binascii

from mistral_small_edge.errors import UnsupportedImage, readable_size
from mistral_small_edge.images.limits import MAX_BYTES

_URL_SAFE = str.maketrans("-_", "+/")


def data_uri_bytes(uri: str, param: str) -> bytes:
    """The bytes that a data URI holds, in base64 of either alphabet; line breaks do not matter.

    Raises:
        UnsupportedImage: it is no such URI, holds another kind of thing or more than MAX_BYTES.
    """
    header, comma, payload = uri.partition(",")
    scheme, _, described = header.partition(":")
    if scheme.strip().lower() != "data" or not comma:
        raise UnsupportedImage("the address is not a data URI: data:image/…;base64,…", param)
    media_type, *parameters = (part.strip().lower() for part in described.split(";"))
    if not media_type.startswith("image/"):
        holds = media_type[:60] or "text/plain"
        raise UnsupportedImage(f"the data URI says that it holds {holds}, not an image", param)
    if not parameters or parameters[-1] != "base64":
        raise UnsupportedImage("the data URI is percent-encoded, not base64", param)
    return _decoded("".join(payload.split()), param)


def _decoded(payload: str, param: str) -> bytes:
    if len(payload) // 4 * 3 - 2 > MAX_BYTES:  # up to two bytes are padding
        raise UnsupportedImage(
            f"the data URI holds more than {readable_size(MAX_BYTES)}, the most that is read", param
        )
    try:
        return base64.b64decode(payload.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        raise UnsupportedImage("the data URI's base64 is malformed", param) from None
