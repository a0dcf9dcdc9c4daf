"""A stand-in for the Hub, on this machine: the calls of an upload over plain Git LFS."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

TOKEN = "hf_" + "SecretOfTheTests" * 2
LARGE = (".safetensors", ".parquet")


@dataclass
class StandIn:
    """What the stand-in holds and was asked."""

    url: str
    repos: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """(type, owner/name) -> private, and ``files`` by path."""
    storage: dict[str, bytes] = field(default_factory=dict)
    """What LFS holds, by sha256."""
    created: list[dict[str, Any]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    """The sha256 of every large file of which all bytes arrived."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut_after: int | None = None
    """Large files that still arrive whole; of further ones the connection is cut."""
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    """(status, headers) with which a request is refused, by a part of its path."""
    tokens: set[str] = field(default_factory=set)

    def files(self, kind: str, repo: str) -> dict[str, bytes]:
        files: dict[str, bytes] = self.repos[kind, repo]["files"]
        return files

    def forget(self) -> None:
        """Hold nothing, as a Hub that nobody has uploaded to."""
        for held in (self.repos, self.storage, self.created, self.sent, self.asked):
            held.clear()


@contextmanager
def standing_in() -> Iterator[StandIn]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.serve(b"")

        def do_PUT(self) -> None:
            size = int(self.headers["Content-Length"])
            with lock:
                cut = hub.cut_after is not None and hub.cut_after <= 0
                if hub.cut_after is not None:
                    hub.cut_after -= 1
            if cut:
                self.rfile.read(size // 2)
                self.close_connection = True
                self.connection.close()
                return
            self.serve(self.rfile.read(size))

        def do_POST(self) -> None:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                raise AssertionError("a length is expected")
            self.serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def serve(self, body: bytes) -> None:
            path = self.path.split("?")[0]
            with lock:
                hub.asked.append((self.command, path))
                if "Authorization" in self.headers:
                    hub.tokens.add(self.headers["Authorization"].removeprefix("Bearer "))
                refused = next((a for part, a in hub.answers.items() if part in path), None)
                if refused:
                    self.reply({"error": "no"}, *refused)
                else:
                    self.route(path, body)

        def route(self, path: str, body: bytes) -> None:
            parts = path.strip("/").split("/")
            match parts:
                case ["api", "whoami-v2"]:
                    self.reply({"name": "me", "type": "user"})
                case ["api", "validate-yaml"]:
                    self.reply({"errors": [], "warnings": []})
                case ["api", "repos", "create"]:
                    self.create(json.loads(body))
                case ["api", kinds, owner, name]:
                    self.describe(kinds[:-1], f"{owner}/{name}")
                case ["api", kinds, owner, name, "revision", _]:
                    self.route(f"/api/{kinds}/{owner}/{name}", body)
                case ["api", kinds, owner, name, "preupload", "main"]:
                    self.preupload(hub.files(kinds[:-1], f"{owner}/{name}"), json.loads(body))
                case ["api", kinds, owner, name, "commit", "main"]:
                    self.commit(kinds[:-1], f"{owner}/{name}", body)
                case [*_, "objects", "batch"]:
                    self.batch(json.loads(body))
                case ["lfs", oid]:
                    assert hashlib.sha256(body).hexdigest() == oid
                    hub.storage[oid] = body
                    hub.sent.append(oid)
                    self.reply({})
                case _:
                    self.reply({"error": f"unknown: {path}"}, 404)

        def describe(self, kind: str, repo: str) -> None:
            found = hub.repos.get((kind, repo))
            if found is None:
                self.reply({"error": "not found"}, 404, {"X-Error-Code": "RepoNotFound"})
                return
            known = {"id": repo, "private": found["private"], "sha": "0" * 40, "tags": []}
            self.reply({**known, "siblings": [], "downloads": 0, "likes": 0})

        def create(self, asked: dict[str, Any]) -> None:
            hub.created.append(asked)
            kind = asked.get("type", "model")
            repo = f"{asked['organization'] or 'me'}/{asked['name']}"
            known = (kind, repo) in hub.repos
            if not known:
                private = asked.get("visibility") == "private" or asked.get("private") is True
                hub.repos[kind, repo] = {"private": private, "files": {}}
            prefix = "datasets/" if kind == "dataset" else ""
            self.reply({"url": f"{hub.url}/{prefix}{repo}"}, 409 if known else 200)

        def preupload(self, files: dict[str, bytes], asked: dict[str, Any]) -> None:
            self.reply(
                {
                    "files": [
                        {
                            "path": item["path"],
                            "uploadMode": "lfs" if item["path"].endswith(LARGE) else "regular",
                            "shouldIgnore": False,
                            "oid": oid(item["path"], files.get(item["path"])),
                        }
                        for item in asked["files"]
                    ]
                }
            )

        def batch(self, asked: dict[str, Any]) -> None:
            objects = []
            for item in asked["objects"]:
                entry: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
                if item["oid"] not in hub.storage:
                    entry["actions"] = {"upload": {"href": f"{hub.url}/lfs/{item['oid']}"}}
                objects.append(entry)
            self.reply({"transfer": "basic", "objects": objects})

        def commit(self, kind: str, repo: str, body: bytes) -> None:
            files = hub.files(kind, repo)
            for line in body.decode().splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    files[value["path"]] = hub.storage[value["oid"]]
            prefix = "datasets/" if kind == "dataset" else ""
            url = f"{hub.url}/{prefix}{repo}/commit/{'0' * 40}"
            self.reply({"commitUrl": url, "commitOid": "0" * 40})

        def reply(
            self, body: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
        ) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):
                self.close_connection = True

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    hub = StandIn(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def oid(path: str, content: bytes | None) -> str | None:
    """Return the hash that the Hub names a file by, in its two kinds; None where there is none."""
    if content is None:
        return None
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    blob = b"blob %d\0" % len(content) + content  # Git's own
    return hashlib.sha1(blob).hexdigest()
