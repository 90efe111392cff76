"""A model hub on a local socket: the part of the Hugging Face Hub's HTTP interface that an upload to a repository uses."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from tests.http_server import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".png")
"""Ends of the names of files that are stored by their digests (Git LFS)."""


@dataclass
class UploadHub:
    """Serves one repository to requests with a token."""

    token: str
    repository: str = "studio/rex"
    url: str = ""
    private: bool | None = None
    """Whether the repository was created as a private one; None before it is created."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files by their SHA-256."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The files of the main branch by their paths."""
    sent: list[str] = field(default_factory=list)
    """SHA-256 of each large file that was sent."""
    commits: int = 0
    fails_after: int | None = None
    """Number of large files after which the hub fails."""

    @contextmanager
    def serve(self) -> Iterator["UploadHub"]:
        hub = self

        class Handler(_Handler):
            served = hub

        with serving(Handler) as address:
            self.url = f"http://{address}"
            yield self


class _Handler(BaseHTTPRequestHandler):
    served: UploadHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        hub, path = self.served, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        api = f"/api/models/{hub.repository}"
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(401, {"error": "Invalid credentials"})
        elif path == "/api/repos/create":
            if hub.private is None:
                hub.private = json.loads(body).get("visibility") == "private"
            self._answer(200, {"url": f"{hub.url}/{hub.repository}"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif hub.private is None:
            self._answer(404, {"error": "Repository not found"})
        elif path == f"{api}/paths-info/main":
            given = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
            self._answer(200, [self._info(name) for name in given if name in hub.files])
        elif path == f"{api}/preupload/main":
            files = json.loads(body)["files"]
            modes = {one["path"]: "lfs" if one["path"].endswith(LARGE) else "regular" for one in files}
            self._answer(
                200,
                {"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]},
            )
        elif path == f"/{hub.repository}.git/info/lfs/objects/batch":
            self._answer(200, {"transfer": "basic", "objects": list(map(self._action, json.loads(body)["objects"]))})
        elif path == f"{api}/commit/main":
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, {"error": path})

    def do_PUT(self) -> None:
        hub = self.served
        body = self.rfile.read(int(self.headers["Content-Length"]))
        digest = hashlib.sha256(body).hexdigest()
        if hub.fails_after is not None and len(hub.sent) >= hub.fails_after:
            self._answer(500, {"error": "out of order"})
        elif not self.path.endswith(digest):
            self._answer(400, {"error": "wrong digest"})
        else:
            hub.objects[digest] = body
            hub.sent.append(digest)
            self._answer(200, {})

    def _action(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in self.served.objects:
            return asked
        return {**asked, "actions": {"upload": {"href": f"{self.served.url}/objects/{asked['oid']}"}}}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        hub = self.served
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.objects[value["oid"]]
        hub.commits += 1
        self._answer(
            200, {"commitUrl": f"{hub.url}/{hub.repository}/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
        )

    def _info(self, name: str) -> dict[str, Any]:
        content = self.served.files[name]
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        info = {"type": "file", "path": name, "size": len(content), "oid": oid}
        if name.endswith(LARGE):
            info["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 100}
        return info

    def _answer(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the requests out of the tests' output."""
