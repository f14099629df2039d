"""A Hugging Face hub on this machine: models and data sets by id, at revisions, with the real one's faults.

Reached through HF_ENDPOINT. What it serves is made in tests (`hub_rows` has the data sets of our tasks, with rows
of our own); how it answers is what huggingface_hub and datasets ask for, read off their requests.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Files = Mapping[str, bytes]


@dataclass
class Repo:
    """One repository: its commits, the newest last, and how it misbehaves."""

    commits: dict[str, Files] = field(default_factory=dict)
    fault: str = ""
    """`gated` (403 with the hub's code), `private` (401), `cut` (files end early), `down` (503), or a status."""

    def commit(self, files: Files) -> str:
        """Add a commit; its name is made of what it holds, so that a test's expectations are stable."""
        text = repr(sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items()))
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits.pop(sha, None)
        self.commits[sha] = dict(files)
        return sha

    @property
    def head(self) -> str:
        return next(reversed(self.commits))

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch or an abbreviation means."""
        if revision == "main":
            return self.head
        return next((sha for sha in self.commits if sha == revision), None)


class HubStub:
    """The server, in a thread; use it in a `with` statement."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.asked: list[str] = []
        """Paths of all requests, without the host."""
        self.fault = ""
        """A fault of the whole hub: `down` or a status."""
        stub = self

        class Handler(_Handler):
            hub = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubStub":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """What makes huggingface_hub, datasets and transformers ask this hub, with caches of a test's own."""
        return {
            "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": "", "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_HUB_DOWNLOAD_TIMEOUT": "20", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def model(self, name: str, folder: Path) -> Repo:
        """A model's repository, with the files of a folder."""
        files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        return self._put("models", name, files)

    def data(self, name: str, splits: Mapping[tuple[str, str], list[dict[str, Any]]]) -> Repo:
        """A data set's repository: JSON lines for each configuration and split, and the card that lists them."""
        return self._put("datasets", name, files_of(splits))

    def _put(self, kind: str, name: str, files: Files) -> Repo:
        repo = self.repos.setdefault((kind, name), Repo())
        repo.commit(files)
        return repo

    @contextmanager
    def faulty(self, name: str, fault: str) -> Iterator[None]:
        """One repository misbehaves for a while; `name` `` for the whole hub."""
        owner: Any = next((repo for (_, each), repo in self.repos.items() if each == name), None) if name else self
        owner.fault = fault
        try:
            yield
        finally:
            owner.fault = ""


def files_of(splits: Mapping[tuple[str, str], list[dict[str, Any]]]) -> dict[str, bytes]:
    """A data set's files: `CONFIG/SPLIT.jsonl`, and README.md with the configurations."""
    files, configs = {}, {}
    for (config, split), rows in splits.items():
        path = f"{config}/{split}.jsonl"
        files[path] = "".join(json.dumps(row) + "\n" for row in rows).encode()
        configs.setdefault(config, []).append({"split": split, "path": path})
    card = {"configs": [{"config_name": config, "data_files": parts} for config, parts in configs.items()]}
    # JSON is YAML.
    files["README.md"] = f"---\n{json.dumps(card)}\n---\n".encode()
    return files


class _Handler(BaseHTTPRequestHandler):
    hub: HubStub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Nothing: a test's output is the test's."""

    def do_HEAD(self) -> None:
        self._serve(b"")

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("content-length", 0))))

    def _serve(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        self.hub.asked.append(f"{self.command} {unquote(parts.path)}")
        if self.hub.fault == "down":
            return self._error(503, "", "the hub is down")
        if self.hub.fault:
            return self._error(int(self.hub.fault), "", "out of order")
        words = [unquote(each) for each in parts.path.split("/") if each]
        if words[:1] == ["api"]:
            return self._api(words[1:], parse_qs(parts.query), body)
        return self._file(words)

    def _api(self, words: list[str], query: Mapping[str, list[str]], body: bytes) -> None:
        kind, name, rest = words[0], "/".join(words[1:3]), words[3:]
        repo = self._repo(kind, name, for_files=False)
        if repo is None:
            return
        asked = rest[1] if len(rest) > 1 else "main"
        sha = repo.resolve(asked)
        if sha is None:
            return self._error(404, "RevisionNotFound", f"no revision {asked}")
        files = repo.commits[sha]
        if rest[:1] == ["auth-check"]:
            gated = repo.fault == "gated"
            return self._error(403, "GatedRepo", "restricted") if gated else self._send(200, b"", {})
        if rest[:1] == ["tree"]:
            below = "/".join(rest[2:])
            return self._json([_entry(path, data) for path, data in files.items() if path.startswith(below)])
        if rest[:1] == ["paths-info"]:
            wanted = parse_qs(body.decode()).get("paths") or json.loads(body or b"{}").get("paths", [])
            return self._json([_entry(path, files[path]) for path in wanted if path in files])
        if rest[:1] == ["revision"] or not rest:
            gated = "manual" if repo.fault == "gated" else False
            siblings = [{"rfilename": path, "size": len(data)} for path, data in files.items()]
            return self._json(
                {"_id": sha[:24], "id": name, "sha": sha, "private": False, "gated": gated, "disabled": False,
                 "tags": [], "downloads": 0, "likes": 0, "siblings": siblings,
                 "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z"}
            )  # fmt: skip
        self._error(404, "EntryNotFound", f"the stub knows no {'/'.join(rest)}")

    def _file(self, words: list[str]) -> None:
        kind = words.pop(0) if words[:1] == ["datasets"] else "models"
        if len(words) < 5 or words[2] != "resolve":
            return self._error(404, "EntryNotFound", "no such page")
        name, revision, path = "/".join(words[:2]), words[3], "/".join(words[4:])
        repo = self._repo(kind, name, for_files=True)
        if repo is None:
            return
        sha = repo.resolve(revision)
        if sha is None:
            return self._error(404, "RevisionNotFound", f"no revision {revision}")
        data = repo.commits[sha].get(path)
        if data is None:
            return self._error(404, "EntryNotFound", f"no {path}", {"X-Repo-Commit": sha})
        self._send(
            200, data, {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}, repo.fault == "cut"
        )

    def _repo(self, kind: str, name: str, for_files: bool) -> Repo | None:
        """The repository, if it may be read; else the error is sent."""
        repo = self.hub.repos.get((kind, name))
        if repo is None or repo.fault == "private":
            # As the hub does for whoever is not logged in: what is private and what is not there look alike.
            self._error(401, "RepoNotFound", "Repository Not Found")
        elif repo.fault == "gated" and for_files:
            self._error(
                403, "GatedRepo", f"Access to {kind} {name} is restricted and you are not in the authorized list"
            )
        elif repo.fault == "down":
            self._error(503, "", "try again later")
        elif repo.fault.isdigit():
            self._error(int(repo.fault), "", "out of order")
        else:
            return repo
        return None

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"content-type": "application/json"})

    def _error(self, status: int, code: str, message: str, more: Mapping[str, str] | None = None) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(more or {})}
        self._send(status, json.dumps({"error": message}).encode(), {"content-type": "application/json", **headers})

    def _send(self, status: int, data: bytes, headers: Mapping[str, str], cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True


def _entry(path: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return {"type": "file", "oid": blob, "size": len(data), "path": path}
