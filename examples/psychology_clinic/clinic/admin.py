"""The admin: what the public API hides is here."""

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from .models import Appointment, Document, Heartbeat, Notification


@admin.register(Appointment)
class AppointmentAdmin(admin.ModelAdmin):
    """Appointments by day."""

    list_display = ["user", "starts_at", "reminded_at"]
    list_filter = ["starts_at"]
    list_select_related = ["user"]
    date_hierarchy = "starts_at"
    autocomplete_fields = ["user"]
    search_fields = ["user__username", "note"]
    readonly_fields = ["reminded_at"]


@admin.register(Document)
class DocumentAdmin(admin.ModelAdmin):
    """Patients' documents; who may read one follows the link "View on site"."""

    list_display = ["title", "user", "created_at"]
    list_select_related = ["user"]
    autocomplete_fields = ["user"]
    search_fields = ["title", "user__username"]
    # The usual widget links the file below MEDIA_URL, where it is not.
    formfield_overrides = {models.FileField: {"widget": forms.FileInput}}


class ReadOnlyAdmin(admin.ModelAdmin):
    """A log is read, not edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nobody edits rows by hand."""
        return False


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    """Every message and what became of it."""

    list_display = ["id", "channel", "recipient", "subject", "status", "created_at", "sent_at"]
    list_filter = ["status", "channel", "created_at"]
    search_fields = ["recipient", "subject", "task_id"]


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """Beat's and the worker's last signs of life."""

    list_display = ["name", "at"]
