"""Celery tasks. Every one is safe to run twice: Celery delivers at least once."""

import logging
import uuid
from collections.abc import Callable
from datetime import timedelta
from fnmatch import fnmatch
from typing import Any

import requests
from axes.models import AccessAttempt
from celery import Task, shared_task
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import OperationalError, transaction
from django.utils import timezone

from .models import Appointment, Heartbeat, Notification

logger = logging.getLogger(__name__)

REMIND_BEFORE = timedelta(hours=24)
STALE_AFTER = timedelta(minutes=1)


class RefusedError(Exception):
    """The other side said no, and would say no again. The text goes into the row."""


class DeliveryTask(Task):
    """Retries what may pass (network, SMTP, database), then records the failure."""

    # requests' and smtplib's exceptions are OSErrors too.
    autoretry_for = (OSError, OperationalError)
    max_retries = 4
    retry_backoff = 2  # 2, 4, 8, 16 seconds, with jitter: see visibility_timeout in settings.
    retry_backoff_max = 16

    def on_failure(
        self, exc: Exception, task_id: str, args: tuple, kwargs: dict, einfo: object
    ) -> None:
        """Write the last error to the row: its type only, for the text may hold a secret."""
        Notification.objects.filter(
            pk=args[0] if args else kwargs["notification_id"],
            status=Notification.Status.QUEUED,
        ).update(status=Notification.Status.FAILED, error=f"gave up: {type(exc).__name__}")


def deliver(notification_id: int, send: Callable[[Notification], None]) -> str:
    """Send a queued notification once.

    The row stays locked while it is sent, so a second copy of the task waits and then finds
    nothing to do. The one gap left is a process that dies between the remote server's "OK"
    and our commit; that message is sent twice.

    Args:
        notification_id: Primary key of the row.
        send: Hands the message over; raises RefusedError when trying again is pointless.

    Returns:
        The row's status afterwards, or "gone".
    """
    with transaction.atomic():
        row = Notification.objects.select_for_update().filter(pk=notification_id).first()
        if row is None:
            return "gone"
        if row.status == Notification.Status.QUEUED:
            try:
                send(row)
            except RefusedError as error:
                row.status, row.error = Notification.Status.FAILED, str(error)
            else:
                row.status, row.sent_at = Notification.Status.SENT, timezone.now()
            row.save(update_fields=["status", "error", "sent_at"])
        return row.status


@shared_task(base=DeliveryTask)
def send_email(notification_id: int) -> str:
    """Send one e-mail through the server in EMAIL_URL."""

    def send(row: Notification) -> None:
        EmailMessage(row.subject, row.body, to=[row.recipient]).send()

    return deliver(notification_id, send)


@shared_task(base=DeliveryTask)
def send_whatsapp(notification_id: int) -> str:
    """Post one message to WHATSAPP_API_URL as {"id", "to", "text"}."""

    def send(row: Notification) -> None:
        response = requests.post(
            settings.WHATSAPP_API_URL,
            json={"id": row.pk, "to": row.recipient, "text": row.body},
            headers={"Authorization": f"Bearer {settings.WHATSAPP_API_TOKEN}"},
            timeout=settings.WHATSAPP_TIMEOUT,
            allow_redirects=False,  # The token is for this address and no other.
        )
        code = response.status_code
        if code == requests.codes.too_many_requests or code >= 500:
            response.raise_for_status()
        if not response.ok or response.is_redirect:
            raise RefusedError(f"the WhatsApp API answered {code}")

    return deliver(notification_id, send)


SENDERS: dict[str, Task] = {
    Notification.Channel.EMAIL: send_email,
    Notification.Channel.WHATSAPP: send_whatsapp,
}


def publish(row: Notification) -> None:
    """Hand a row to the queue once the current transaction is committed.

    `robust`: a broker that is away is logged, and requeue_stale takes the row up later.
    """
    transaction.on_commit(
        lambda: SENDERS[row.channel].apply_async([row.pk], task_id=str(row.task_id)),
        robust=True,
    )


def notify(channel: str, recipient: str, subject: str, body: str) -> Notification:
    """Store a notification and queue its task, or store why it is skipped."""
    reason = ""
    if not recipient:
        reason = "no address"
    elif not any(fnmatch(recipient, pattern) for pattern in settings.NOTIFY_RECIPIENTS):
        reason = "the recipient is not in NOTIFY_RECIPIENTS"
    elif channel == Notification.Channel.WHATSAPP and not (
        settings.WHATSAPP_API_URL and settings.WHATSAPP_API_TOKEN
    ):
        reason = "WHATSAPP_API_URL and WHATSAPP_API_TOKEN are not set"
    row = Notification.objects.create(
        channel=channel,
        recipient=recipient,
        subject=subject,
        body=body,
        status=Notification.Status.SKIPPED if reason else Notification.Status.QUEUED,
        error=reason,
        task_id=None if reason else uuid.uuid4(),
    )
    if not reason:
        publish(row)
    return row


@shared_task
def send_due_reminders() -> int:
    """Queue a reminder for each appointment in the next 24 hours that has had none.

    skip_locked: two runs at once share the appointments out. The mark and the notification
    are one transaction, so each appointment gets exactly one row.

    Returns:
        How many appointments were marked.
    """
    now = timezone.now()
    with transaction.atomic():
        due = list(
            Appointment.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("user")
            .filter(reminded_at=None, starts_at__gt=now, starts_at__lte=now + REMIND_BEFORE)
            .order_by("starts_at")[:500]
        )
        for appointment in due:
            when = f"{appointment.starts_at:%A %d %B, %H:%M} UTC"
            notify(
                Notification.Channel.EMAIL,
                appointment.user.email,
                "Your appointment",
                f"Hello {appointment.user.first_name or appointment.user},\n\n"
                f"we expect you on {when}.\n",
            )
            appointment.reminded_at = now
        Appointment.objects.bulk_update(due, ["reminded_at"])
    return len(due)


@shared_task
def requeue_stale() -> int:
    """Publish again what has waited over a minute: its message may never have reached Redis.

    Returns:
        How many rows were published; one that is only slow is not sent twice.
    """
    stale = Notification.objects.filter(
        status=Notification.Status.QUEUED, created_at__lt=timezone.now() - STALE_AFTER
    ).order_by("pk")[:500]
    for row in stale:
        publish(row)
    return len(stale)


@shared_task
def forget_failed_logins() -> int:
    """Delete the failed logins that no longer count: they have names and addresses.

    Returns:
        How many rows were deleted.
    """
    limit = timezone.now() - settings.AXES_COOLOFF_TIME
    return AccessAttempt.objects.filter(attempt_time__lt=limit).delete()[0]


@shared_task
def tick() -> None:
    """Record that beat's message went all the way to a worker."""
    Heartbeat.touch(Heartbeat.WORKER)


@shared_task(ignore_result=False)
def ping(value: Any) -> Any:  # noqa: ANN401
    """Return the value: the round trip that /api/status/ measures."""
    return value
