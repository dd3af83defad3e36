"""The JSON API."""

from datetime import timedelta

from django.contrib.auth.models import User
from django.core import mail
from django.test import TestCase, override_settings
from django.utils import timezone

from clinic.models import Appointment, Notification


class ApiCase(TestCase):
    def post(self, url, **data):
        # Commit hooks run, so the eager task does too.
        with self.captureOnCommitCallbacks(execute=True):
            return self.client.post(url, data, content_type="application/json")


class UserTests(ApiCase):
    def test_list_is_paginated_and_shows_no_contact_data(self):
        for number in range(21):
            User.objects.create_user(f"u{number}", f"u{number}@example.com")
        body = self.client.get("/api/users/").json()
        self.assertEqual(body["count"], 21)
        self.assertEqual(len(body["results"]), 20)
        self.assertIn("page=2", body["next"])
        self.assertIsNone(body["previous"])
        self.assertEqual(
            set(body["results"][0]),
            {"id", "username", "first_name", "last_name", "date_joined"},
        )

    def test_create_sends_a_welcome_and_sets_no_password(self):
        response = self.post("/api/users/", username="ada", email="ada@example.com")
        self.assertEqual(response.status_code, 201)
        self.assertNotIn("email", response.json())
        user = User.objects.get()
        self.assertEqual(user.email, "ada@example.com")
        self.assertFalse(user.has_usable_password())
        self.assertEqual(mail.outbox[0].to, ["ada@example.com"])
        self.assertEqual(Notification.objects.get().status, "sent")
        self.assertEqual(self.client.get(f"/api/users/{user.pk}/").json()["username"], "ada")

    def test_create_without_email_sends_nothing(self):
        self.assertEqual(self.post("/api/users/", username="ada").status_code, 201)
        self.assertFalse(Notification.objects.exists())

    def test_the_public_cannot_make_an_administrator(self):
        self.post("/api/users/", username="eve", is_staff=True, is_superuser=True, password="x")
        user = User.objects.get()
        self.assertFalse(user.is_staff or user.is_superuser or user.has_usable_password())

    def test_bad_input_is_a_400_that_names_the_field(self):
        User.objects.create_user("ada")
        for data, field in (
            ({}, "username"),
            ({"username": "ada"}, "username"),
            ({"username": "a b"}, "username"),
            ({"username": "bob", "email": "nonsense"}, "email"),
        ):
            with self.subTest(data):
                response = self.post("/api/users/", **data)
                self.assertEqual(response.status_code, 400)
                self.assertIn(field, response.json())
        self.assertEqual(User.objects.count(), 1)


class AppointmentTests(ApiCase):
    def test_create_and_list_without_the_note(self):
        user = User.objects.create_user("ada")
        data = {"user": user.pk, "note": "private"}
        later = (timezone.now() + timedelta(days=2)).isoformat()
        self.assertEqual(self.post("/api/appointments/", starts_at=later, **data).status_code, 201)
        row = self.client.get("/api/appointments/").json()["results"][0]
        self.assertEqual(row["user"], user.pk)
        self.assertNotIn("note", row)
        self.assertEqual(Appointment.objects.get().note, "private")

    def test_the_past_is_refused(self):
        user = User.objects.create_user("ada")
        past = (timezone.now() - timedelta(minutes=1)).isoformat()
        response = self.post("/api/appointments/", starts_at=past, user=user.pk)
        self.assertEqual(response.status_code, 400)
        self.assertIn("starts_at", response.json())


class NotificationTests(ApiCase):
    def test_create_answers_202_with_the_queued_row_and_sends_it(self):
        response = self.post(
            "/api/notifications/", channel="email", recipient="ada@example.com", body="Hello"
        )
        self.assertEqual(response.status_code, 202)
        row = response.json()
        self.assertEqual((row["status"], row["recipient"]), ("queued", "a***@example.com"))
        self.assertEqual(mail.outbox[0].body, "Hello")
        again = self.client.get(f"/api/notifications/{row['id']}/").json()
        self.assertEqual(again["status"], "sent")
        self.assertNotIn("body", again)

    def test_list_is_newest_first_and_masked(self):
        for name in ("old", "new"):
            Notification.objects.create(
                channel="email", recipient=f"{name}@example.com", body="secret words"
            )
        response = self.client.get("/api/notifications/")
        recipients = [row["recipient"] for row in response.json()["results"]]
        self.assertEqual(recipients, ["n***@example.com", "o***@example.com"])
        self.assertNotContains(response, "secret words")

    def test_whatsapp_without_settings_is_skipped_with_the_reason(self):
        row = self.post(
            "/api/notifications/", channel="whatsapp", recipient="+4915112345678", body="Hi"
        ).json()
        self.assertEqual((row["status"], row["recipient"]), ("skipped", "+49******78"))
        self.assertIn("WHATSAPP_API_URL", row["error"])

    @override_settings(NOTIFY_RECIPIENTS=["*@example.com"])
    def test_recipients_can_be_limited(self):
        self.post("/api/notifications/", channel="email", recipient="a@evil.test", body="Hi")
        self.assertEqual(Notification.objects.get().status, "skipped")
        self.assertEqual(mail.outbox, [])

    def test_a_recipient_must_fit_its_channel(self):
        for channel, recipient in (
            ("email", "+4915112345678"),
            ("whatsapp", "ada@example.com"),
            ("email", "ada@example.com\nBcc: eve@example.com"),
            ("pigeon", "ada@example.com"),
        ):
            with self.subTest(channel=channel, recipient=recipient):
                response = self.post(
                    "/api/notifications/", channel=channel, recipient=recipient, body="Hi"
                )
                self.assertEqual(response.status_code, 400)
        self.assertFalse(Notification.objects.exists())
