"""Guesses at one account from many addresses."""

from base64 import b64encode
from datetime import timedelta
from unittest.mock import patch

from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.auth.models import User
from django.test import TestCase, override_settings
from django.utils import timezone
from rest_framework.authentication import BasicAuthentication
from rest_framework.permissions import IsAuthenticated

from clinic.tasks import forget_failed_logins
from clinic.views import UserViewSet

PASSWORD = "correct horse battery staple"
LIMIT = 5


FAST = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # each guess is hashed


@override_settings(AXES_FAILURE_LIMIT=LIMIT, PASSWORD_HASHERS=FAST)
class LoginTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        for name in ("ada", "eve"):
            User.objects.create_user(name, password=PASSWORD, is_staff=True)

    def admin(self, name, password, address="203.0.113.9"):
        """Log in at the admin; return the status: 302 if it succeeds."""
        data = {"username": name, "password": password}
        return self.client.post("/admin/login/", data, REMOTE_ADDR=address).status_code

    def api(self, name, password, address="203.0.113.9"):
        """Log in at the API, as in a project that asks for it; return the status."""
        login = "Basic " + b64encode(f"{name}:{password}".encode()).decode()
        with (
            patch.object(UserViewSet, "authentication_classes", [BasicAuthentication]),
            patch.object(UserViewSet, "permission_classes", [IsAuthenticated]),
        ):
            return self.client.get(
                "/api/users/", headers={"authorization": login}, REMOTE_ADDR=address
            ).status_code

    def guess(self, login, times=LIMIT):
        return [login("ada", f"guess {n}", f"198.51.100.{n}") for n in range(times)]

    def later(self, **time):
        return patch("axes.handlers.proxy.now", return_value=timezone.now() + timedelta(**time))

    def test_many_addresses_lock_an_account_and_no_other(self):
        self.assertEqual(self.guess(self.admin), [200] * (LIMIT - 1) + [429])
        self.assertEqual(self.admin("ada", PASSWORD), 429)
        self.assertEqual(self.api("ada", PASSWORD), 401)
        self.assertEqual(self.admin("eve", PASSWORD, "198.51.100.1"), 302)

    def test_guesses_at_the_api_count_as_well(self):
        self.assertEqual(self.api("ada", PASSWORD), 200)
        self.assertEqual(set(self.guess(self.api)), {401})
        self.assertEqual(self.api("ada", PASSWORD), 401)
        self.assertEqual(self.admin("ada", PASSWORD), 429)

    def test_the_right_password_is_accepted_before_that_and_ends_the_count(self):
        for _time in range(2):
            self.guess(self.admin, LIMIT - 1)
            self.assertEqual(self.admin("ada", PASSWORD), 302)

    def test_the_lock_ends_however_much_is_guessed_meanwhile(self):
        self.guess(self.admin)
        minutes = settings.AXES_COOLOFF_TIME.seconds // 60
        with self.later(minutes=minutes - 1):
            self.guess(self.admin)
            self.assertEqual(self.admin("ada", PASSWORD), 429)
        with self.later(minutes=minutes + 1):
            self.assertEqual(self.admin("ada", PASSWORD), 302)

    def test_who_is_logged_in_stays_so(self):
        self.client.force_login(User.objects.get(username="ada"))
        self.guess(self.admin)
        self.assertEqual(self.client.get("/admin/").status_code, 200)

    def test_a_failure_is_kept_with_its_address_and_without_the_password(self):
        self.guess(self.admin, 1)
        row = AccessAttempt.objects.get()
        self.assertEqual((row.username, row.ip_address), ("ada", "198.51.100.0"))
        self.assertNotIn("guess", row.post_data)

    def test_failures_that_no_longer_count_and_logins_are_not_kept(self):
        self.admin("eve", PASSWORD)
        self.guess(self.admin, 2)
        AccessAttempt.objects.filter(ip_address="198.51.100.0").update(
            attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME - timedelta(seconds=1)
        )
        self.assertEqual(forget_failed_logins.apply().get(), 1)
        self.assertEqual(AccessAttempt.objects.get().ip_address, "198.51.100.1")
        self.assertFalse(AccessLog.objects.exists())


class LimitTests(TestCase):
    def test_the_limit_is_that_of_nist_and_the_lock_is_short(self):
        self.assertLessEqual(settings.AXES_FAILURE_LIMIT, 100)
        self.assertLess(settings.AXES_COOLOFF_TIME, timedelta(hours=1))
