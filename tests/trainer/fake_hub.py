"""A model hub on a local socket: the part of the Hugging Face Hub's HTTP interface that a download of a repository uses."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.http_server import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Serves one repository, whose branch `main` is at `COMMIT`; if there is a token, only requests with it are served."""

    folder: Path
    repository: str = "studio/tiny"
    token: str | None = None
    repeats: bool = False
    """Whether it refuses all requests, and returns their token in its answers."""
    url: str = ""
    authorizations: list[str | None] = field(default_factory=list)
    """Authorization header of each request."""
    fetched: set[str] = field(default_factory=set)
    """Files whose content was requested."""

    @contextmanager
    def serve(self) -> Iterator["FakeHub"]:
        hub = self

        class Handler(_Handler):
            served = hub

        with serving(Handler) as address:
            self.url = f"http://{address}"
            yield self


class _Handler(BaseHTTPRequestHandler):
    served: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.served, self.path.partition("?")[0]
        name = hub.repository
        hub.authorizations.append(self.headers.get("Authorization"))
        if hub.repeats:
            said = f"{self.headers.get('Authorization')} won't do"
            self._answer(403, said.encode(), {"X-Error-Message": said, "X-HF-Warning": said})
        elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to it is restricted"})
        elif path in (f"/api/models/{name}/revision/{revision}" for revision in ("main", COMMIT)):
            self._json({"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": []})
        elif path.startswith(f"/api/models/{name}/revision/"):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif path == f"/api/models/{name}/tree/{COMMIT}":
            self._json(
                [
                    {"type": "file", "oid": _etag(file), "size": file.stat().st_size, "path": path}
                    for path, file in self._files().items()
                ]
            )
        elif file := self._files().get(path.removeprefix(f"/{name}/resolve/{COMMIT}/")):
            if self.command == "GET":
                hub.fetched.add(file.relative_to(hub.folder).as_posix())
            self._answer(200, file.read_bytes(), {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(file)}"'})
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _files(self) -> dict[str, Path]:
        folder = self.served.folder
        return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the requests out of the tests' output."""


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
