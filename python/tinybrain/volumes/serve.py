"""Files of a local volume, served to the page that shows it, by the server that serves the page.

The page comes from the `neuroglancer` package, whose server (tornado) is bound to the loopback address. The volume is
served by the same server, so that the browser asks one origin for everything: nothing is opened to other origins, and
one port is enough for a tunnel to a remote machine.

What is served: GET and HEAD of files below the volume's directory, to whoever knows a token of 160 random bits that is
made for each volume and is in no address but those that the viewer asks for. Links out of the directory are followed
only on request. Nothing is listed, and nothing is served as a page that a browser would run.
"""

from __future__ import annotations

import functools
import os
import socket
import threading
from pathlib import Path
from typing import Any

from tinybrain.volumes._extras import extra

LOOPBACK = "127.0.0.1"

#: Directories by token, and whether links out of them are followed.
_served: dict[str, tuple[Path, bool]] = {}
_lock = threading.Lock()
_views = 0  # that are open
_own = False  # whether the server runs for them alone


def start(port: int) -> None:
    """Start Neuroglancer's server on the loopback address, or take the one that runs, for one more view."""
    global _views, _own
    neuroglancer, server = extra("neuroglancer"), extra("neuroglancer.server")
    with _lock:
        if not neuroglancer.is_server_running():
            _run(server, port)
            _views, _own = 0, True
        elif port not in (0, server.global_server.port):
            raise ValueError(f"port: got {port}; Neuroglancer's server runs on {server.global_server.port} already")
        elif getattr(server.global_server, "_bind_address", None) not in (LOOPBACK, "localhost", "::1"):
            raise ValueError(f"path: Neuroglancer's server runs on {server.get_server_url()}, for other machines too")
        app = server.global_server.app
        if not getattr(app, "tinybrain_volumes", False):
            app.add_handlers(r".*", [(r"/volume/([A-Za-z0-9]+)/(.*)", _files()), (r"/favicon\.ico", _no_icon())])
            app.tinybrain_volumes = True
        _views += 1


def _run(server: Any, port: int) -> None:
    before = dict(server.global_server_args)
    server.set_server_bind_address(LOOPBACK, port)
    try:
        with socket.socket() as tried:  # tornado leaves its own open where it cannot bind it
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
            tried.bind((LOOPBACK, port))
        server.start()
    except OSError as error:
        raise ValueError(f"port: {port} cannot be used: {error.strerror or error}") from None
    finally:  # what others start later has the address that they chose
        server.global_server_args.clear()
        server.global_server_args.update(before)


def stop() -> None:
    """End one view; with the last one, the server, unless it ran before."""
    global _views, _own
    with _lock:
        _views -= 1
        if _views == 0 and _own:
            _own = False
            extra("neuroglancer").stop()


def begin(directory: Path, follow_links: bool) -> str:
    """Serve a directory, and return its token."""
    token: str = extra("neuroglancer.random_token").make_random_token()
    _served[token] = (Path(os.path.realpath(directory)), follow_links)
    return token


def end(token: str) -> None:
    """Serve a directory no longer."""
    _served.pop(token, None)


def address(token: str) -> str:
    """Return the URL of a directory that is served."""
    return f"{extra('neuroglancer.server').get_server_url()}/volume/{token}/"


@functools.cache
def _files() -> Any:
    """Make the class that serves files. A function, because tornado is there only with the extra."""
    web: Any = extra("tornado.web")
    base: Any = web.StaticFileHandler

    class VolumeFiles(base):  # type: ignore[misc]
        """Files of the directories in `_served`. Ranges, paths out of the root and HEAD are tornado's work."""

        def initialize(self) -> None:
            super().initialize(path="")

        async def get(self, token: str, path: str, include_body: bool = True) -> None:
            if token not in _served or "\0" in path:
                raise web.HTTPError(404)
            root, self.follow_links = _served[token]
            self.root = str(root)
            if self.follow_links:  # what tornado follows of itself depends on its version
                self.allowed_symlink_directory = root.anchor
            await super().get(path, include_body)

        async def head(self, token: str, path: str) -> None:
            await self.get(token, path, include_body=False)

        @classmethod
        def get_absolute_path(cls, root: str, path: str) -> str:
            found: str = super().get_absolute_path(root, path)
            # CloudVolume and igneous write chunks on local disks as compressed files, and ask for them without ".gz".
            packed = found + ".gz"
            return packed if not os.path.exists(found) and os.path.isfile(packed) else found

        def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
            found: str | None = super().validate_absolute_path(root, absolute_path)
            if found is not None and not self.follow_links:
                real = os.path.realpath(found)
                if os.path.commonpath((root, real)) != root:
                    raise web.HTTPError(403)
            return found

        def compute_etag(self) -> str | None:
            # By time and size: tornado's own reads the whole file, which may be a shard of gigabytes.
            stat = os.stat(self.absolute_path or "")
            return f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'

        def get_content_type(self) -> str:
            return "application/octet-stream"

        def set_extra_headers(self, path: str) -> None:
            if (self.absolute_path or "").endswith(".gz") and not path.endswith(".gz"):
                self.set_header("Content-Encoding", "gzip")
            self.set_header("Cache-Control", "no-cache")  # ask again whether it changed: it may be built anew
            self.set_header("X-Content-Type-Options", "nosniff")

    return VolumeFiles


@functools.cache
def _no_icon() -> Any:
    """Make the class that answers browsers' request for an icon: without it, their consoles show an error."""
    base: Any = extra("tornado.web").RequestHandler

    class NoIcon(base):  # type: ignore[misc]
        def get(self) -> None:
            self.set_status(204)

    return NoIcon
