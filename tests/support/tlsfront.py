"""TLS in front of a plain HTTP server on loopback, with a client certificate demanded."""

import contextlib
import selectors
import socket
import ssl
import threading
from pathlib import Path

CHUNK = 1 << 16


class TlsFront:
    """Listens with TLS and passes bytes on to a port; a context manager. `port` is its own."""

    def __init__(self, cert: Path, key: Path, clients: Path, to: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._context.load_verify_locations(clients)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._to = to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.names: list[str] = []
        self._ending = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "TlsFront":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        # An accept that waits is not ended by closing the socket.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self._thread.join(60)
        self._listening.close()

    def _accept(self) -> None:
        while not self._ending:
            plain, _ = self._listening.accept()
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError), plain:
            plain.settimeout(60)
            secured = self._context.wrap_socket(plain, server_side=True)
            (((_, name),),) = (secured.getpeercert() or {})["subject"]  # type: ignore[misc,str-unpack]
            self.names.append(str(name))
            with secured, socket.create_connection(("127.0.0.1", self._to), 60) as behind:
                self._pass(secured, behind)

    @staticmethod
    def _pass(secured: ssl.SSLSocket, behind: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(secured, selectors.EVENT_READ, behind)
            ready.register(behind, selectors.EVENT_READ, secured)
            while True:
                for key, _ in ready.select(10):
                    data = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)
                    while key.fileobj is secured and secured.pending():
                        behind.sendall(secured.recv(CHUNK))
