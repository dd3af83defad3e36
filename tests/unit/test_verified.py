"""How clients verify servers of other hosts."""

import pytest
from ansible_collections.clink.django_stack.plugins.filter.backup_database import backup_database
from ansible_collections.clink.django_stack.plugins.plugin_utils import verified

REQUIRED = {
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/etc/ssl/certs/ca-certificates.crt",
}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db.example.com/x",
        "postgres://u:p@10.0.0.5:5432/x?conn_max_age=60",
        "postgresql+psycopg://u@[2001:db8::1]/x?sslrootcert=/etc/own.crt",
        "postgis://u:p@db1,db2/x",
        "pgsql://u:p@db/x?options=sslmode",
        "postgresql:///x?host=db.example.com&user=u",
        "postgresql://u:p@localhost,db2/x",
    ],
)
def test_a_database_on_another_host_is_verified(url):
    assert verified.database(url) == REQUIRED


@pytest.mark.parametrize(
    "url",
    [
        "local",
        "none",
        "",
        "mysql://u:p@db/x",
        "sqlite:////srv/x.sqlite3",
        "postgresql://u:p@127.0.0.1:6432/x",
        "postgresql://u:p@[::1]/x",
        "postgresql://u@localhost/x",
        "postgresql:///x?host=/run/postgresql",
        "postgresql://u@%2Frun%2Fpostgresql/x",
        "postgresql:///x?host=127.0.0.1",
        "postgresql:///x",
        "postgresql://u:p@db/x?sslmode=disable",
        "postgresql://u:p@db/x?a=b&sslmode=require",
    ],
)
def test_what_is_here_or_says_itself_is_left_alone(url):
    assert verified.database(url) == {}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("rediss://:p@host:6379/0", "rediss://:p@host:6379/0?ssl_cert_reqs=required"),
        ("rediss://:p@host/0?health=1", "rediss://:p@host/0?health=1&ssl_cert_reqs=required"),
        ("rediss://:p@host/0?ssl_cert_reqs=none", "rediss://:p@host/0?ssl_cert_reqs=none"),
        ("redis://:p@host:6379/0", "redis://:p@host:6379/0"),
        ("local", "local"),
    ],
)
def test_celery_is_told_to_verify_redis(url, told):
    assert verified.broker(url) == told


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("redis://:p@10.0.0.5/0", True),
        ("amqp://u:p@rabbit/x", True),
        ("pyamqp://u:p@rabbit/x", True),
        ("redis://:p@127.0.0.1/0", False),
        ("amqp://localhost", False),
        ("redis+socket:///run/redis.sock", False),
        ("rediss://:p@host/0", False),
        ("amqps://u:p@host/x", False),
        ("sentinel://10.0.0.5:26379", False),
        ("local", False),
    ],
)
def test_a_broker_without_tls(url, plain):
    assert verified.is_plain(url) is plain


def test_the_dumps_verify_the_server_as_the_application_does():
    text = backup_database("postgresql://u:p@db/x")["text"]
    assert 'PGSSLMODE="verify-full"' in text
    assert "PGSSLMODE" not in backup_database("postgresql://u:p@127.0.0.1/x")["text"]
    other = backup_database("postgresql://u:p@db/x?sslmode=require")["text"]
    assert 'PGSSLMODE="require"' in other
    assert "PGSSLROOTCERT" not in other
