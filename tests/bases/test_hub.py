"""References to the hub, against a local stand-in of its HTTP interface."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from tests.bases import published
from tests.bases.hub import Hub, serving
from tests.bases.published import D, Draw, L

from silverstain.bases import open_dictionary
from silverstain.bases.hub import HubPlace, hub_place
from silverstain.cli import main
from silverstain.errors import UsageError


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serves org/plt (main and v2), org/scope (sub-folders in two sizes), org/list (a config that lists files)."""
    root = tmp_path / "hub"
    published.circuit_tracer(root / "org/plt/main", Draw(0), activation="topk")
    published.circuit_tracer(root / "org/plt/v2", Draw(1))
    for size in ("small", "big"):
        for layer in range(L):
            place = root / f"org/scope/main/transcoder_all/layer_{layer}_width_16k_l0_{size}"
            published.write(place / "params.safetensors", scope_layer(Draw(layer)))
    features = root / "org/plt/main/features"
    features.mkdir()
    (features / "index.json").write_text("{}")
    files = [
        f"hf://org/scope/transcoder_all/layer_{i}_width_16k_l0_big/params.safetensors?revision=main" for i in range(L)
    ]
    published.settings(
        root / "org/list/main/sub/config.yaml",
        {"model_kind": "transcoder_set", "transcoders": files, "feature_input_hook": "mlp.hook_in"},
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(root) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def scope_layer(draw: Draw) -> dict[str, torch.Tensor]:
    return {"w_enc": draw(D, 5), "w_dec": draw(5, D), "b_enc": draw(5), "b_dec": draw(D), "threshold": draw.positive(5)}


def test_a_repository_opens_as_its_files_do_and_only_what_is_needed_is_fetched(hub: Hub):
    fetched = open_dictionary("org/plt")
    local = open_dictionary(hub.root / "org/plt/main")
    assert fetched.hash == local.hash
    assert (fetched.activation, fetched.k) == ("topk", (2,) * L)
    assert fetched.name == "org/plt"
    assert not any(name.startswith("features/") for name in hub.fetched)
    before = len(hub.fetched)
    open_dictionary("hf://org/plt")
    assert len(hub.fetched) == before  # the second time, everything is in the cache


def test_a_revision_is_another_dictionary(hub: Hub):
    assert open_dictionary("org/plt@v2").hash == open_dictionary(hub.root / "org/plt/v2").hash
    assert open_dictionary("hf://org/plt@v2").hash != open_dictionary("org/plt@main").hash


def test_a_sub_folder_with_a_wildcard_names_one_set_of_several(hub: Hub):
    small = open_dictionary("org/scope/transcoder_all/layer_*_width_16k_l0_small@main")
    assert small.n_layers == L
    assert all("_small/" in name for name in hub.fetched)
    with pytest.raises(UsageError, match=r"more than one dictionary for layer 0: layer_0_width_16k_l0_big.*name one"):
        open_dictionary("org/scope/transcoder_all")
    # the cache holds both by now
    assert open_dictionary("org/scope/transcoder_all/layer_*_width_16k_l0_small").hash == small.hash
    assert open_dictionary(str(hub.root / "org/scope/main/transcoder_all/layer_*_l0_small")).hash == small.hash


def test_a_config_that_lists_files_of_other_repositories_is_followed(hub: Hub):
    listed = open_dictionary("org/list/sub")
    assert (listed.n_layers, listed.activation, listed.metadata["format"]) == (L, "jumprelu", "circuit-tracer")
    assert torch.equal(listed.W_enc(1), scope_layer(Draw(1))["w_enc"].T)
    config = yaml.safe_load((hub.root / "org/list/main/sub/config.yaml").read_text())
    config["transcoders"][1] = "hf://org/scope/transcoder_all/nothing.safetensors"
    published.settings(hub.root / "org/list/v2/sub/config.yaml", config)
    with pytest.raises(UsageError, match=r"org/scope has no file transcoder_all/nothing\.safetensors, named in"):
        open_dictionary("org/list/sub@v2")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("org/nothing", "there is no dictionary org/nothing: neither a folder here nor a repository on the hub"),
        ("org/plt@v9", "org/plt has no revision v9; give a branch, a tag or a commit of it"),
        ("org/plt/nowhere", "org/plt has no files of weights or settings in nowhere"),
        ("org/closed", "org/closed is gated: ask for access on its page, then log in"),
        ("hf://org", "it is not a hub reference; give a folder or a hub id"),
        ("nowhere", "there is no dictionary at nowhere: it is not a folder"),
        ("./org/plt", "it is not a folder"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(hub: Hub, reference: str, words: str, capsys: pytest.CaptureFixture[str]):
    published.circuit_tracer(hub.root / "org/closed/main", Draw(0))
    hub.gated.add("org/closed")
    assert main(["convert", reference, "out"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_hub_out_of_reach_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match=r"cannot fetch org/plt: .*check the connection and try again"):
        open_dictionary("org/plt")


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("org/name", HubPlace("org/name")),
        ("org/name@v1", HubPlace("org/name", "", "v1")),
        ("org/name/sub/folder@refs/pr/3", HubPlace("org/name", "sub/folder", "refs/pr/3")),
        ("hf://org/name@v1/sub", HubPlace("org/name", "sub", "v1")),
        ("org/name//sub@v1", HubPlace("org/name", "sub", "v1")),
        ("hf://org/name/a/b.npz?revision=abc", HubPlace("org/name", "a/b.npz", "abc")),
        ("name", None),
        ("/org/name", None),
        ("../org/name", None),
    ],
)
def test_references_are_read_as_they_are_written(reference: str, place: HubPlace | None):
    assert hub_place(reference) == place
