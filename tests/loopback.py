"""Servers on this machine: one in the layout of the authors' bucket, that misbehaves as asked; and a hub of models."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """What is served, what goes wrong, and what was asked for.

    Attributes:
        files: Contents by path.
        faults: By path, faults in the order of requests: `cut` (the half, then an end), a status, or a redirect's
            target; a path without any left is served whole.
        asked: (path, the Range asked for), in order.
    """

    def __init__(self, address: str):
        self.address = address
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list] = {}
        self.asked: list[tuple[str, str | None]] = []


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            fault = state.faults.get(self.path, []).pop(0) if state.faults.get(self.path) else None
            if isinstance(fault, int):
                return self.answer(fault, b"")
            if isinstance(fault, str) and fault != "cut":
                return self.answer(302, b"", Location=fault)
            if self.path not in state.files:
                return self.answer(404, b"")
            content = state.files[self.path]
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            begin, status = 0, 200
            if wanted and self.headers.get("If-Range") == tag:
                begin, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
                if begin >= len(content):
                    return self.answer(416, b"")
            rest = content[begin:]
            sent = rest[: len(rest) // 2] if fault == "cut" else rest
            self.answer(status, sent, length=len(rest), ETag=tag)
            return None

        def answer(self, status, content, length=None, **headers):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

    with _answering(Handler) as address:
        state = Server(address)
        yield state


@contextlib.contextmanager
def _answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def hub(models: Path) -> Iterator[str]:
    """Serve the model folders <models>/<owner>/<name> as a hub does, and give the address for HF_ENDPOINT."""
    commit = "0" * 39 + "1"

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            path = self.path.partition("?")[0]
            if path.startswith("/api/models/"):
                names = [file.name for file in (models / Path(*path.split("/")[3:5])).glob("*")]
                about = {"id": "/".join(path.split("/")[3:5]), "sha": commit, "private": False, "tags": []}
                about["siblings"] = [{"rfilename": name} for name in names]
                tree = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in names]
                return self.answer(json.dumps(tree if "/tree/" in path else about).encode())
            model, _, rest = path.partition("/resolve/")
            file = models / model.strip("/") / rest.partition("/")[2]
            return self.answer(file.read_bytes() if rest and file.is_file() else None)

        do_GET = do_HEAD

        def answer(self, content: bytes | None):
            self.send_response(404 if content is None else 200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Content-Length", str(len(content or b"")))
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

    with _answering(Handler) as address:
        yield address
