"""Patients' documents."""

from tempfile import TemporaryDirectory
from unittest.mock import patch

from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.test import TestCase, override_settings

from clinic.models import Document


class DocumentTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.patient = User.objects.create_user("ada")
        cls.stranger = User.objects.create_user("eve")
        cls.keeper = User.objects.create_user("keeper", is_staff=True)

    def setUp(self):
        place = TemporaryDirectory()
        self.addCleanup(place.cleanup)
        field = Document._meta.get_field("file")
        self.enterContext(patch.object(field, "storage", FileSystemStorage(place.name)))
        self.document = Document.objects.create(
            user=self.patient, title="Letter", file=ContentFile(b"a letter", name="a letter.pdf")
        )
        self.url = self.document.get_absolute_url()

    def ask(self, user=None):
        if user:
            self.client.force_login(user)
        return self.client.get(self.url)

    def test_who_is_not_logged_in_is_led_to_the_login(self):
        response = self.ask()
        self.assertRedirects(
            response, f"/admin/login/?next={self.url}", fetch_redirect_response=False
        )

    @override_settings(DOCUMENTS_URL="/protected/")
    def test_nginx_sends_it_to_the_patient_and_to_the_staff(self):
        for user in (self.patient, self.keeper):
            response = self.ask(user)
            self.assertEqual(response.status_code, 200)
            self.assertEqual(response.content, b"")
            self.assertRegex(response["X-Accel-Redirect"], r"^/protected/\d+/\d+/a_letter\.pdf$")
            self.assertNotIn("Content-Type", response)
            self.assertIn("private", response["Cache-Control"])

    @override_settings(DOCUMENTS_URL="/protected/")
    def test_for_another_patient_it_does_not_exist(self):
        response = self.ask(self.stranger)
        self.assertEqual(response.status_code, 404)
        self.assertNotIn("X-Accel-Redirect", response)

    def test_without_nginx_django_sends_it(self):
        response = self.ask(self.patient)
        self.assertEqual(b"".join(response.streaming_content), b"a letter")
        self.assertIn("attachment", response["Content-Disposition"])
