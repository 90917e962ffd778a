"""Receive mails at a port of this machine, in plain SMTP (RFC 5321)."""

from __future__ import annotations

import email
import email.policy
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage


@contextmanager
def mail_server() -> Iterator[tuple[str, list[EmailMessage]]]:
    """Yield an address in Apprise's syntax, and the mails that have arrived at it."""
    listener, mails = socket.create_server(("127.0.0.1", 0)), list[EmailMessage]()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            with connection:
                _receive(connection, mails)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    place = f"127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield f"mailto://{place}/?from=twin@example.org&to=her@example.org&mode=insecure", mails
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # `close` alone does not end a waiting `accept`
        listener.close()
        thread.join()


def _receive(connection: socket.socket, mails: list[EmailMessage]) -> None:
    with connection.makefile("rwb") as stream:

        def send(line: str) -> None:
            stream.write(f"{line}\r\n".encode())
            stream.flush()

        send("220 here")
        while line := stream.readline():
            word = line.split()[0].upper()
            if word == b"DATA":
                send("354 go on")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    data += stream.readline()
                policy = email.policy.default
                mails.append(email.message_from_bytes(data.removesuffix(b".\r\n"), policy=policy))
            send("221 bye" if word == b"QUIT" else "250 ok")
            if word == b"QUIT":
                return
