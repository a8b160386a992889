"""Serve one session on this machine until Ctrl-C."""

import secrets
import socket

import uvicorn

from sentinel_research.errors import UsageError
from sentinel_research.explorer.server import Explorer
from sentinel_research.explorer.session import Session

ADDRESS = "127.0.0.1"
_TOKEN_BYTES = 24
_GRACE_SECONDS = 2


class _Server(uvicorn.Server):
    """Ends the page's streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, explorer: Explorer) -> None:
        super().__init__(config)
        self._explorer = explorer

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop answering."""
        self._explorer.close()
        await super().shutdown(sockets)


def listen(port: int) -> tuple[socket.socket, bool]:
    """Listen on this machine's own address alone.

    Args:
        port: 0 for any free one, which is also taken where the port is busy.

    Returns:
        The socket, and whether the port is the one that was asked for.

    Raises:
        UsageError: for a port that may not be taken.
    """
    for one in dict.fromkeys((port, 0)):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((ADDRESS, one))
        except PermissionError as error:
            found.close()
            raise UsageError(
                f"port {port} may not be taken: {error.strerror}", "Take one above 1023."
            ) from error
        except OSError:
            # taken by another program
            found.close()
            continue
        found.listen(64)
        return found, one == port or port == 0
    raise UsageError("no port of this machine is free", "Close other programs.")


class Serving:
    """A session that answers its page, at an address that nobody can guess.

    Args:
        session: Closed at the end of `run`, as the socket is.
        found: Listens, see `listen`.

    Attributes:
        address: Of the page.
    """

    def __init__(self, session: Session, found: socket.socket) -> None:
        self._session, self._socket = session, found
        token, explorer = secrets.token_urlsafe(_TOKEN_BYTES), Explorer(session)
        self.address = f"http://{ADDRESS}:{self._socket.getsockname()[1]}/{token}/"
        config = uvicorn.Config(
            explorer.application(token),
            # no line for every request: it would show the token
            access_log=False,
            log_level="warning",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ws="none",
        )
        self._server = _Server(config, explorer)

    def run(self) -> None:
        """Answer until `stop` or Ctrl-C.

        Raises:
            KeyboardInterrupt: at Ctrl-C, after everything has ended.
        """
        try:
            self._server.run([self._socket])
        finally:
            self._session.close()
            self._socket.close()

    def stop(self) -> None:
        """Let `run` end; from any thread."""
        self._server.should_exit = True
