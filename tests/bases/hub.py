"""A local stand-in for the Hugging Face hub's HTTP interface: repositories are folders, revisions their sub-folders."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


class Hub:
    """What it serves, and what it was asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gated: set[str] = set()
        self.fetched: list[str] = []
        """Files sent whole."""
        self.url = ""

    def commit(self, repository: str, revision: str) -> str | None:
        """The commit of a revision, None where there is none."""
        for folder in (self.root / repository).iterdir():
            commit = hashlib.sha1(str(folder).encode()).hexdigest()
            if revision in (folder.name, commit):
                return commit
        return None

    def folder(self, repository: str, revision: str) -> Path:
        commit = self.commit(repository, revision)
        return next(
            f for f in (self.root / repository).iterdir() if hashlib.sha1(str(f).encode()).hexdigest() == commit
        )

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        parts = [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]
        is_api = parts[:2] == ["api", "models"]
        repository, rest = "/".join(parts[2:4] if is_api else parts[:2]), parts[4:] if is_api else parts[2:]
        if not (self.root / repository).is_dir():
            return 401, {"X-Error-Code": "RepoNotFound"}, b"Repository not found"
        if repository in self.gated and not is_api:
            return 403, {"X-Error-Code": "GatedRepo"}, b"Access to this repository is restricted"
        commit = self.commit(repository, rest[1])
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"Revision not found"
        folder = self.folder(repository, rest[1])
        if rest[0] == "resolve":
            return self._file(folder, "/".join(rest[2:]), commit)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        if rest[0] == "tree":
            entries = [
                {"type": "file", "path": str(f.relative_to(folder)), "size": f.stat().st_size, "oid": _oid(f)}
                for f in files
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(entries).encode()
        siblings = [{"rfilename": str(f.relative_to(folder))} for f in files]
        info = {"id": repository, "sha": commit, "siblings": siblings, "tags": [], "private": False}
        return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()

    def _file(self, folder: Path, name: str, commit: str) -> tuple[int, dict[str, str], bytes]:
        file = folder / name
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b"Entry not found"
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{_oid(file)}"'}, file.read_bytes()


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """A hub over the repositories in `root`, on a free port of this machine."""
    hub = Hub(root)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._send(is_whole=False)

        def do_GET(self) -> None:
            self._send(is_whole=True)

        def _send(self, *, is_whole: bool) -> None:
            status, headers, body = hub.answer(self.path)
            if is_whole and status == 200 and "/resolve/" in self.path:
                hub.fetched.append(self.path.split("/resolve/")[1].split("/", 1)[1])
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if is_whole:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
