"""An ASGI project: WebSockets, server-sent events and the visitor's address.

It leaves Gunicorn's service with workers of Uvicorn, so that the next file has to run site.yml.
"""

import re
import socket
import struct
import threading
import time
from http.client import HTTPConnection

import pytest
from projects import done, refused
from websockets import CLOSE, RESTART, TEXT, WebSocket

NAME = "clinic.example.com"
FILES = {
    "shop/asgi.py": """
import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
pages = get_asgi_application()


async def application(scope, receive, send):
    if scope["type"] != "websocket":
        return await pages(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = f"{message['text']} from {scope['client'][0]} to {scope['server'][1]}"
        await send({"type": "websocket.send", "text": text})
""",
}
PAGES = """
import asyncio

from django.http import JsonResponse, StreamingHttpResponse


def who(request):
    told = {"address": request.META["REMOTE_ADDR"], "port": request.get_port()}
    told["forged"] = [name for name, value in request.META.items() if "forged" in str(value)]
    return JsonResponse(told | {"url": request.build_absolute_uri()})


async def events(request):
    async def parts():
        yield "data: 1\\n\\n"
        await asyncio.sleep(20)

    return StreamingHttpResponse(parts(), content_type="text/event-stream")


def upgrade(request):
    return HttpResponse(request.headers.get("Upgrade", "none"))


urlpatterns += [path("who/", who), path("events/", events), path("upgrade/", upgrade)]
"""


class Load:
    """Some visitors that ask for a page, again and again; `wrong` has what they were told."""

    def __init__(self, address):
        self.address, self.wrong, self.asked = address, [], 0
        self.ends = threading.Event()
        self.visitors = [threading.Thread(target=self.visit) for _ in range(4)]

    def visit(self):
        while not self.ends.is_set():
            try:
                connection = HTTPConnection(self.address, timeout=30)
                connection.request("GET", "/", headers={"Host": NAME})
                if (status := connection.getresponse().status) != 200:
                    self.wrong.append(status)
                connection.close()
            except OSError as error:
                self.wrong.append(repr(error))
            self.asked += 1
            time.sleep(0.09)  # nginx allows 50 requests a second

    def __enter__(self):
        for each in self.visitors:
            each.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        for each in self.visitors:
            each.join()


@pytest.fixture(scope="module", autouse=True)
def _live(project):
    project.write(FILES)
    project.append("shop/urls.py", PAGES)
    project.description = {"app_asgi": "shop.asgi:application"}
    done(project.site("--tags=app,gunicorn"))


def test_the_address_of_the_visitor_arrives(door):
    forged = {"X-Real-IP": "198.51.100.9", "X-Forwarded-For": "198.51.100.9"} | dict.fromkeys(
        ["Forwarded", "True-Client-IP", "CF-Connecting-IP", "Remote-User", "X-Forwarded-Port",
         "X-Forwarded-Prefix", "X-Original-URL", "X-SSL-Client-Verify", "SCRIPT_NAME"], "forged",
    )  # fmt: skip
    told = door.ask("/who/", headers=forged).json()
    here = socket.create_connection((door.address, 80)).getsockname()[0]
    url = f"http://{NAME}/who/"
    assert told == {"address": here, "port": "80", "forged": [], "url": url}


def test_an_event_arrives_before_the_stream_ends(door):
    connection = HTTPConnection(door.address, timeout=10)
    connection.request("GET", "/events/", headers={"Host": NAME})
    assert connection.getresponse().readline() == b"data: 1\n"
    connection.close()


def test_nginx_passes_on_no_other_protocol(door):
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMA"}
    assert door.ask("/upgrade/", headers=headers).text == "none"


def test_a_deploy_closes_each_websocket_with_a_code_and_loses_no_request(project, door):
    sockets = [WebSocket(door.address, NAME) for _ in range(6)]
    for each in sockets:
        each.send("hello")
        here = each.socket.getsockname()[0]
        assert each.receive() == (TEXT, f"hello from {here} to 80".encode())
    project.append("shop/urls.py", 'urlpatterns += [path("new/", lambda r: HttpResponse("new"))]\n')
    with Load(door.address) as load:
        done(project.deploy())
    assert (load.wrong, load.asked > 100) == ([], True)
    assert [each.receive() for each in sockets] == [(CLOSE, struct.pack("!H", RESTART))] * 6
    again = WebSocket(door.address, NAME)
    again.send("again")
    assert again.receive()[0] == TEXT
    assert door.ask("/new/").text == "new"


def test_an_application_that_the_workers_cannot_serve_is_refused(project):
    told = refused(project.deploy(app_asgi="", app_wsgi="shop.asgi:application"))
    assert "write app_asgi: shop.asgi:application" in re.sub(r"\s+", " ", told)
