"""The one page."""

from django.contrib.sessions.models import Session
from django.http import JsonResponse
from django.urls import path

urlpatterns = [path("", lambda request: JsonResponse({"counted": Session.objects.count()}))]
