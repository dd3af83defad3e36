"""What to correct: hints for the steps of a deploy, and warnings about Celery's settings.

HINTS also says whether a failure of a step is the release's fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import diagnosis

# For each step: whether its failure is the release's fault, and what to mend. Such a release is
# marked as failed, and its unfinished directory is removed.
HINTS: dict[str, tuple[bool, str]] = {
    "agent": (
        False,
        "app_source: agent needs an SSH agent that is forwarded to the host: "
        "ansible_ssh_common_args: -o ForwardAgent=yes; and site.yml has to run once with "
        "it, so that sshd allows the forwarding.",
    ),
    "fetch": (
        False,
        "app_source: git should be a repository that this host can read, and ref a branch, "
        "a tag or a commit of it. A private one needs app_deploy_key, which site.yml "
        "installs, or agent: true. app_known_hosts, where given, should have the key of its host.",
    ),
    "download": (
        False,
        "app_source: archive should be the URL of a tar archive that this host can read; "
        "checksum, where given, should be that of its content.",
    ),
    "python": (
        False,
        "app_python should be an interpreter of the host (python3) or a version that uv can"
        " download (3.13). Where the host does not reach the downloads, app_install_environment: "
        "{UV_PYTHON_INSTALL_MIRROR: URL} names a copy of them.",
    ),
    "source": (
        True,
        "app_source and app_directory: app_directory should be a directory of the source, for a "
        "Django project that of manage.py.",
    ),
    "list": (
        True,
        "app_requirements should name the project's list of packages, and its lock file should fit "
        "the project.",
    ),
    "repositories": (
        False,
        "The project's list has packages in Git repositories that this host cannot read. "
        "app_deploy_key, which site.yml installs, or app_source: agent should open those by SSH; "
        "app_known_hosts, where given, should have the keys of their hosts.",
    ),
    "packages": (
        True,
        "app_requirements, app_packages or app_python: the packages cannot be resolved or "
        "built. uv.lock should fit pyproject.toml; a package that compiles needs its "
        "headers in app_apt_packages; app_python should be an interpreter of the host "
        "(python3) or a version that uv can download (3.13).",
    ),
    "shared": (True, "The files of app_shared_directories in the source cannot be copied."),
    "before_migrate": (True, "A command of app_before_migrate failed."),
    "after_switch": (False, "A command of app_after_switch failed."),
    "imports": (
        True,
        "The project does not start. app_wsgi, app_asgi, app_celery, app_broker, app_environment "
        "and, for Django, app_settings_module should fit it, and app_packages should name packages "
        "that its requirements lack.",
    ),
    "check": (
        True,
        "Django's checks refuse the project, or its code fails in them. If they name static files, "
        "app_static_url should be the project's STATIC_URL, and app_static_root its STATIC_ROOT "
        "where the settings fix it. app_check_fail_level is the level of checks that stops a "
        "release.",
    ),
    "keys": (
        False,
        "A new key would log out all users. The project's settings should read both from "
        'the environment: SECRET_KEY = os.environ["SECRET_KEY"] and SECRET_KEY_FALLBACKS = '
        'list(filter(None, os.environ.get("SECRET_KEY_FALLBACKS", "").split(","))).',
    ),
    "plan": (
        True,
        "app_database should be 'local', 'none' or the URL of a database that answers this "
        "host, and the project's settings should read it (DATABASE_URL, or variables of "
        "app_environment with app_database_user and app_database_password).",
    ),
    "migrate": (True, "A migration of the project failed."),
    "static": (True, "The project's static files cannot be collected."),
    "carry": (True, "The static files of earlier releases cannot be copied."),
    "behind": (False, "The applied migrations cannot be read from the database."),
    "trial": (
        True,
        "The release does not start, or does not answer app_health_path with a status from "
        "200 to 399.",
    ),
    "services": (True, "A service does not work with the release."),
}


def blames_release(step: str) -> bool:
    """Return whether a release is to blame for a step that failed."""
    return HINTS.get(step, (True, ""))[0]


HOUR = 3600  # seconds; kombu's default of visibility_timeout
EARLY = (
    "A task is lost if its worker dies while the task runs. Set task_acks_late and "
    "task_reject_on_worker_lost to True in Celery's settings. The cost: such a task runs again, so "
    "each task must be safe to run twice."
)
LONG = (
    "A task of a worker that has died may wait for visibility_timeout, {} s, before another worker "
    "gets it. Set broker_transport_options to {{'visibility_timeout': 300}} in Celery's settings. "
    "The cost: a task that takes longer than that runs twice, and so does a task with a longer "
    "countdown, eta or retry delay."
)
CLASSIC = (
    "The queues in RabbitMQ are classic ones: a task that kills its worker each time comes back "
    "without end. Set task_default_queue_type to 'quorum' in Celery's settings (Celery 5.5 or "
    "later). The cost: more memory, and an existing queue must be deleted once."
)
UNCONFIRMED = (
    "A task is lost if RabbitMQ dies before it has read the task. Set broker_transport_options to "
    "{'confirm_publish': True} in Celery's settings. The cost: each publish waits for the disk, "
    "some milliseconds."
)


def celery_warnings(
    told: Mapping[str, Any], silenced: Iterable[str], is_django: bool = True
) -> list[str]:
    """Return what an operator should know of Celery's settings: which of them can lose tasks.

    Args:
        told: what `releases.celery` returns.
        silenced: the warnings that the project silences.
        is_django: whether it does so in the settings of Django, or in those of Celery.
    """
    if not told:
        return []
    seconds = HOUR if told["visibility_timeout"] is None else told["visibility_timeout"]
    redis, rabbitmq = told["transport"] == "redis", told["transport"] == "amqp"
    found = {
        "django_stack.W001": EARLY if not told["acks_late"] else "",
        "django_stack.W002": LONG.format(seconds) if redis and seconds >= HOUR else "",
        "django_stack.W003": CLASSIC if rabbitmq and not told["quorum"] else "",
        "django_stack.W004": UNCONFIRMED if rabbitmq and not told["confirms"] else "",
    }
    place = "SILENCED_SYSTEM_CHECKS" if is_django else "silenced_system_checks in Celery's settings"
    return [
        f"{text} If you want it so, add {name} to {place}."
        for name, text in found.items()
        if text and name not in silenced
    ]


def setting_warnings(told: Mapping[str, Any]) -> list[str]:
    """Return what an operator should know of Django's settings beside the description.

    Args:
        told: what `releases.report` returns.
    """
    found = []
    if told.get("secure_cookies"):
        found.append(
            f"{' and '.join(told['secure_cookies'])} is on, and app_certificate is none: browsers "
            "send such a cookie over HTTPS only, so nobody can log in. Set app_certificate, or "
            "switch it off in the project's settings."
        )
    if told.get("media_root"):
        found.append(
            f"MEDIA_ROOT is {told['media_root']} in the project's settings, and nginx serves "
            "app_media_root: uploads answer 404. Set app_media_root to the same directory, or read "
            "os.environ['MEDIA_ROOT'] in the settings."
        )
    return found


def explain(
    step: str, output: str, wrong: str = "", consequence: str = "the site is as it was",
    directory: str = "",
) -> str:  # fmt: skip
    """Return the message for an operator when a step has failed.

    What to do comes first: that of a cause that is known, or else the hint of the step.

    Args:
        step: its name, a key of HINTS.
        output: its output, which may be hostile; the message has the lines that tell why.
        wrong: another reason, such as a timeout.
        consequence: the state of the site.
        directory: app_directory.
    """
    lines = diagnosis.readable(output)
    found = diagnosis.cause_of(lines, directory, step)
    told = [found.told] if found else []
    told += [HINTS.get(step, (True, ""))[1]] if not (found and found.sure) else []
    told += [f'The step "{step}" failed, and {consequence}.', wrong]
    shown = [
        line for line in diagnosis.shown(lines, found) if line.removeprefix("advice: ") not in told
    ]
    return "\n".join([*filter(None, told), *(["It printed:", *shown] if shown else [])])


def explain_report(step: str, report: str) -> str:
    """Return the message for an operator when a step has failed whose report names the cause.

    Args:
        step: its name.
        report: what to do and why, as `diagnosis.report` returns it.
    """
    lines = diagnosis.readable(report)
    return "\n".join([*lines, f'The step "{step}" failed, and the site is as it was.'])
