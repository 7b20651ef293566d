"""HAProxy and nginx with the project's ready configurations, on ports of loopback.

What is tested and measured is the file that a user gets: addresses are put in their place, and who it
runs as is left out, as it need not be root here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection
from typing import TYPE_CHECKING

from scripts.beside.building import ROOT
from scripts.beside.errors import CompareFailed
from scripts.beside.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILES = {name: ROOT / "scripts" / "deploy" / f"{name}.{end}" for name, end in
         (("haproxy", "cfg"), ("nginx", "conf"))}  # fmt: skip
_REPLICAS = re.compile(r"(?:^ +server .*127\.0\.0\.1:808\d.*\n)+", re.MULTILINE)
_CLIENTS = "127.0.0.1:8080"
_RUNS_AS = re.compile(r"^ +(?:user|group) .*\n", re.MULTILINE)
_PATIENCE = 20.0  # seconds until it listens
_POLL = 0.01  # seconds
# What Debian's own nginx.conf is to a file in conf.d, as one process that anybody may run.
_NGINX = """daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {site};
}}
"""


def program(name: str) -> str | None:
    """Where it is; Debian keeps both where only root's PATH leads."""
    return shutil.which(
        name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    )


def placed(text: str, port: int, replicas: Sequence[int]) -> str:
    """A shipped configuration for a proxy at `port`, with a line for each replica's port."""

    def lines(found: re.Match[str]) -> str:
        first = found[0].splitlines(keepends=True)[0]
        return "".join(
            first.replace(" one ", f" at-{each} ").replace("127.0.0.1:8081", f"127.0.0.1:{each}")
            for each in replicas
        )

    return _RUNS_AS.sub("", _REPLICAS.sub(lines, text)).replace(_CLIENTS, f"127.0.0.1:{port}")


@contextmanager
def proxy(name: str, replicas: Sequence[int]) -> Iterator[int]:
    """The proxy's port, as long as the block lasts.

    Args:
        name: in FILES.
        replicas: ports.

    Raises:
        CompareFailed: it is not installed, or says that its configuration is wrong.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        words = command(name, Path(folder), port, replicas)
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        try:
            _wait(name, process, port)
            yield port
        except CompareFailed as failure:
            log.seek(0)
            failure.log = failure.log or log.read().decode("utf-8", "replace")
            raise
        finally:
            process.kill()
            process.wait()


def command(name: str, folder: Path, port: int, replicas: Sequence[int]) -> list[str]:
    """What runs it in the foreground; its configuration is written into `folder`.

    Raises:
        CompareFailed: it is not installed.
    """
    binary = program(name)
    if binary is None:
        raise CompareFailed(f"{name} is not installed")
    config = folder / FILES[name].name
    config.write_text(
        placed(FILES[name].read_text(encoding="utf-8"), port, replicas), encoding="utf-8"
    )
    if name == "haproxy":
        return [binary, "-db", "-f", str(config)]
    main = folder / "main.conf"
    main.write_text(_NGINX.format(folder=folder, site=config), encoding="utf-8")
    return [binary, "-p", str(folder), "-c", str(main), "-e", "stderr"]


def _wait(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.perf_counter() + _PATIENCE
    while True:
        try:
            create_connection(("127.0.0.1", port), timeout=_PATIENCE).close()
        except OSError:
            if process.poll() is not None:
                raise CompareFailed(f"{name} ended with {process.returncode}") from None
            if time.perf_counter() > deadline:
                raise CompareFailed(f"{name} was not there after {_PATIENCE:.0f} s") from None
            time.sleep(_POLL)
        else:
            return
