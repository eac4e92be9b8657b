"""Where a reference leads: a folder on this disk, an installed package, or the Hugging Face hub, by way of its cache.

org/name, org/name@revision, org/name/sub/folder@revision; hf://… means the same, and hf:// alone may name one file.
A * in a folder stands for what differs between layers: org/name/transcoder_all/layer_*_width_16k_l0_small. Only files
of weights and settings are fetched, and what was fetched before is not fetched again.
"""

import fnmatch
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from silverstain.bases.installed import installed_dictionary, installed_names
from silverstain.bases.weight_files import SUFFIXES
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable

SCHEME = "hf://"
PART = r"[A-Za-z0-9][\w.-]*"
REFERENCE = re.compile(rf"({PART}/{PART})(?:@([^/@]+))?((?:/[^@]*)?)(?:@(.+))?")
WANTED = tuple(f"*{suffix}" for suffix in (*SUFFIXES, ".json", ".yaml", ".yml"))
FOREIGN = ("features/*", "*/features/*", "*/trainer.pt", "*/optimizer*", "*/state.pt", "*_state.pt", "*.dcp/*")
"""What lies beside published dictionaries and is not needed to use them."""


@dataclass(frozen=True)
class HubPlace:
    """A folder or file of a repository."""

    repository: str
    inside: str = ""
    revision: str | None = None

    def __str__(self) -> str:
        inside, revision = self.inside and f"/{self.inside}", f"@{self.revision}" if self.revision else ""
        return printable(f"{self.repository}{inside}{revision}", 200)


def hub_place(reference: str) -> HubPlace | None:
    """What a reference names on the hub; None for one that can only be a path on this disk."""
    text, revision = reference.removeprefix(SCHEME), None
    if "?" in text:
        try:
            parts = urlsplit(text)
        except ValueError:  # brackets that are no address
            return None
        text, revision = parts.path, (parse_qs(parts.query).get("revision") or [None])[0]
    found = REFERENCE.fullmatch(text)
    if not found or (reference.startswith((".", "/", "~")) and not reference.startswith(SCHEME)):
        return None
    return HubPlace(found[1], (found[3] or "").strip("/"), revision or found[2] or found[4])


class Local(NamedTuple):
    """A folder on this disk, and, where the reference had a *, which of the folders in it are meant."""

    root: Path
    pattern: str = "*"


def resolve(reference: str | Path) -> Local:
    """The local folder of a reference, fetched when it is on the hub; UsageError when it is nowhere."""
    text, shown = str(reference), shown_path(str(reference))
    local = local_path(text)
    if is_folder_here(text):
        return Local(local)
    if isinstance(reference, str) and (installed := installed_dictionary(text)) is not None:
        return Local(installed)
    if not text.startswith(SCHEME):
        plain, pattern = _split_wildcard(str(local))
        if pattern != "*" and is_folder_here(plain):
            return Local(Path(plain), pattern)
        if _is_file(local):
            raise UsageError(f"there is no dictionary at {shown}: it is a file; give the folder that it is in")
    place = None if isinstance(reference, Path) else hub_place(text)
    if place is None:
        kind = "hub reference" if text.startswith(SCHEME) else "folder"
        raise UsageError(
            f"there is no dictionary at {shown}: it is not a {kind}; give a folder or a hub id such as org/name, "
            f"org/name/sub/folder@revision{_or_installed()}"
        )
    return _fetch_folder(place)


def _or_installed() -> str:
    names = installed_names()
    return f", or the name of one that is installed: {', '.join(names)}" if names else ""


def is_folder_here(reference: str) -> bool:
    """Whether a reference is a folder on this disk that may be looked into."""
    try:
        return not reference.startswith(SCHEME) and local_path(reference).is_dir()
    except OSError:  # no permission, or a name too long
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def local_path(text: str) -> Path:
    """A path with ~ as the person's folder; UsageError where ~name is nobody here."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"cannot read {shown_path(text)}: there is no folder of that user here; check the path"
        ) from error


def check_inside(name: str, file: Path) -> None:
    """UsageError where a file names one outside of its folder by a path that leads up."""
    depth = 0
    for part in name.replace("\\", "/").split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0 or "\0" in part:
            raise UsageError(
                f"{shown_path(file)} names {printable(name, 100)}, which is outside of its folder; fetch it again, or "
                f"copy the files there"
            )


def fetch_file(entry: str, base: Path) -> Path:
    """The local path of a file named in a config.yaml: on the hub (hf://…), absolute, or below the folder."""
    if not entry.startswith(SCHEME):
        check_inside(entry, base / "config.yaml")
        return base / local_path(entry)
    place = hub_place(entry)
    if place is None or not place.inside:
        raise UsageError(
            f"{printable(entry, 100)!r} names no file on the hub; write hf://org/name/path/to/file?revision=main"
        )
    with _one_line(place, base):
        return Path(
            huggingface_hub.hf_hub_download(
                place.repository, place.inside, revision=place.revision, endpoint=os.environ.get("HF_ENDPOINT")
            )
        )


def _fetch_folder(place: HubPlace) -> Local:
    inside = f"{place.inside}/" if place.inside else ""
    with _one_line(place, None):
        root = Path(
            huggingface_hub.snapshot_download(
                place.repository,
                revision=place.revision,
                allow_patterns=[inside + pattern for pattern in WANTED],
                ignore_patterns=list(FOREIGN),
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )
    plain, pattern = _split_wildcard(place.inside)
    folder = root / plain
    names = [path.relative_to(root).as_posix() for path in folder.rglob("*")] if folder.is_dir() else []
    if not any(fnmatch.fnmatch(name, inside + pattern) for name in names for pattern in WANTED):
        raise UsageError(
            f"{place.repository} has no files of weights or settings in {printable(place.inside or 'it', 100)}"
            f"{f' at revision {printable(place.revision, 80)}' if place.revision else ''}; look at its files on the hub"
        )
    return Local(folder, pattern)


def _split_wildcard(path: str) -> tuple[str, str]:
    """The part of a path before the first folder with a *, and the rest as a pattern of the files meant."""
    parts = path.split("/")
    wild = [i for i, part in enumerate(parts) if "*" in part]
    return (path, "*") if not wild else ("/".join(parts[: wild[0]]), "/".join([*parts[wild[0] :], "*"]))


@contextmanager
def _one_line(place: HubPlace, config: Path | None) -> Iterator[None]:
    """Without progress bars, and what the hub's client raises as one line."""
    named = f", named in {shown_path(config)}" if config else ""
    quiet = not huggingface_hub.utils.are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except errors.GatedRepoError as error:
        raise UsageError(
            f"{place.repository} is gated{named}: ask for access on its page, then log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(
            f"{place.repository} has no revision {printable(str(place.revision), 80)}{named}; give a branch, a tag or "
            f"a commit of it"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(
            f"there is no dictionary {place}{named}: neither a folder here nor a repository on the hub that you may "
            f"read; check the name, or log in with `hf auth login` if it is private"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise UsageError(
            f"{place.repository} has no file {printable(place.inside, 100)}{named}; check the path"
        ) from error
    except (
        errors.HFValidationError,
        errors.HfHubHTTPError,
        errors.EntryNotFoundError,
        errors.OfflineModeIsEnabled,
        OSError,
        ValueError,
    ) as error:
        reason = printable((str(error).strip().splitlines() or [type(error).__name__])[0], 200)
        raise UsageError(f"cannot fetch {place}{named}: {reason}; check the connection and try again") from error
    finally:
        if quiet:
            enable_progress_bars()
