"""The JSON API, which anyone may call (see REST_FRAMEWORK), the pages and patients' documents."""

import os
import socket

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.encoding import filepath_to_uri
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework import mixins, viewsets
from rest_framework import status as http
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from psychology_clinic import __version__

from . import serializers, tasks
from .models import Appointment, Document, Notification
from .status import run_checks


class ListCreateViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.CreateModelMixin,
    viewsets.GenericViewSet,
):
    """List, read and create; changing and deleting are for the admin."""


class UserViewSet(ListCreateViewSet):
    """Patients."""

    queryset = User.objects.order_by("pk")
    serializer_class = serializers.UserSerializer

    @transaction.atomic
    def perform_create(self, serializer: BaseSerializer) -> None:
        """Save the user and queue the welcome e-mail, both or neither."""
        user = serializer.save()
        if user.email:
            tasks.notify(
                Notification.Channel.EMAIL,
                user.email,
                "Welcome to the clinic",
                f"Hello {user.first_name or user},\n\nwe are glad you are here.\n",
            )


class AppointmentViewSet(ListCreateViewSet):
    """Appointments; beat reminds of them a day ahead."""

    queryset = Appointment.objects.all()
    serializer_class = serializers.AppointmentSerializer


class NotificationViewSet(ListCreateViewSet):
    """Notifications, newest first."""

    queryset = Notification.objects.all()
    serializer_class = serializers.NotificationSerializer

    def create(self, request: Request, *args: object, **kwargs: object) -> Response:
        """Answer 202: the row is stored, the message goes out later."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        row = tasks.notify(subject="A message from the clinic", **serializer.validated_data)
        return Response(self.get_serializer(row).data, status=http.HTTP_202_ACCEPTED)


def request_facts(request: HttpRequest) -> dict[str, str | int]:
    """How this request arrived here."""
    connection = request.META.get("gunicorn.socket")
    by_unix = connection is not None and connection.family == socket.AF_UNIX
    return {
        "host": request.get_host(),
        "scheme": request.META.get("HTTP_X_FORWARDED_PROTO", "not forwarded"),
        "arrived_by": "unix socket" if by_unix else "TCP",
        "visitor": request.META.get("REMOTE_ADDR", ""),
        "worker_pid": os.getpid(),
    }


@never_cache
@require_safe
def status(request: HttpRequest) -> JsonResponse:
    """Ask every component; 200 when all answer, 503 with the names of those that do not."""
    checks = run_checks()
    down = [name for name, check in checks.items() if check["ok"] is False]
    ok = all(check["ok"] for check in checks.values())
    return JsonResponse(
        {
            "status": "ok" if ok else "down",
            "down": down,
            "checks": checks,
            "version": __version__,
            "release": settings.RELEASE,
            "request": request_facts(request),
        },
        status=http.HTTP_200_OK if ok else http.HTTP_503_SERVICE_UNAVAILABLE,
    )


@never_cache
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Say that this process answers, and ask nobody else."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
@login_required(login_url="admin:login")
def document(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send a document to its patient or to the staff; for all others it does not exist."""
    found = get_object_or_404(Document, pk=pk)
    if not (request.user.is_staff or request.user == found.user):
        raise Http404
    if not settings.DOCUMENTS_URL:  # without Nginx
        return FileResponse(found.file, as_attachment=True)
    # Nginx sends the file. It knows the type, which Django would take for a page of HTML.
    place = settings.DOCUMENTS_URL + filepath_to_uri(found.file.name)
    response = HttpResponse(headers={"X-Accel-Redirect": place})
    del response["Content-Type"]
    return response


@never_cache
@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """Draw the request's way through the stack. Needs no database, so it always renders."""
    context = {"facts": request_facts(request), "release": settings.RELEASE}
    response = render(request, "clinic/landing.html", context)
    response["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return response
