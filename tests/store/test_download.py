"""Fetching from a hub that may fail in every way a network can."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.errors import (
    AccessDenied,
    ChecksumMismatch,
    DiskFull,
    HubUnreachable,
    InvalidRequest,
    NotCached,
    NotOnHub,
)
from mistral_small_edge.store import download, hub_cache
from mistral_small_edge.store.cache import look, survey
from mistral_small_edge.store.catalog import Catalog, resolve
from mistral_small_edge.store.checksums import Checksums
from mistral_small_edge.store.hub import Hub
from mistral_small_edge.store.source import HubFile, ModelSource
from tests.fake_hub import FakeHub, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mistral_small_edge.store.delivery import FetchProgress
    from mistral_small_edge.store.download import Fetched

REPOSITORY = "someone/model-GGUF"
NAME = "model-Q4_0.gguf"
SOURCE = Catalog.load().find(f"hf:{REPOSITORY}/{NAME}")
CONTENT = random.Random(1).randbytes(1_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add(REPOSITORY, NAME, CONTENT)
        yield hub


class Client:
    """A disk of its own, asking one hub; patience is short, and nobody waits between attempts."""

    def __init__(self, server: FakeHub, home: Path, *, timeout: float = 5) -> None:
        self.server = server
        self.cache = home / "hub"
        self.checksums = Checksums(home / "verified.json")
        self.timeout = timeout
        self.reports: list[FetchProgress] = []

    def fetch(
        self,
        source: ModelSource = SOURCE,
        *,
        to: Path | None = None,
        offline: bool = False,
        attempts: int = 2,
    ) -> Fetched:
        hub = Hub(
            endpoint=self.server.url,
            offline=offline,
            timeout=self.timeout,
            retry_delays=(0,) * (attempts - 1),
        )
        self.reports.clear()
        return download.fetch(
            source,
            hub,
            to=to,
            cache=self.cache,
            checksums=self.checksums,
            report=self.reports.append,
        )

    def begin(self, size: int, source: ModelSource = SOURCE) -> None:
        """Fetch the first `size` bytes, and be cut off."""
        self.server.go_wrong(Fault(cut_after=size), Fault(status=503))
        with pytest.raises(HubUnreachable):
            self.fetch(source, attempts=1)
        self.server.go_wrong()


@pytest.fixture
def client(server: FakeHub, tmp_path: Path) -> Client:
    return Client(server, tmp_path)


def files_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def test_a_fetched_file_is_whole_checked_and_in_the_shared_cache(
    server: FakeHub, client: Client
) -> None:
    fetched = client.fetch()
    assert fetched.file.path.read_bytes() == CONTENT
    assert (fetched.received, fetched.checked) == (len(CONTENT), "sha256")
    assert hub_cache.blob_of(fetched.file.path).name == SHA256
    assert client.checksums.verified(fetched.file.path) == SHA256
    assert resolve(SOURCE.name, cache=client.cache).path == fetched.file.path
    assert server.served == len(CONTENT)  # huggingface_hub made its link and fetched nothing


def test_what_is_in_the_cache_is_not_asked_for_again(server: FakeHub, client: Client) -> None:
    client.fetch()
    asked = len(server.asked)
    fetched = client.fetch()
    assert (fetched.received, fetched.checked) == (0, None)
    assert len(server.asked) == asked


def test_a_dropped_connection_is_made_again_where_it_was(server: FakeHub, client: Client) -> None:
    server.go_wrong(Fault(cut_after=400_000), Fault(cut_after=400_000))
    fetched = client.fetch()
    assert fetched.file.path.read_bytes() == CONTENT
    assert server.served == len(CONTENT)
    ranges = [request.headers.get("range") for request in server.bodies()]
    assert ranges == [None, "bytes=400000-", "bytes=800000-"]
    assert "retrying" in {report.phase for report in client.reports}


def test_a_later_run_goes_on_where_an_earlier_one_was(server: FakeHub, client: Client) -> None:
    client.begin(400_000)
    with pytest.raises(NotCached, match=r"only 400\.0 kB are on this disk"):
        resolve(SOURCE.name, cache=client.cache)
    fetched = client.fetch()
    assert fetched.file.path.read_bytes() == CONTENT
    assert fetched.received == len(CONTENT) - 400_000
    assert server.served == len(CONTENT)
    fetching = [report for report in client.reports if report.phase == "fetching"]
    assert {report.initial for report in fetching} == {400_000}
    assert fetching[0].done == 400_000
    assert fetching[-1].done == fetching[-1].total == len(CONTENT)


def test_a_run_killed_before_the_last_rename_fetches_nothing(
    server: FakeHub, client: Client
) -> None:
    directory = hub_cache.blobs_directory(REPOSITORY, client.cache)
    directory.mkdir(parents=True)
    (directory / hub_cache.unfinished_name(NAME, SHA256)).write_bytes(CONTENT)
    fetched = client.fetch()
    assert fetched.file.path.read_bytes() == CONTENT
    assert server.served == 0


def test_a_server_that_ignores_ranges_sends_it_all_again(server: FakeHub, client: Client) -> None:
    client.begin(400_000)
    server.go_wrong(Fault(ignores_range=True))
    fetched = client.fetch()
    assert fetched.file.path.read_bytes() == CONTENT
    assert fetched.received == len(CONTENT)


@pytest.mark.parametrize(
    "claim",
    [
        "bytes 0-1499999/1500000",
        "bytes 399999-1499999/1500000",
        "bytes 400000-1499999/1500001",
        "bytes 400000-1499998/1500000",
        "nonsense",
    ],
)
def test_a_range_that_was_not_asked_for_is_not_joined(
    server: FakeHub, client: Client, claim: str
) -> None:
    client.begin(400_000)
    server.stay_wrong(Fault(content_range=claim))
    fetched = client.fetch()
    assert fetched.file.path.read_bytes() == CONTENT
    assert [request.headers.get("range") for request in server.bodies()[-2:]] == [
        "bytes=400000-",
        None,
    ]


def test_too_much_on_the_disk_is_thrown_away(client: Client) -> None:
    directory = hub_cache.blobs_directory(REPOSITORY, client.cache)
    directory.mkdir(parents=True)
    (directory / hub_cache.unfinished_name(NAME, SHA256)).write_bytes(CONTENT + b"more")
    assert client.fetch().file.path.read_bytes() == CONTENT


def test_damage_is_found_set_aside_and_fetched_again(server: FakeHub, client: Client) -> None:
    server.go_wrong(Fault(flip_at=700_000))
    with pytest.raises(ChecksumMismatch) as caught:
        client.fetch()
    assert caught.value.expected == SHA256
    assert caught.value.path.name.endswith(".damaged")
    assert caught.value.path.stat().st_size == len(CONTENT)
    with pytest.raises(NotCached):
        resolve(SOURCE.name, cache=client.cache)
    fetched = client.fetch()
    assert fetched.file.path.read_bytes() == CONTENT
    assert fetched.received == len(CONTENT)
    assert not caught.value.path.exists()


def test_damage_in_what_an_earlier_run_left_is_found(client: Client) -> None:
    client.begin(400_000)
    (begun,) = hub_cache.unfinished(HubFile(REPOSITORY, NAME), client.cache)
    with begun.open("r+b") as file:
        file.write(b"contaminated")
    with pytest.raises(ChecksumMismatch):
        client.fetch()
    assert client.fetch().file.path.read_bytes() == CONTENT


def test_a_half_open_connection_is_given_up_and_kept(server: FakeHub, tmp_path: Path) -> None:
    client = Client(server, tmp_path, timeout=0.2)
    server.go_wrong(*[Fault(stall_after=300_000), *[Fault(stall_after=0)] * 2])
    with pytest.raises(HubUnreachable, match=r"nothing was heard for 0\.2 s"):
        client.fetch()
    assert len(server.bodies()) == 3
    server.go_wrong()
    assert client.fetch().received == len(CONTENT) - 300_000


def test_a_connection_that_brings_nothing_is_not_tried_for_ever(
    server: FakeHub, client: Client
) -> None:
    server.stay_wrong(Fault(cut_after=0))
    with pytest.raises(HubUnreachable):
        client.fetch(attempts=4)
    assert len(server.bodies()) == 4


def test_a_busy_server_is_asked_again(server: FakeHub, client: Client) -> None:
    server.go_wrong(Fault(status=503), Fault(status=429))
    assert client.fetch(attempts=3).file.path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "code", "error", "sentence"),
    [
        (401, None, AccessDenied, "the hub answers 401"),
        (403, None, AccessDenied, "the hub answers 403"),
        (403, "GatedRepo", AccessDenied, "its terms have to be accepted at http"),
        (404, "RepoNotFound", NotOnHub, "there is no such repository"),
        (404, "RevisionNotFound", NotOnHub, "it has no revision main"),
        (500, None, HubUnreachable, "the hub answers 500"),
        (503, None, HubUnreachable, "the hub answers 503"),
        (200, None, HubUnreachable, "what answers there is not a hub"),
    ],
)
def test_each_refusal_is_one_sentence(
    server: FakeHub,
    client: Client,
    status: int,
    code: str | None,
    error: type[Exception],
    sentence: str,
) -> None:
    server.status, server.error_code = status, code
    with pytest.raises(error, match=sentence) as caught:
        client.fetch()
    assert "\n" not in str(caught.value)
    assert not client.cache.exists()


def test_a_refusal_by_the_storage_is_not_repeated(server: FakeHub, client: Client) -> None:
    server.stay_wrong(Fault(status=403))
    with pytest.raises(AccessDenied):
        client.fetch()
    assert len(server.bodies()) == 1


def test_a_missing_file_lists_those_that_exist(server: FakeHub, client: Client) -> None:
    server.add(REPOSITORY, "README.md", b"text", lfs=False)
    source = Catalog.load().find(f"hf:{REPOSITORY}/model-Q8_0.gguf")
    with pytest.raises(NotOnHub, match=rf"no file model-Q8_0\.gguf; it has {NAME}$"):
        client.fetch(source)


def test_an_unknown_repository(client: Client) -> None:
    with pytest.raises(NotOnHub, match="no such repository"):
        client.fetch(Catalog.load().find("hf:someone/else/x.gguf"))


def test_the_second_location_is_asked_if_the_first_has_nothing(
    server: FakeHub, client: Client
) -> None:
    gone, here = HubFile("someone/gone", NAME), HubFile(REPOSITORY, NAME)
    fetched = client.fetch(ModelSource(name="m:Q4_0", locations=(gone, here)))
    assert fetched.file.location == here
    # And a copy from there will do, although it is not the preferred one.
    again = client.fetch(ModelSource(name="m:Q4_0", locations=(gone, here)), offline=True)
    assert (again.received, again.file.path) == (0, fetched.file.path)


def test_nobody_there(tmp_path: Path) -> None:
    with FakeHub() as server:
        client = Client(server, tmp_path)
    with pytest.raises(HubUnreachable, match="no connection"):
        client.fetch()


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1:9", "http://[::bad"])
def test_a_bad_endpoint(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(HubUnreachable, match=r"no address of a hub|no connection"):
        download.fetch(SOURCE, Hub(endpoint=endpoint, timeout=1), cache=tmp_path)


def test_offline_asks_nobody(server: FakeHub, client: Client) -> None:
    with pytest.raises(NotCached, match="not on this disk"):
        client.fetch(offline=True)
    client.begin(400_000)
    asked = len(server.asked)
    with pytest.raises(NotCached, match=r"only 400\.0 kB"):
        client.fetch(offline=True)
    assert len(server.asked) == asked


def test_the_token_goes_to_the_hub_and_not_to_its_storage(
    server: FakeHub, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "hf_secret"
    with pytest.raises(AccessDenied):
        client.fetch()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    client.fetch()
    (body,) = server.bodies()
    assert "authorization" not in body.headers
    assert body.headers["host"].startswith("localhost")


def test_what_does_not_fit_is_not_begun(server: FakeHub, client: Client) -> None:
    server.add(REPOSITORY, "huge.gguf", CONTENT, size=10**18)
    with pytest.raises(DiskFull, match=r"needs 1000000000\.0 GB") as caught:
        client.fetch(Catalog.load().find(f"hf:{REPOSITORY}/huge.gguf"))
    assert (caught.value.needed, caught.value.source) == (10**18, f"hf:{REPOSITORY}/huge.gguf")
    assert caught.value.free < 10**18
    assert server.served == 0
    assert files_in(client.cache) == []


def test_what_is_there_already_needs_no_space(server: FakeHub, client: Client) -> None:
    client.begin(400_000)
    server.add(REPOSITORY, NAME, CONTENT, size=10**18)
    with pytest.raises(DiskFull) as caught:
        client.fetch()
    assert caught.value.needed == 10**18 - 400_000


def test_a_length_that_the_hub_did_not_announce_is_refused(server: FakeHub, client: Client) -> None:
    server.add(REPOSITORY, NAME, CONTENT, size=len(CONTENT) + 1)
    with pytest.raises(HubUnreachable, match="what came is not the file"):
        client.fetch()
    assert server.bodies()
    assert look(SOURCE, client.cache).fetched == 0


def test_a_file_without_sha256_is_checked_by_its_size(server: FakeHub, client: Client) -> None:
    etag = server.add(REPOSITORY, "toy.gguf", b"GGUF and little more", lfs=False)
    fetched = client.fetch(Catalog.load().find(f"hf:{REPOSITORY}/toy.gguf"))
    assert fetched.checked == "size"
    assert fetched.file.path.read_bytes() == b"GGUF and little more"
    assert hub_cache.blob_of(fetched.file.path).name == etag
    assert client.checksums.verified(fetched.file.path) is None


def test_all_parts_of_a_split_file(server: FakeHub, client: Client) -> None:
    contents = [random.Random(part).randbytes(200_000) for part in (1, 2, 3)]
    for part, content in enumerate(contents, start=1):
        server.add(REPOSITORY, f"q/x-0000{part}-of-00003.gguf", content)
    source = Catalog.load().find(f"hf:{REPOSITORY}/q/x-00001-of-00003.gguf")
    server.go_wrong(Fault(), Fault(cut_after=100_000), Fault(status=503))
    with pytest.raises(HubUnreachable):
        client.fetch(source, attempts=1)
    # The first part waits in the cache without a link until all of them are there.
    assert look(source, client.cache).file is None
    fetched = client.fetch(source)
    assert [part.read_bytes() for part in fetched.file.parts] == contents
    assert fetched.file.size == 600_000
    assert server.served == 600_000
    assert (client.reports[-1].done, client.reports[-1].total) == (600_000, 600_000)


def test_survey_finds_what_is_there(server: FakeHub, client: Client) -> None:
    client.fetch()
    server.add(REPOSITORY, "q/other.gguf", CONTENT[:-1])
    other = Catalog.load().find(f"hf:{REPOSITORY}/q/other.gguf")
    client.begin(300_000, other)
    stored = {each.source.name: each for each in survey([], client.cache)}
    assert set(stored) == {SOURCE.name, other.name}
    assert stored[SOURCE.name].file is not None
    assert (stored[other.name].file, stored[other.name].fetched) == (None, 300_000)


def test_to_a_directory(client: Client, tmp_path: Path) -> None:
    place = tmp_path / "usb" / "models"
    fetched = client.fetch(to=place)
    assert fetched.file.path == place / NAME
    assert fetched.file.path.read_bytes() == CONTENT
    assert [path.name for path in place.iterdir()] == [NAME]  # no lock, nothing unfinished
    assert not client.cache.exists()
    assert resolve(fetched.file.path).size == len(CONTENT)


def test_to_a_directory_goes_on_where_it_was(
    server: FakeHub, client: Client, tmp_path: Path
) -> None:
    place = tmp_path / "usb"
    server.go_wrong(Fault(cut_after=400_000), Fault(status=503))
    with pytest.raises(HubUnreachable):
        client.fetch(to=place, attempts=1)
    assert client.fetch(to=place).received == len(CONTENT) - 400_000


def test_to_a_directory_twice_fetches_once(server: FakeHub, client: Client, tmp_path: Path) -> None:
    client.fetch(to=tmp_path / "usb")
    again = client.fetch(to=tmp_path / "usb")
    assert (again.received, again.checked) == (0, "sha256")
    assert server.served == len(CONTENT)


def test_to_a_directory_copies_what_the_cache_has(
    server: FakeHub, client: Client, tmp_path: Path
) -> None:
    client.fetch()
    asked = len(server.asked)
    fetched = client.fetch(to=tmp_path / "usb", offline=True)
    assert fetched.file.path.read_bytes() == CONTENT
    assert not fetched.file.path.is_symlink()
    assert fetched.checked == "sha256"
    assert len(server.asked) == asked


@pytest.mark.parametrize("content", [b"short", CONTENT[:-1] + b"?"])
def test_to_a_directory_never_replaces_another_file(
    client: Client, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(InvalidRequest, match=f"has another file called {NAME}"):
        client.fetch(to=tmp_path)
    assert (tmp_path / NAME).read_bytes() == content


def test_two_builds_of_one_name_do_not_mix(server: FakeHub, client: Client, tmp_path: Path) -> None:
    """`mmproj-F16.gguf` is what many repositories call theirs."""
    client.begin(400_000)
    other = random.Random(2).randbytes(1_000_000)
    server.add("another/model-GGUF", NAME, other)
    source = Catalog.load().find(f"hf:another/model-GGUF/{NAME}")
    assert client.fetch(source).file.path.read_bytes() == other
    assert client.fetch().file.path.read_bytes() == CONTENT


def test_the_notes_survive_nonsense(client: Client, tmp_path: Path) -> None:
    path = client.fetch().file.path
    notes = tmp_path / "verified.json"
    for text in ["", "{", "[]", '{"version": 99}', '{"version": 1, "files": {"a": 1}}']:
        notes.write_text(text, encoding="utf-8")
        assert client.checksums.verified(path) is None
    client.checksums.remember(path, SHA256)
    assert client.checksums.verified(path) == SHA256
    with path.open("r+b") as file:
        file.truncate(10)
    assert client.checksums.verified(path) is None
