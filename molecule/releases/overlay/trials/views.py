"""Pages in plain text, for programs."""

import time

from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from . import tasks
from .number import NUMBER

WAIT = 0.02  # seconds: as long as a page that asks a database


def text(content: object, status: int = 200) -> HttpResponse:
    """Answer with a text and no more."""
    return HttpResponse(f"{content}", content_type="text/plain", status=status)


def release(request: HttpRequest) -> HttpResponse:
    """Tell which release answers."""
    return text(NUMBER)


def wait(request: HttpRequest) -> HttpResponse:
    """Tell it after a while."""
    time.sleep(WAIT)
    return text(NUMBER)


def style(request: HttpRequest) -> HttpResponse:
    """Tell which stylesheet the pages of this release link."""
    return text(static("trials/style.css"))


@csrf_exempt
@require_POST
def queue(request: HttpRequest, count: int, name: str) -> HttpResponse:
    """Queue many short tasks, each with a name of its own."""
    for number in range(count):
        queue = "reports" if number % 2 else None  # each of the two workers gets half of them
        tasks.mark.apply_async([f"{name} {number}"], queue=queue)
    return text(count, status=202)


@csrf_exempt
@require_POST
def long(request: HttpRequest, seconds: int, name: str) -> HttpResponse:
    """Queue one long task, in the queue that is named."""
    tasks.long.apply_async([seconds, name], queue=request.GET.get("queue"))
    return text(seconds, status=202)
