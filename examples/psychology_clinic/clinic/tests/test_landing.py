"""The landing page."""

import re
from html.parser import HTMLParser

from django.test import SimpleTestCase


class Collector(HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


class LandingTests(SimpleTestCase):
    """SimpleTestCase: the page must render with the database down."""

    def setUp(self):
        self.response = self.client.get("/", headers={"x-forwarded-proto": "https"})
        self.html = self.response.content.decode()
        self.tags = Collector(self.html).tags

    def test_nothing_is_inline_and_nothing_is_foreign(self):
        for tag, attrs in self.tags:
            self.assertNotEqual(tag, "style")
            self.assertNotIn("style", attrs)
            self.assertFalse([name for name in attrs if name.startswith("on")])
            if tag == "script":
                self.assertTrue(attrs["src"].startswith("/static/"))
        self.assertIsNone(re.search(r"https?://", self.html))
        policy = self.response["Content-Security-Policy"]
        self.assertIn("script-src 'self'", policy)
        self.assertNotIn("unsafe", policy)

    def test_draws_every_component(self):
        nodes = {attrs["data-node"] for _tag, attrs in self.tags if "data-node" in attrs}
        self.assertEqual(
            nodes,
            {"internet", "nginx", "socket", "gunicorn", "django"}
            | {"database", "redis", "worker", "beat"},
        )

    def test_shows_how_the_request_came_and_no_versions(self):
        self.assertContains(self.response, "testserver")
        self.assertContains(self.response, "<dd data-fact='scheme'>https</dd>", html=True)
        self.assertIsNone(re.search(r"(?i)(django|python|gunicorn)[ /]\d", self.html))

    def test_every_field_has_a_label(self):
        self.assertEqual(
            self.html.count("<label>"), sum(1 for tag, _attrs in self.tags if tag == "input")
        )
