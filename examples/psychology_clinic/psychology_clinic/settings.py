"""Settings, all from the process environment (https://12factor.net/config).

There is no .env file: systemd, Docker or your shell sets the variables, and the table in
README.md lists them. A missing SECRET_KEY stops the process at once.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from redis.backoff import NoBackoff
from redis.retry import Retry

BASE_DIR = Path(__file__).resolve().parent.parent
TESTING = "test" in sys.argv[1:2]

env = environ.Env()

# --- Core -----------------------------------------------------------------------------------
# Bare secrets come from os.environ: django-environ takes "$x" for the name of a variable.
SECRET_KEY = "only-for-tests" if TESTING else os.environ.get("SECRET_KEY", "")  # noqa: S105
# What these have signed is believed, too, so that a new key signs nobody out.
SECRET_KEY_FALLBACKS = list(filter(None, os.environ.get("SECRET_KEY_FALLBACKS", "").split(",")))
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# BASE_DIR is resolved, so behind a `current` symlink this is the release's own name.
RELEASE = env.str("RELEASE", default=BASE_DIR.name)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "rest_framework",
    "clinic",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # The last one: it answers for a view that refuses a login.
]
ROOT_URLCONF = "psychology_clinic.urls"
WSGI_APPLICATION = "psychology_clinic.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # The first one: it refuses before a password is tried.
    "django.contrib.auth.backends.ModelBackend",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# --- Database -------------------------------------------------------------------------------
DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{BASE_DIR}/db.sqlite3")}
DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if DATABASES["default"]["ENGINE"].endswith("postgresql"):
    # Seconds and milliseconds: a lost server is an error soon, not a hung request.
    DATABASES["default"].setdefault("OPTIONS", {}).update(connect_timeout=5, tcp_user_timeout=3000)

# --- Redis: cache, broker, results ----------------------------------------------------------
REDIS_URL = "" if TESTING else env.str("REDIS_URL", default="")
# Seconds. No client-side retries: a page must not wait for a Redis that is away.
REDIS_OPTIONS = {
    "socket_connect_timeout": 1,
    "socket_timeout": 1,
    "retry": Retry(NoBackoff(), 0),
}
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "OPTIONS": REDIS_OPTIONS,
        }
    }
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

CELERY_BROKER_URL = "" if TESTING else env.str("CELERY_BROKER_URL", default=REDIS_URL)
CELERY_RESULT_BACKEND = REDIS_URL or "cache+memory://"
# Without a broker (tests, a first look on a laptop) a task runs inside the request.
CELERY_TASK_ALWAYS_EAGER = not CELERY_BROKER_URL
CELERY_TIMEZONE = TIME_ZONE
CELERY_RESULT_EXPIRES = 3600
CELERY_TASK_IGNORE_RESULT = True
# A task is acknowledged when it is done, and goes back to the queue if its process dies. So
# a task may run twice, and every task here is safe to run twice.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_SOFT_TIME_LIMIT = 20
CELERY_TASK_TIME_LIMIT = 25
# When a whole worker is killed nobody returns its tasks: Redis only knows they are unacked.
# Another worker takes them back once they are older than visibility_timeout, and looks for
# them every interval x throttle seconds: at most 35 s here, not kombu's default of an hour.
# visibility_timeout must stay above the task time limit and above the longest retry delay
# (tasks.DeliveryTask.retry_backoff_max), or live tasks would be taken for lost ones.
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    "visibility_timeout": CELERY_TASK_TIME_LIMIT + 5,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 1,
    "socket_timeout": 5,
    # For a publish inside a request: with kombu's defaults it waits six seconds for a Redis
    # that is away. Workers and beat reconnect by BROKER_CONNECTION_MAX_RETRIES instead.
    "max_retries": 1,
    "interval_start": 0,
}
if CELERY_BROKER_URL.startswith("amqp"):
    # RabbitMQ keeps what a killed worker had, and needs no timeout. It confirms a task when the
    # task is on the disk, and a quorum queue gives up a task that kills its worker each time.
    CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "confirm_publish": True,
        "max_retries": 1,
        "interval_start": 0,
    }
    CELERY_BROKER_CONNECTION_TIMEOUT = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # A worker waits for Redis as long as it takes.
CELERY_TASK_PUBLISH_RETRY = False  # Rows left behind are taken up by tasks.requeue_stale.
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 1
CELERY_REDIS_SOCKET_TIMEOUT = 5
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"retry_policy": {"max_retries": 1, "timeout": 1.0}}

REMINDER_INTERVAL = env.int("REMINDER_INTERVAL", default=60)
# `expires`: while no worker runs, stale beats die in the queue instead of piling up.
CELERY_BEAT_SCHEDULE = {
    "tick": {
        "task": "clinic.tasks.tick",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "send-due-reminders": {
        "task": "clinic.tasks.send_due_reminders",
        "schedule": float(REMINDER_INTERVAL),
        "options": {"expires": REMINDER_INTERVAL},
    },
    "requeue-stale": {
        "task": "clinic.tasks.requeue_stale",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    "forget-failed-logins": {
        "task": "clinic.tasks.forget_failed_logins",
        "schedule": 900.0,
        "options": {"expires": 900},
    },
}

# --- Guessed passwords ----------------------------------------------------------------------
# Nginx and fail2ban count failed logins by address; this counts them by account, from all
# addresses (OWASP Authentication Cheat Sheet, Account Lockout). Gunicorn's configuration sets
# REMOTE_ADDR to Nginx's X-Real-IP.
# NIST SP 800-63B, Rate Limiting, allows at most 100 failures. fail2ban bans an address after 60 in
# an hour, so that it takes many addresses to keep an account locked. The lock ends after
# 15 minutes, whatever is guessed meanwhile: a stranger cannot lock a doctor out for long, and all
# strangers together try about 9600 passwords a day. Who is logged in stays so.
# `manage.py axes_reset_username` ends a lock.
AXES_LOCKOUT_PARAMETERS = ["username"]
AXES_FAILURE_LIMIT = 100
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
# Rows have names and addresses. A login leaves none, and clinic.tasks.forget_failed_logins deletes
# those of failures that no longer count.
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

# --- Static and uploaded files, which Nginx serves ------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = env.path("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))
MEDIA_URL = env.str("MEDIA_URL", default="/media/")
MEDIA_ROOT = env.path("MEDIA_ROOT", default=str(BASE_DIR / "media"))
# Nginx sends a file from here only if a view asks for it by X-Accel-Redirect: DOCUMENTS_URL is the
# path for that. Without one, Django sends the file itself.
DOCUMENTS_ROOT = env.path("DOCUMENTS_ROOT", default=str(BASE_DIR / "documents"))
DOCUMENTS_URL = env.str("DOCUMENTS_URL", default="")
# Hashed names let Nginx send far-future cache headers; they need `collectstatic` first.
_staticfiles = "StaticFilesStorage" if DEBUG or TESTING else "ManifestStaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "documents": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DOCUMENTS_ROOT},
    },
    "staticfiles": {"BACKEND": f"django.contrib.staticfiles.storage.{_staticfiles}"},
}

# --- Notifications --------------------------------------------------------------------------
globals().update(env.email_url("EMAIL_URL", default="consolemail://"))  # EMAIL_HOST and so on
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="clinic@localhost")
WHATSAPP_API_URL = "" if TESTING else env.str("WHATSAPP_API_URL", default="")
WHATSAPP_API_TOKEN = "" if TESTING else os.environ.get("WHATSAPP_API_TOKEN", "")
WHATSAPP_TIMEOUT = 10
# Shell-style patterns, such as "*@example.com,+49*": whom this public API may write to.
NOTIFY_RECIPIENTS = env.list("NOTIFY_RECIPIENTS", default=["*"])

# --- HTTP security --------------------------------------------------------------------------
HTTPS = env.bool("HTTPS", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=False)
SECURE_REDIRECT_EXEMPT = [r"^health/$"]
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=86400 if HTTPS else 0)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
# Nginx redirects to HTTPS; subdomains and the preload list are the domain owner's decision.
# axes.W006: Nginx and fail2ban limit by address.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021", "axes.W006"]

# --- API ------------------------------------------------------------------------------------
# This sample has no log-in on purpose: `curl` it straight after `make demo`. A real clinic
# starts with SessionAuthentication and IsAuthenticated here. Nginx limits the rates.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 20,
}

# --- Logging: stderr, which journald keeps --------------------------------------------------
LOG_LEVEL = "CRITICAL" if TESTING else env.str("LOG_LEVEL", default="INFO").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # Django's own console handler is silent when DEBUG is off, and mails ADMINS: not here.
    "loggers": {"django": {"handlers": [], "level": LOG_LEVEL, "propagate": True}},
}
