"""A stand-in for a server of chat completions, on this machine, that answers from a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

Script = Callable[[int, dict[str, Any]], tuple[Any, ...]]
"""(number of the request, its body, empty where it has none) -> (status, body) or (status, body,
headers). A body is JSON, or bytes as they go out, or an iterator of such, of which one piece goes
out after the other. Status 0 closes the connection after the bytes of an iterator, if any; -1 keeps
silent until the client does."""


@dataclass
class Server:
    """What was asked, and how to get there."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0


def said(
    text: str | list[dict[str, Any]] | None,
    *,
    finish: str = "stop",
    tokens: tuple[int, int] = (10, 5),
    **message: Any,
) -> dict[str, Any]:
    """Return a completion as servers write it."""
    return {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]},
    }


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """Yield a server that answers as ``script`` says."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(length)) if length else {}
            with lock:
                number = len(server.bodies)
                server.bodies.append(body)
                server.headers.append(dict(self.headers))
                server.paths.append(self.path)
                server.under_way += 1
                server.most_under_way = max(server.most_under_way, server.under_way)
            try:
                answer = script(number, body)
            finally:
                with lock:  # before the answer is out: the next request may come with it
                    server.under_way -= 1
            self.answer(*answer)

        def answer(
            self, status: int, body: object, headers: Mapping[str, str] = MappingProxyType({})
        ) -> None:
            if status == -1:
                self.rfile.read(1)
            if isinstance(body, Iterator):
                self.close_connection = True
                if status > 0:
                    self.send_response(status)
                    self.end_headers()
                for piece in body:
                    self.wfile.write(piece)
                return
            if status <= 0:
                self.close_connection = True
                self.connection.close()
                return
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
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
                self.close_connection = True  # the client or the script hung up

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_port}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
