"""The Celery tasks, run in this process."""

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from unittest.mock import patch

from celery.signals import after_task_publish
from django.conf import settings
from django.contrib.auth.models import User
from django.core import mail
from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from clinic import tasks
from clinic.models import Appointment, Heartbeat, Notification


def queued(channel="email", recipient="ada@example.com"):
    return Notification.objects.create(
        channel=channel, recipient=recipient, subject="Subject", body="Body"
    )


class EmailTests(TestCase):
    def test_sent_once_however_often_the_task_runs(self):
        row = queued()
        for _time in range(3):
            self.assertEqual(tasks.send_email.apply([row.pk]).get(), "sent")
        self.assertEqual(len(mail.outbox), 1)
        row.refresh_from_db()
        self.assertIsNotNone(row.sent_at)

    def test_a_deleted_row_is_no_error(self):
        self.assertEqual(tasks.send_email.apply([404]).get(), "gone")

    def test_a_passing_error_is_retried(self):
        row = queued()
        with patch("clinic.tasks.EmailMessage.send", side_effect=[ConnectionError, 1]) as send:
            tasks.send_email.apply([row.pk])
        row.refresh_from_db()
        self.assertEqual((row.status, send.call_count), ("sent", 2))

    def test_a_lasting_error_ends_in_the_row_without_its_text(self):
        row = queued()
        error = ConnectionRefusedError("smtp://user:hunter2@mail")
        with patch("clinic.tasks.EmailMessage.send", side_effect=error) as send:
            tasks.send_email.apply([row.pk])
        row.refresh_from_db()
        self.assertEqual(send.call_count, 1 + tasks.DeliveryTask.max_retries)
        self.assertEqual(row.status, "failed")
        self.assertEqual(row.error, "gave up: ConnectionRefusedError")


class WhatsAppTests(TestCase):
    """Against a real HTTP server on the loopback address."""

    def setUp(self):
        self.answers, self.requests = [], []
        case = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                case.requests.append((self.headers["Authorization"], body))
                self.send_response(case.answers.pop(0))
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.enterContext(
            override_settings(
                WHATSAPP_API_URL=f"http://127.0.0.1:{server.server_port}/",
                WHATSAPP_API_TOKEN="token",
            )
        )
        self.row = queued("whatsapp", "+4915112345678")

    def send(self, *answers):
        self.answers.extend(answers)
        tasks.send_whatsapp.apply([self.row.pk])
        self.row.refresh_from_db()
        return self.row.status

    def test_posts_the_message_with_the_token_once(self):
        self.assertEqual(self.send(200), "sent")
        self.assertEqual(self.send(), "sent")
        message = {"id": self.row.pk, "to": "+4915112345678", "text": "Body"}
        self.assertEqual(self.requests, [("Bearer token", message)])

    def test_busy_servers_are_asked_again(self):
        self.assertEqual(self.send(503, 429, 200), "sent")
        self.assertEqual(len(self.requests), 3)

    def test_a_lasting_server_error_fails_the_row(self):
        self.assertEqual(self.send(*[500] * 5), "failed")
        self.assertEqual(self.row.error, "gave up: HTTPError")

    def test_a_refusal_is_final(self):
        self.assertEqual(self.send(400), "failed")
        self.assertEqual(len(self.requests), 1)
        self.assertIn("400", self.row.error)

    def test_the_token_does_not_follow_a_redirect(self):
        self.assertEqual(self.send(307), "failed")
        self.assertEqual(len(self.requests), 1)


class ReminderTests(TestCase):
    def book(self, hours, email="ada@example.com", **fields):
        user, _created = User.objects.get_or_create(
            username=email or "nobody", defaults={"email": email}
        )
        starts_at = timezone.now() + timedelta(hours=hours)
        return Appointment.objects.create(user=user, starts_at=starts_at, **fields)

    def test_each_due_appointment_is_reminded_of_once(self):
        due = self.book(hours=3)
        self.book(hours=25)
        self.book(hours=-1)
        self.book(hours=4, reminded_at=timezone.now())
        with self.captureOnCommitCallbacks(execute=True):
            self.assertEqual(tasks.send_due_reminders(), 1)
        with self.captureOnCommitCallbacks(execute=True):
            self.assertEqual(tasks.send_due_reminders(), 0)
        due.refresh_from_db()
        self.assertIsNotNone(due.reminded_at)
        self.assertEqual(len(mail.outbox), 1)
        self.assertIn(f"{due.starts_at:%H:%M}", mail.outbox[0].body)

    def test_a_patient_without_address_leaves_a_skipped_row(self):
        self.book(hours=3, email="")
        tasks.send_due_reminders()
        row = Notification.objects.get()
        self.assertEqual((row.status, row.error), ("skipped", "no address"))


class QueueTests(TestCase):
    def test_a_lost_broker_leaves_the_row_for_requeue_stale(self):
        with (
            patch.object(tasks.send_email, "apply_async", side_effect=OperationalError),
            self.assertLogs("django", "ERROR"),
            self.captureOnCommitCallbacks(execute=True),
        ):
            row = tasks.notify("email", "ada@example.com", "Subject", "Body")
        self.assertEqual(tasks.requeue_stale(), 0)  # Too young.
        Notification.objects.update(created_at=timezone.now() - timedelta(minutes=3))
        with self.captureOnCommitCallbacks(execute=True):
            self.assertEqual(tasks.requeue_stale(), 1)
        row.refresh_from_db()
        self.assertEqual(row.status, "sent")


class HeartbeatTests(TestCase):
    def test_a_published_tick_is_beats_sign_of_life(self):
        with patch("clinic.signals.close_old_connections"):
            after_task_publish.send(sender="clinic.tasks.ping")
            self.assertFalse(Heartbeat.objects.exists())
            after_task_publish.send(sender="clinic.tasks.tick")
        self.assertEqual(Heartbeat.objects.get().name, "beat")

    def test_a_run_tick_is_the_workers(self):
        tasks.tick()
        tasks.tick()
        self.assertEqual(Heartbeat.objects.get().name, "worker")


class SettingsTests(SimpleTestCase):
    def test_live_tasks_are_not_taken_for_lost_ones(self):
        timeout = settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"]
        self.assertGreater(timeout, settings.CELERY_TASK_TIME_LIMIT)
        self.assertGreater(timeout, tasks.DeliveryTask.retry_backoff_max)

    def test_the_beat_schedule_names_real_tasks(self):
        for entry in settings.CELERY_BEAT_SCHEDULE.values():
            self.assertTrue(hasattr(tasks, entry["task"].removeprefix("clinic.tasks.")))
