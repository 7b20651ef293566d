"""Files that are broken, lie or attack: refused in a sentence, and nothing of Pillow's gets out."""

from __future__ import annotations

import logging
import struct
import sys
import warnings
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from PIL import Image, ImageFile

from mistral_small_edge.errors import UnsupportedImage
from mistral_small_edge.images.decode import Opened, open_image
from mistral_small_edge.images.limits import MAX_BYTES
from tests.images.pictures import PICTURES, encoded, oriented, picture

UNDECODABLE = "x cannot be decoded; it is damaged, cut short or of a rare kind"
STILL = sorted(PICTURES.keys() - {"GIF animated", "PNG animated", "WEBP animated", "TIFF pages"})


def refusal(data: bytes | Path) -> str:
    with pytest.raises(UnsupportedImage) as caught:
        open_image(data, name="x", param="messages[0].content[1]")
    assert caught.value.param == "messages[0].content[1]"
    return str(caught.value)


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(width: int, height: int, *more: bytes) -> bytes:
    """A black one of one bit, of which only the first row is there."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    row = chunk(b"IDAT", zlib.compress(bytes(1 + (width + 7) // 8)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + row + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(100)


def webp(width: int, height: int) -> bytes:
    """A small one that says it is large."""
    data = bytearray(PICTURES["WEBP RGB"])
    at = data.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<I", data, at, (bits >> 28 << 28) | (height - 1 << 14) | (width - 1))
    return bytes(data)


def gif(width: int, height: int, frame: tuple[int, int, int, int]) -> bytes:
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", *frame, 0) + b"\x02\x02\x4c\x01\x00;"


def tiff(**tags: int) -> bytes:
    """Of 8 bits of gray, with the tags that are given in place of its own."""
    own = {"width": 8, "length": 8, "tile_width": 16, "tile_length": 16} | tags
    entries = [
        (256, own["width"]),
        (257, own["length"]),
        (258, 8),
        (259, 1),
        (262, 1),
        (277, 1),
        (322, own["tile_width"]),
        (323, own["tile_length"]),
        (324, 8),
        (325, 256),
    ]
    made = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + made + bytes(4 + 256)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x is empty"),
        (b"\0" * 100, "x is a file of an unknown kind, not one of PNG, JPEG, WEBP, GIF, BMP, TIFF"),
        (b"%PDF-1.7\n%\xe2\xe3", "x is a PDF document, not one of"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x is an SVG drawing, not one of"),
        (b'\xef\xbb\xbf\n<?xml version="1.0"?>\n<SVG/>', "x is an SVG drawing, not one of"),
        (b"<!-- a drawing --> <svg/>", "x is an SVG drawing, not one of"),
        (b"\n<!DOCTYPE html><html>", "x is a web page, not one of"),
        (b"<html><body><svg/></body></html>", "x is a web page, not one of"),
        (b"<?xml version='1.0'?><rss/>", "x is a file of an unknown kind"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "x is an AVIF picture, not one of"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "x is an AVIF picture, not one of"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "x is a video or sound file, not one of"),
        (b"\xff\x0a\xfa\x7f", "x is a JPEG XL picture, not one of"),
        (b"8BPS\0\1", "x is a Photoshop document, not one of"),
        (b"PK\x03\x04", "x is a ZIP archive, not one of"),
        (b'{"error": "not found"}', "x is a file of an unknown kind, not one of"),
        (b"\x89PNG\r\n\x1a\n", UNDECODABLE),
        (b"\xff\xd8\xff", UNDECODABLE),
        (b"\xff\xd8\xff\xd9", UNDECODABLE),
        (b"GIF89a", UNDECODABLE),
        (b"BMW", UNDECODABLE),
        (b"II*\0", UNDECODABLE),
        (b"MM\0*\0\0\0\x08", UNDECODABLE),
        (b"RIFF\0\0\0\0WEBP", UNDECODABLE),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


def test_heic_is_named_where_it_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert refusal(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").startswith("x is a HEIC picture, not")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(60_000, 60_000), "60000x60000"),
        (png(8_001, 8_000), "8001x8000"),
        (png(10_000, 10_000), "10000x10000"),  # of which Pillow would warn
        (bmp(60_000, 60_000), "60000x60000"),
        (bmp(60_000, -60_000), "60000x60000"),
        (gif(60_000, 60_000, (0, 0, 1, 1)), "60000x60000"),
        (gif(1, 1, (5_000, 4_000, 5_000, 6_000)), "10000x10000"),
        (webp(9_000, 9_000), "9000x9000"),
        (tiff(width=60_000, length=60_000), "60000x60000"),
        (tiff(tile_width=10_000, tile_length=10_000), "10000x10000"),
    ],
)
def test_a_picture_of_too_many_pixels_is_refused_from_its_header(data: bytes, size: str) -> None:
    assert refusal(data) == f"x is {size} pixels, and at most 64 million are looked at"


@pytest.mark.parametrize(
    "data",
    [
        png(65_536, 1),
        png(1, 65_536),
        png(2**31 - 1, 1),
        gif(9, 9, (65_535, 0, 1, 1)),
        bmp(2**30, 1),
    ],
)
def test_a_side_may_be_too_long(data: bytes) -> None:
    assert refusal(data).endswith(" pixels, and at most 65535 a side are looked at")


def test_a_frame_may_reach_out_of_its_screen() -> None:
    opened = open_image(gif(1, 1, (0, 0, 1, 1)), name="x", param="p")
    assert (opened.width, opened.height) == (1, 1)


def test_a_file_may_have_too_many_bytes(tmp_path: Path) -> None:
    message = "x is larger than 64.0 MB, the most that is read"
    assert refusal(b"\x89PNG\r\n\x1a\n" + bytes(MAX_BYTES)) == message
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES * 100)  # sparse
    assert refusal(tmp_path / "large") == message
    assert refusal(Path("/dev/zero")) == message


def test_a_path_may_lead_nowhere(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.png") == "x cannot be read: No such file or directory"
    assert refusal(tmp_path) == "x cannot be read: Is a directory"
    assert refusal(Path("a\0b")) == "x cannot be read: embedded null byte"
    assert refusal(tmp_path / ("a" * 300)) == "x cannot be read: File name too long"


def test_a_jpeg_may_not_go_over_its_pixels_for_ever() -> None:
    data = PICTURES["JPEG progressive"]
    last = data[data.rindex(b"\xff\xda") : -2]
    open_image(data[:-2] + last * 50 + data[-2:], name="x", param="p")
    assert (
        refusal(data[:-2] + last * 5000) == "x has more than 100 scans, the most that are decoded"
    )


def test_compressed_metadata_is_not_blown_up() -> None:
    """A text of 100 MB, in 100 kB."""
    squeezer = zlib.compressobj(9)
    bomb = b"".join(squeezer.compress(bytes(10**6)) for _ in range(100)) + squeezer.flush()
    assert refusal(png(8, 1, chunk(b"zTXt", b"a\0\0" + bomb))) == UNDECODABLE


@pytest.mark.parametrize("key", PICTURES)
def test_a_file_cut_short_is_whole_or_refused(key: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = PICTURES[key]
    for cut in range(1, 21):
        with suppress(UnsupportedImage):
            assert isinstance(
                open_image(data[: len(data) * cut // 21], name="x", param="p"), Opened
            )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("key", STILL)
def test_half_a_picture_is_refused(key: str) -> None:
    assert refusal(PICTURES[key][: len(PICTURES[key]) // 2])


@pytest.mark.parametrize("key", PICTURES)
def test_a_damaged_file_is_seen_or_refused(key: str, capfd: pytest.CaptureFixture[str]) -> None:
    random = Random(key)
    for _ in range(60):
        data = bytearray(PICTURES[key])
        reach = random.choice((len(data), min(len(data), 120)))
        for _ in range(random.choice((1, 2, 10, 100, 400))):
            data[random.randrange(reach)] = random.choice((0, 255, random.randrange(256)))
        with suppress(UnsupportedImage):
            assert isinstance(open_image(bytes(data), name="x", param="p"), Opened)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "start", [PICTURES[f"{kind} RGB"][:16] for kind in ("PNG", "JPEG", "TIFF")]
)
def test_garbage_behind_a_good_start_is_refused(start: bytes) -> None:
    random = Random(1)
    for _ in range(50):
        assert refusal(start + random.randbytes(1000))


def tiff_of_two_orientations() -> bytes:
    data = bytearray(encoded(picture("L"), "TIFF", exif=oriented(3)))
    data[data.index(struct.pack("<HHI", 0x0112, 3, 1)) + 4] = 2
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [png(8, 1, chunk(b"acTL", bytes(8))), tiff_of_two_orientations()],
    ids=["PNG", "TIFF"],
)
def test_what_pillow_warns_of_is_not_heard(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """An animation of no frames, and a tag of more values than it may have; both are looked at."""
    with (
        pytest.warns(UserWarning, match="APNG|too many entries"),
        Image.open(BytesIO(data)) as heard,
    ):
        heard.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(data, name="x", param="p").remarks == ()
    assert capfd.readouterr() == ("", "")


def test_what_pillow_logs_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    """Where nobody listens to logs, the last resort would write them to standard error."""
    data = bytearray(PICTURES["TIFF RGB"])
    at = data.index(struct.pack("<HHI", 277, 3, 1))
    data[at + 8 : at + 10] = b"\xff\xff"  # samples per pixel
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        assert refusal(bytes(data)) == UNDECODABLE
    finally:
        root.handlers = handlers
    assert capfd.readouterr() == ("", "")


def test_pillows_own_settings_stay_as_they_are() -> None:
    settings = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, set(Image.OPEN)
    for data in PICTURES.values():
        open_image(data, name="x", param="p")
    assert settings == (
        Image.MAX_IMAGE_PIXELS,
        ImageFile.LOAD_TRUNCATED_IMAGES,
        set(Image.OPEN),
    )
