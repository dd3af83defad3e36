"""Sinks on the droplet for what the application sends: SMTP on 1025, HTTP on 1080.

Each message is a line of JSON in the file that the first argument names. They listen on all
addresses on purpose: the firewall, and nothing else, keeps others from them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import StreamReader, StreamWriter
from pathlib import Path

Message = dict[str, str]


def keep(message: Message) -> None:
    """Append a message to the file."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(json.dumps(message) + "\n")


async def smtp(reader: StreamReader, writer: StreamWriter) -> None:
    """Take messages as RFC 5321 says, without any extension."""
    writer.write(b"220 sink\r\n")
    recipient = ""
    while line := (await reader.readline()).decode().strip():
        verb = line[:4].upper()
        if verb == "RCPT":
            recipient = line.partition("<")[2].partition(">")[0]
        if verb == "DATA":
            writer.write(b"354 go on\r\n")
            text = (await reader.readuntil(b"\r\n.\r\n")).decode()
            keep({"channel": "email", "to": recipient, "text": text})
        writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
        await writer.drain()
        if verb == "QUIT":
            break
    writer.close()


async def http(reader: StreamReader, writer: StreamWriter) -> None:
    """Take one POST of JSON for the path /messages, and any request for another path."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    text = (await reader.readexactly(int(fields.get("content-length", 0)))).decode()
    path, token = head[0].split()[1], fields.get("authorization", "")
    message = {"channel": path.strip("/"), "to": "", "text": text}
    if path == "/messages":
        message = {"channel": "whatsapp", "authorization": token, **json.loads(text)}
    keep(message)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def main() -> None:
    """Serve both until the process is ended."""
    servers = [
        await asyncio.start_server(smtp, "0.0.0.0", 1025),
        await asyncio.start_server(http, "0.0.0.0", 1080),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
