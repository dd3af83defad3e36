"""The tables. Patients are ordinary django.contrib.auth users."""

from django.conf import settings
from django.core.files.storage import Storage, storages
from django.db import models
from django.urls import reverse
from django.utils import timezone


class Appointment(models.Model):
    """A session at the clinic."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="appointments"
    )
    starts_at = models.DateTimeField(db_index=True)
    note = models.TextField(blank=True)
    reminded_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-starts_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.user}, {self.starts_at:%Y-%m-%d %H:%M}"


def documents() -> Storage:
    """Return where documents lie: apart from the media, which everybody can read."""
    return storages["documents"]


class Document(models.Model):
    """A file about a patient, which nobody else may read."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="documents"
    )
    title = models.CharField(max_length=200)
    file = models.FileField(storage=documents, upload_to="%Y/%m")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.user}: {self.title}"

    def get_absolute_url(self) -> str:
        """Return the page that sends the file to whom it is for."""
        return reverse("document", args=[self.pk])


class Notification(models.Model):
    """One message to one person: the row is the truth, the queue only carries its id."""

    class Channel(models.TextChoices):
        """How the message travels."""

        EMAIL = "email", "E-mail"
        WHATSAPP = "whatsapp", "WhatsApp"

    class Status(models.TextChoices):
        """Where the message is; only a queued one can still move."""

        QUEUED = "queued", "Queued"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"
        SKIPPED = "skipped", "Skipped"

    channel = models.CharField(max_length=8, choices=Channel)
    recipient = models.CharField(max_length=254, blank=True)
    subject = models.CharField(max_length=200, blank=True)
    body = models.TextField()
    status = models.CharField(max_length=7, choices=Status, default=Status.QUEUED, db_index=True)
    error = models.CharField(max_length=200, blank=True)
    task_id = models.UUIDField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.get_channel_display()} {self.pk}: {self.status}"

    @property
    def masked_recipient(self) -> str:
        """The recipient as the public API shows it: a***@example.com, +49******12."""
        name, at, domain = self.recipient.partition("@")
        if at:
            return f"{name[:1]}***@{domain}"
        return f"{name[:3]}{'*' * 6}{name[-2:]}" if len(name) > 6 else "*" * len(name)


class Heartbeat(models.Model):
    """When a background process was last known to be alive."""

    BEAT = "beat"  # Written by beat when it publishes a tick.
    WORKER = "worker"  # Written by the worker when it runs one.

    name = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.at:%Y-%m-%d %H:%M:%S}"

    @classmethod
    def touch(cls, name: str) -> None:
        """Set the named heartbeat to now."""
        cls.objects.update_or_create(name=name, defaults={"at": timezone.now()})
