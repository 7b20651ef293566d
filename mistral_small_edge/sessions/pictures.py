"""The pictures that sessions show: each once, as the model saw it, called by its digest.

Lossless, and checked when they come back: a conversation whose pictures differed by a bit would be
another prompt. Knows no sessions; whoever writes down that a picture was shown holds the folder
meanwhile, so that nobody takes it for one that no session shows.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mistral_small_edge.errors import SessionDamaged, UnsupportedImage
from mistral_small_edge.sessions.aside import PARTIAL, write_aside

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from mistral_small_edge.images import Image

_SUFFIX = ".png"


class Pictures:
    """PNG files in `folder`, which is made when the first one comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Where the picture of that digest is, if it is."""
        return self._folder / (digest + _SUFFIX)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While a session comes to show pictures: none is taken away."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While it is found out which pictures are shown: none comes."""
        with self._locked(fcntl.LOCK_EX):
            yield

    def keep(self, image: Image) -> None:
        """Have the picture on disk.

        Raises:
            OSError: the disk does not take it.
        """
        from mistral_small_edge.images.encode import png_bytes

        path = self.path(image.digest)
        if not path.exists():
            write_aside(path, png_bytes(image), replace=True)

    def open(self, digest: str) -> Image:
        """The picture, pixel for pixel as it was kept.

        Raises:
            SessionDamaged: it is gone, or is another one.
        """
        from mistral_small_edge.images.decode import open_image

        path = self.path(digest)
        try:
            image = open_image(path, name="it", as_stored=True, param="session").image
        except UnsupportedImage as error:
            raise SessionDamaged(path, None, f"the session shows a picture, and {error}") from error
        if image.digest != digest:
            raise SessionDamaged(path, None, "it is not the picture that the session shows")
        return image

    def remove_all_but(self, shown: Collection[str]) -> None:
        """Remove what no session shows, and what somebody was killed at.

        Raises:
            OSError: one does not let itself be removed.
        """
        for path in self._folder.iterdir():
            if path.suffix in (_SUFFIX, PARTIAL) and path.stem not in shown:
                path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)
