"""Mail servers: one that answers as the recipient's address says, and one that never answers."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django


def mailer(backend: str, **options: Any) -> dict[str, Any]:
    """Return the settings of a mail backend, as this version of Django has them."""
    path = backend if backend.count(".") > 1 else f"django.core.mail.backends.{backend}.EmailBackend"
    if django.VERSION >= (6, 1):
        return {"MAILERS": {"default": {"BACKEND": path, "OPTIONS": options}}}
    return {"EMAIL_BACKEND": path, **{f"EMAIL_{name.upper()}": value for name, value in options.items()}}


class Conversation(socketserver.StreamRequestHandler):
    """One SMTP session. A recipient or sender named like a reply code gets that reply; ``drop@`` ends the connection, ``spam@`` is
    refused after the text.
    """

    server: MailServer

    def handle(self) -> None:
        self.say("220 here")
        for line in self.rfile:
            said = line.decode(errors="replace").strip()
            if said.upper().startswith("MAIL"):
                self.answer(said)
            elif said.upper().startswith("RCPT"):
                if self.answer(said) == "drop":
                    return
            elif said.upper() == "DATA":
                self.say("354 go on")
                text = "".join(iter(lambda: self.rfile.readline().decode(), ".\r\n"))
                is_spam = "To: spam@" in text
                self.say("554 no" if is_spam else "250 yes")
                if not is_spam:
                    self.server.received.append(text)
            else:
                self.say("250 yes")

    def answer(self, said: str) -> str:
        name = said.partition("<")[2].partition("@")[0]
        if name != "drop":
            self.say(f"{name} no" if name.isdigit() else "250 yes")
        return name

    def say(self, answer: str) -> None:
        self.wfile.write(f"{answer}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.received: list[str] = []

    @property
    def settings(self) -> dict[str, Any]:
        return mailer("smtp", host="127.0.0.1", port=self.server_address[1])

    @property
    def recipients(self) -> list[str]:
        return [line[4:].strip() for text in self.received for line in text.splitlines() if line.startswith("To: ")]


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def silent_server() -> Iterator[dict[str, Any]]:
    """Accepts connections and never says a word. Yields the settings that lead to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield mailer("smtp", host="127.0.0.1", port=listener.getsockname()[1])


def drip(listener: socket.socket) -> None:
    """Greet one client with a byte each fifth of a second and no end, so that no read ever times out."""
    connection, _ = listener.accept()
    with connection:
        try:
            while True:
                connection.sendall(b"2")
                threading.Event().wait(0.2)
        except OSError:
            return


@contextmanager
def dripping_server() -> Iterator[dict[str, Any]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=[listener], daemon=True).start()
        yield mailer("smtp", host="127.0.0.1", port=listener.getsockname()[1])
