"""/api/status/: each component on its own."""

from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import MagicMock, patch

import redis
from celery.exceptions import TimeoutError as CeleryTimeoutError
from django.db import OperationalError
from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from clinic import status
from clinic.models import Heartbeat

SECRET = "redis://:hunter2@10.0.0.1"


@contextmanager
def redis_server(error=None):
    """A Redis that answers, or raises."""
    client = MagicMock()
    client.__enter__.return_value = client
    client.ping.side_effect = error
    with (
        override_settings(REDIS_URL=SECRET),
        patch("clinic.status.redis.Redis.from_url", return_value=client),
    ):
        yield


class StatusTests(TestCase):
    def setUp(self):
        Heartbeat.touch(Heartbeat.BEAT)

    def ask(self):
        response = self.client.get("/api/status/")
        self.assertNotContains(response, "hunter2", status_code=response.status_code)
        return response.status_code, response.json()

    def assert_down(self, *names):
        code, body = self.ask()
        self.assertEqual((code, body["status"], body["down"]), (503, "down", list(names)))
        for name in names:
            self.assertIs(body["checks"][name]["ok"], False)
        return body["checks"]

    def test_everything_works(self):
        with redis_server():
            code, body = self.ask()
        self.assertEqual((code, body["status"], body["down"]), (200, "ok", []))
        self.assertEqual(set(body["checks"]), {"database", "redis", "worker", "beat"})
        for check in body["checks"].values():
            self.assertIs(check["ok"], True)
            self.assertIsInstance(check["ms"], float)
        self.assertEqual(body["version"], "1.0.0")
        self.assertTrue(body["release"])

    def test_database_down(self):
        error = OperationalError("password=hunter2")
        with (
            redis_server(),
            patch("clinic.status.connection.cursor", side_effect=error),
            self.assertLogs("clinic.status", "WARNING"),
        ):
            checks = self.assert_down("database")
        self.assertIsNone(checks["beat"]["ok"])
        self.assertTrue(checks["worker"]["ok"])

    def test_migrations_missing(self):
        with redis_server(), patch("clinic.status.MigrationExecutor") as executor:
            executor.return_value.migration_plan.return_value = ["0002"]
            checks = self.assert_down("database")
        self.assertIn("1 migration", checks["database"]["detail"])

    def test_redis_down(self):
        with (
            redis_server(redis.ConnectionError(SECRET)),
            self.assertLogs("clinic.status", "WARNING"),
        ):
            checks = self.assert_down("redis")
        self.assertIsNone(checks["worker"]["ok"])
        self.assertTrue(checks["database"]["ok"])

    def test_worker_down(self):
        with redis_server(), patch("clinic.status.ping.apply_async") as publish:
            publish.return_value.get.side_effect = CeleryTimeoutError
            checks = self.assert_down("worker")
        self.assertEqual(publish.call_args.kwargs["expires"], status.WORKER_LIMIT)
        self.assertTrue(checks["beat"]["ok"])

    def test_worker_answers_nonsense(self):
        with redis_server(), patch("clinic.status.ping.apply_async") as publish:
            publish.return_value.get.return_value = "nonsense"
            self.assert_down("worker")

    def test_beat_down(self):
        for age in (None, 61):
            with self.subTest(age=age), redis_server():
                Heartbeat.objects.all().delete()
                if age:
                    at = timezone.now() - timedelta(seconds=age)
                    Heartbeat.objects.create(name=Heartbeat.BEAT, at=at)
                self.assert_down("beat")

    def test_a_working_worker_does_not_stand_in_for_beat(self):
        Heartbeat.objects.all().delete()
        Heartbeat.touch(Heartbeat.WORKER)
        with redis_server():
            self.assert_down("beat")

    def test_two_down_are_both_named(self):
        Heartbeat.objects.all().delete()
        with redis_server(), patch("clinic.status.ping.apply_async") as publish:
            publish.return_value.get.side_effect = CeleryTimeoutError
            self.assert_down("worker", "beat")

    def test_a_surprise_is_an_answer_too(self):
        with (
            redis_server(),
            patch("clinic.status.ping.apply_async", side_effect=ValueError("hunter2")),
            self.assertLogs("clinic.status", "ERROR"),
        ):
            checks = self.assert_down("worker")
        self.assertEqual(checks["worker"]["detail"], "unexpected error, see the log")


class HealthTests(SimpleTestCase):
    """SimpleTestCase forbids every database query."""

    def test_answers_without_a_database(self):
        response = self.client.get("/health/")
        self.assertEqual((response.status_code, response.content), (200, b"ok\n"))
