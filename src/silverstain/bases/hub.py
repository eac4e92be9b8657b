"""Where a reference leads: a folder on this disk, or one on the Hugging Face hub, fetched into its cache.

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

from silverstain.bases.weight_files import SUFFIXES
from silverstain.errors import UsageError

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
        return (
            f"{self.repository}{'/' + self.inside if self.inside else ''}{'@' + self.revision if self.revision else ''}"
        )


def hub_place(reference: str) -> HubPlace | None:
    """What a reference names on the hub; None for one that can only be a path on this disk."""
    text, revision = reference.removeprefix(SCHEME), None
    if "?" in text:
        parts = urlsplit(text)
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
    text = str(reference)
    local = Path(text).expanduser()
    if not text.startswith(SCHEME):
        if local.is_dir():
            return Local(local)
        plain, pattern = _split_wildcard(str(local))
        if pattern != "*" and Path(plain).is_dir():
            return Local(Path(plain), pattern)
        if local.exists():
            raise UsageError(f"there is no dictionary at {local}: it is a file; give the folder that it is in")
    place = None if isinstance(reference, Path) else hub_place(text)
    if place is None:
        kind = "hub reference" if text.startswith(SCHEME) else "folder"
        raise UsageError(
            f"there is no dictionary at {text}: it is not a {kind}; give a folder or a hub id such as org/name, "
            f"org/name/sub/folder@revision"
        )
    return _fetch_folder(place)


def fetch_file(entry: str, base: Path) -> Path:
    """The local path of a file named in a config.yaml: on the hub (hf://…), absolute, or relative to the folder."""
    if not entry.startswith(SCHEME):
        return base / Path(entry).expanduser()
    place = hub_place(entry)
    if place is None or not place.inside:
        raise UsageError(f"{entry!r} names no file on the hub; write hf://org/name/path/to/file?revision=main")
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
            f"{place.repository} has no files of weights or settings in {place.inside or 'it'}"
            f"{f' at revision {place.revision}' if place.revision else ''}; look at its files on the hub"
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
    named = f", named in {config}" if config else ""
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
            f"{place.repository} has no revision {place.revision}{named}; give a branch, a tag or a commit of it"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(
            f"there is no dictionary {place}{named}: neither a folder here nor a repository on the hub that you may "
            f"read; check the name, or log in with `hf auth login` if it is private"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise UsageError(f"{place.repository} has no file {place.inside}{named}; check the path") from error
    except (
        errors.HFValidationError,
        errors.HfHubHTTPError,
        errors.EntryNotFoundError,
        errors.OfflineModeIsEnabled,
        OSError,
        ValueError,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"cannot fetch {place}{named}: {reason[:200]}; check the connection and try again") from error
    finally:
        if quiet:
            enable_progress_bars()
