"""Functions for the rules `is` and `call` of checks.yml, for what a pattern cannot express.

KINDS test one value (`is: host`). FUNCTIONS test all values of a run (`call: ...`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import backups, databases, health

from . import addresses, nginx_site, processes, settings, verified

Values = Mapping[str, Any]
SERVER = r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?"  # of a URL
# What proves a source, whoever has sent it: a whole commit of git, or a digest of an archive.
DIGESTS = {
    "ref": "[0-9a-f]{40}|[0-9a-f]{64}",
    "checksum": "(?i)sha(256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})",
}


def _like(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_scalar(value: object) -> bool:
    """Return whether a value is a text, a number or a truth value."""
    return isinstance(value, (str, int, float))


def is_one_line(value: object) -> bool:
    """Return whether a value is written as one line, without control characters."""
    return is_scalar(value) and re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", str(value)) is None


def is_environment_value(value: object) -> bool:
    """Return whether a value fits on a line of an environment file; a tab does."""
    return is_scalar(value) and re.search(r"[\x00-\x08\x0a-\x1f\x7f]", str(value)) is None


def is_relative_path(value: object) -> bool:
    """Return whether a text is a path that stays below the directory that it begins in."""
    return (
        isinstance(value, str)
        and re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._/-]*", value) is not None
        and ".." not in value
    )


def is_url_path(value: object) -> bool:
    """Return whether a text is the path of a URL that is one word of nginx's configuration."""
    return _like(r"/[A-Za-z0-9._~/-]*")(value) and ".." not in str(value)


def is_sandbox_value(value: object) -> bool:
    """Return whether a value fits on a line of a unit; a list gives several lines."""
    items = value if isinstance(value, list) else [value]
    return value is None or all(
        is_one_line(item) and not re.search(r"[{\\]", str(item)) for item in items
    )


def is_sandbox_directive(name: object, value: object) -> bool:
    """Return whether a directive of systemd can have a value on a line of a unit."""
    return KINDS["systemd directive"](name) and is_sandbox_value(value)


def is_process_name(value: object) -> bool:
    """Return whether a text can follow the application's name in the name of a unit.

    The transient units of this collection have some names: a step of a deploy, a ping, a command.
    """
    return _like(r"(?!(step|ping|run|run-.*|build)$)[a-z]([a-z0-9_-]{0,38}[a-z0-9])?")(value)


def is_hook(value: object) -> bool:
    """Return whether a value is a command, or a dictionary that names a file of tasks."""
    return isinstance(value, str) or isinstance(value, Mapping) and "tasks" in value


def is_server(value: str) -> bool:
    """Return whether a text is the server of a URL: a host, or none, and perhaps a port."""
    found = re.fullmatch(
        r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\[\]?#]*)(:(?P<port>[0-9]{1,5}))?", value
    )
    if not found:
        return False
    if found["host"].startswith("[") and not addresses.parse_address(found["host"]):
        return False
    return found["port"] is None or addresses.is_port(found["port"])


def is_service_url(value: object) -> bool:
    """Return whether a text is `scheme://user:password@host:port/name` with ports that exist.

    There may be several hosts with commas, as in libpq's URLs, and several URLs with semicolons, as
    those of Redis Sentinel are. A `/`, `?`, `#` or `@` in a password is written with a percent
    sign.
    """
    if not isinstance(value, str) or re.search(r"[\s\x00-\x1f\x7f]", value):
        return False
    url = re.compile(r"[a-z][a-z0-9+.-]*://([^/@?#\[\]]*@)?(?P<servers>[^/@?#]*)([/?][^#]*)?(#.*)?")
    # A semicolon before a scheme separates URLs; another one is part of a URL.
    found = [url.fullmatch(each) for each in re.split(r";(?=[a-z][a-z0-9+.-]*://)", value)]
    return all(each and all(map(is_server, each["servers"].split(","))) for each in found)


def is_port_or_range(value: object) -> bool:
    """Return whether a value is a port, or two with a colon, of which the second is the higher."""
    first, colon, last = str(value).partition(":")
    return addresses.is_port(first) and (
        not colon or addresses.is_port(last) and int(first) <= int(last)
    )


def is_network(value: object) -> bool:
    """Return whether a text is an IP address or a network."""
    return addresses.parse_network(value) is not None


def is_part_of_the_internet(value: object) -> bool:
    """Return whether a text is an address or a network, and not all addresses."""
    network = addresses.parse_network(value)
    return network is not None and network.prefixlen > 0


def is_listen_address(value: object) -> bool:
    """Return whether a text is what Redis binds to: an address, perhaps with `-` before, or `*`."""
    if not isinstance(value, str):
        return False
    bare = value.removeprefix("-")
    return bare == "*" or "[" not in bare and addresses.parse_address(bare) is not None


def is_header_value(value: object) -> bool:
    """Return whether a value, or each of a list, fits into double quotes of nginx, or is None."""
    items = value if isinstance(value, list) else [value]
    return all(
        item is None or is_one_line(item) and not re.search('["$\\\\]', str(item)) for item in items
    )


def is_policy_source(value: object) -> bool:
    """Return whether a word is a source of a Content-Security-Policy.

    Refused are keywords without quotes, which would be names of hosts, and nonces, because a
    constant nonce does not protect.
    """
    word = _like(r"'[A-Za-z0-9+/=_-]+'|[A-Za-z0-9*.:/_~%?=@+&-]+")
    refused = _like(
        r"(?is)'?nonce-.*|self|none|strict-dynamic|report-sample"
        r"|(unsafe|wasm|sha256|sha384|sha512)-[^.]*"
    )
    return word(value) and not refused(value)


def is_policy_sources(value: object) -> bool:
    """Return whether a value is a directive's sources: none, a text of words, or a list of them."""
    if value is None:
        return True
    items = value if isinstance(value, list) else [value]
    return all(
        isinstance(item, str)
        and not re.search(r"[^\S ]", item)
        and all(map(is_policy_source, item.split()))
        for item in items
    )


def is_readable_file(value: object) -> bool:
    """Return whether a text is the path of a file on the control machine that can be read."""
    try:
        with Path(str(value)).expanduser().open("rb"):
            return True
    except (OSError, ValueError):
        return False


def is_number_of_lines(value: object) -> bool:
    """Return whether a value is text of printable ASCII in lines, without backslashes."""
    return _like(r"[ -\[\]-~\n]*")(value)


def is_backup_repository(value: object) -> bool:
    """Return whether a text is a directory, a bucket or a directory of another host."""
    pattern = _like(r"(/|s3:https://|sftp://)(?!.*(\.\.|//))[A-Za-z0-9][A-Za-z0-9._@:/~+-]*")
    try:
        return pattern(value) and bool(backups.place_of(str(value), "x"))
    except ValueError:
        return False


def is_database(value: object) -> bool:
    """Return whether the extensions and the collation of a database can be created."""
    if not isinstance(value, Mapping):
        return False
    extensions = value.get("extensions", [])
    return (
        isinstance(extensions, list)
        and all(_like(databases.NAME)(name) for name in extensions)
        and KINDS["collation"](value.get("collation", ""))
    )


KINDS: dict[str, Callable[[Any], bool]] = {
    "absolute path": _like(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+"),
    "ASCII lines": is_number_of_lines,
    "backup repository": is_backup_repository,
    "broker password": _like(r"[A-Za-z0-9_~.-]{16,}"),
    "collation": _like(f"({databases.COLLATION})?"),
    "command of a process": processes.has_command,
    "database": is_database,
    "derived path": _like(r"(/(?!\.\.?(/|$))[A-Za-z0-9._][A-Za-z0-9._-]*)+"),
    "domain": addresses.is_name,
    "environment name": _like(r"[A-Za-z_][A-Za-z0-9_]*"),
    "environment value": is_environment_value,
    "full unit name": _like(r"[A-Za-z0-9@_.:-]{1,200}\.(service|socket|timer|path|mount|target)"),
    "given": lambda value: value is not None and str(value).strip() not in ("", "None"),
    "hook": is_hook,
    "header value": is_header_value,
    "host": addresses.is_host,
    "listen address": is_listen_address,
    "location": nginx_site.is_location,
    "name of a process": is_process_name,
    "name of a certificate": _like(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}"),
    "network": is_network,
    "one line": is_one_line,
    "part of the internet": is_part_of_the_internet,
    "policy sources": is_policy_sources,
    "port": addresses.is_port,
    "port or range": is_port_or_range,
    "process": lambda value: processes.has_its_keys(value, processes.kind_of(value)),
    "Python name": _like(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"),
    "Python value": settings.is_plain,
    "readable file": is_readable_file,
    "redirect target": nginx_site.is_redirect_target,
    "relative path": is_relative_path,
    "sandbox value": is_sandbox_value,
    "schedule": lambda value: processes.has_its_keys(value, "schedule"),
    "service URL": is_service_url,
    **{f"setting of {dialect}": settings.can_write(dialect) for dialect in settings.DIALECTS},
    "settings of a process": lambda value: processes.has_settings(value, is_sandbox_directive),
    "SQL name": _like(r"[a-z_][a-z0-9_]{0,62}"),
    "systemd directive": _like(r"[A-Z][A-Za-z0-9]*"),
    "unit name": _like(r"[A-Za-z0-9_-]{1,200}"),
    "unix name": _like(r"[a-z_][a-z0-9_-]{0,30}"),
    "upstream server": addresses.is_upstream,
    "URL path": is_url_path,
}


def _sorted_hosts(hosts: Iterable[str]) -> list[str]:
    return sorted(map(addresses.ascii_host, hosts))


def _flat(lists: Mapping[str, Iterable[str]]) -> list[str]:
    return _sorted_hosts(chain.from_iterable(lists.values()))


def _needs_no_parent(paths: list[str]) -> bool:
    """Return whether no path of a list is another one, or lies below it."""
    parts = [Path(path).parts for path in paths]
    return not any(
        one != other and long[: len(short)] == short
        for one, short in enumerate(parts)
        for other, long in enumerate(parts)
    )


def shared_directories_are_apart(values: Values) -> bool:
    """No shared directory lies below another one, where its user could replace it."""
    return _needs_no_parent(values["app_shared_directories"])


def source_is_one(values: Values) -> bool:
    """The source is either a repository, or a directory, or an archive."""
    return len({"git", "directory", "archive"} & set(values["app_source"])) == 1


def source_has_values(values: Values) -> bool:
    """No key of the source is empty."""
    return all(KINDS["given"](value) for value in values["app_source"].values())


def source_is_protected(values: Values) -> bool:
    """What comes without encryption has a digest and no login, or the source says `insecure`."""
    source = values["app_source"]
    place = str(source.get("git") or source.get("archive") or "")
    if not place.startswith(("http://", "git://")) or nginx_site.is_true(source.get("insecure")):
        return True
    key = "ref" if source.get("git") else "checksum"
    return "@" not in place.split("/")[2] and _like(DIGESTS[key])(source.get(key))


def signing_keys_are_for_git(values: Values) -> bool:
    """Only a commit or a tag of git can be signed."""
    return not values["app_signing_keys"] or bool(values["app_source"].get("git"))


def _part(pattern: str, key: str) -> Callable[[Values], bool]:
    """Return a test of one key of app_source, where it is given."""
    return lambda values: (
        _like(pattern)(values["app_source"].get(key))
        or (not KINDS["given"](values["app_source"].get(key)))
    )


def build_user_is_another(values: Values) -> bool:
    """The user that builds is not the one that runs."""
    return str(values["app_build_user"]) != str(values["app_user"])


def _needs_local(name: str) -> Callable[[Values], bool]:
    """Return a test that a variable is empty where the database is not of this host."""
    return lambda values: values["app_database"] == "local" or not values[name]


def _of_django(name: str, wanted: bool) -> Callable[[Values], bool]:
    """Return a test that a variable is empty unless app_django has a value."""
    return lambda values: not values[name] or nginx_site.is_true(values["app_django"]) == wanted


def site_has_domains(values: Values) -> bool:
    """A site has a name; an application that no Gunicorn serves needs none."""
    # Without app_name, app_wsgi cannot be rendered: most applications are sites.
    served = values.get("app_wsgi", "unknown") or values.get("app_asgi", "")
    return bool(values["app_domains"]) or not served


def gunicorn_has_an_application(values: Values) -> bool:
    """Gunicorn has something to serve, where the play has its role."""
    return "gunicorn_service" not in values or bool(values["app_wsgi"] or values["app_asgi"])


def media_url_is_not_static(values: Values) -> bool:
    """Static files and media have URLs of their own."""
    return str(values["app_media_url"]) != str(values["app_static_url"])


def broker_is_there(values: Values) -> bool:
    """Celery has a broker: that of app_broker, or one of the project's own variables."""
    own = values["app_environment"].items()
    return (
        not values["app_celery"]
        or values["app_broker"] != "none"
        or any("BROKER" in str(name).upper() or _is_broker(value) for name, value in own)
    )


def broker_is_encrypted(values: Values) -> bool:
    """A broker on another host speaks TLS, or the description allows it to be without."""
    allowed = nginx_site.is_true(values["app_broker_unencrypted"])
    return allowed or not verified.is_plain(str(values["app_broker"]))


# The schemes of kombu's transports, TRANSPORT_ALIASES.
_is_broker = _like(
    r"(rediss?|redis\+socket|sentinel|(py)?amqps?|librabbitmq|sqs|memory|kafka|confluentkafka|mongodb"
    r"(\+srv)?|zookeeper|consul|etcd|azure(storagequeues|servicebus)|gcpubsub|pyro|qpid|SLMQ|slmq"
    r"|sql(a|alchemy)(\+.*)?|filesystem|hazelcast|native)://.*"
)


def _has_worker(values: Values) -> bool:
    return any(processes.kind_of(value) == "worker" for value in values["app_processes"].values())


def workers_have_celery(values: Values) -> bool:
    """A Celery worker needs a Celery application."""
    return bool(values["app_celery"]) or not _has_worker(values)


def worker_command_is_there(values: Values) -> bool:
    """A further Celery worker has the command of the first one."""
    return bool(values["processes_worker_command"]) or not _has_worker(values)


def schedules_have_own_names(values: Values) -> bool:
    """A schedule has another name than each process."""
    return not set(values["app_processes"]) & set(values["app_schedules"])


def _cover(certificates: str, names: str, uploads: str) -> Callable[[Values], bool]:
    """Return a test that certificates have each name, and that of the uploads, once."""
    return lambda values: (
        _flat(values[certificates])
        == _sorted_hosts([*values[names], *filter(None, [values[uploads]])])
    )


def _is_apart(uploads: str, names: str) -> Callable[[Values], bool]:
    """Return a test that the name of the uploads is none of the site's, by a wildcard, either."""
    return lambda values: (
        not health.is_served(
            addresses.ascii_host(values[uploads]), list(map(addresses.ascii_host, values[names]))
        )
    )


def domains_are_different(values: Values) -> bool:
    """No name is there twice, in Punycode or in brackets, either."""
    hosts = _sorted_hosts(addresses.unbracketed(host) for host in values["app_domains"])
    return len(set(hosts)) == len(hosts)


def nginx_certificates_cover_names(values: Values) -> bool:
    """The certificates of the site have each of its names once, or there is none."""
    cover = _cover("nginx_certificates", "nginx_server_names", "nginx_uploads_domain")
    return not values["nginx_certificates"] or cover(values)


def nginx_redirects_are_of_the_site(values: Values) -> bool:
    """A name that is redirected is one of the site, whose certificate it needs."""
    names = [addresses.ascii_host(name) for name in values["nginx_server_names"]]
    return all(
        health.is_served(host, names) for host in nginx_site.names_of(values["nginx_redirects"])
    )


def nginx_redirects_suit(values: Values) -> bool:
    """A name leads to a name or a URL, and a path to a path or a URL."""
    return all(
        nginx_site.is_path_target(target)
        if nginx_site.is_path(source)
        else not nginx_site.is_path(target)
        for source, target in values["nginx_redirects"].items()
    )


def nginx_redirects_end(values: Values) -> bool:
    """No redirect leads to a place that is redirected without an end."""
    return not nginx_site.is_endless(values["nginx_redirects"], values["nginx_server_names"])


def nginx_redirects_keep_the_first_name(values: Values) -> bool:
    """The first name is the one by which the run and the monitor ask for the site."""
    first = map(addresses.ascii_host, values["nginx_server_names"][:1])
    return not set(first) & set(nginx_site.names_of(values["nginx_redirects"]))


def _places(values: Values) -> list[dict[str, Any]]:
    return nginx_site.places(
        values["nginx_static"], values["nginx_locations"], values["nginx_redirects"], [], ""
    )


def nginx_paths_are_apart(values: Values) -> bool:
    """No path has two locations, and none is that of the certificate authority."""
    found = [place["match"] for place in _places(values)]
    return len(set(found)) == len(found) and f"^~ {nginx_site.CHALLENGES}" not in found


def database_owner_is_elsewhere(values: Values) -> bool:
    """The owner of a database on this host has a password instead of a URL."""
    return not values["app_database_owner"] or "://" in str(values["app_database"])


def databases_have_own_users(values: Values) -> bool:
    """Each user of a database has a name and a password, and owns none of the databases."""
    wanted = values["postgresql_databases"].values()
    owners = {each["owner"] for each in wanted}
    return all(
        KINDS["SQL name"](each.get("user"))
        and each.get("user") not in owners
        and re.fullmatch(r"[^\r\n]{12,}", str(each.get("user_password", "")))
        for each in wanted
        if "user" in each or "user_password" in each
    )


def nginx_uploads_have_locations(values: Values) -> bool:
    """Each path of uploads is one whose files nginx sends."""
    return set(values["nginx_uploads"]) <= {
        place["path"] for place in _places(values) if place["kind"] == "files"
    }


def nginx_uploads_need_no_password(values: Values) -> bool:
    """No upload leaves the paths that ask for a password by a move to a name of its own."""
    asked = values["nginx_basic_auth_paths"] if values["nginx_basic_auth_users"] else []
    return not values["nginx_uploads_domain"] or not any(
        upload.startswith(path) or path.startswith(upload)
        for upload in values["nginx_uploads"]
        for path in asked
    )


def nginx_health_path_is_the_applications(values: Values) -> bool:
    """The health page comes from the application, so that it tells whether that works."""
    place = nginx_site.place_of(values["nginx_health_path"], _places(values))
    return str(place["kind"]) == "application"


def nginx_waits_for_gunicorn(values: Values) -> bool:
    """An answer may take as long in nginx as in Gunicorn."""
    return int(values["nginx_proxy_read_timeout"]) >= int(values["gunicorn_timeout"])


def nginx_locations_publish_no_release(values: Values) -> bool:
    """No location sends a whole release or all shared directories."""
    return not any(
        f"{directory}/".startswith(f"{place.alias.rstrip('/')}/")
        for place in nginx_site.described_places(values["nginx_locations"], [])
        if place.alias
        for directory in values["nginx_links_up_to"]
    )


def _certbot_names(values: Values) -> list[str]:
    return _flat(values["certbot_certificates"])


def certbot_has_no_wildcard(values: Values) -> bool:
    """An authority gives a certificate for `*` by DNS only."""
    return bool(values["certbot_dns_plugin"]) or "*" not in "".join(_certbot_names(values))


def certbot_credentials_suit(values: Values) -> bool:
    """The credentials are those of the plugin, and there are none without a plugin."""
    plugin, given = values["certbot_dns_plugin"], values["certbot_dns_credentials"]
    if not plugin or not given:
        return not plugin and not given
    if plugin == "google":
        return {"client_email", "private_key"} <= set(given)
    names = r"aws_[a-z_]+" if plugin == "route53" else rf"dns_{plugin}_[a-z0-9_]+"
    return all(
        _like(names)(name) and is_one_line(value) and '"' not in str(value)
        for name, value in given.items()
    )


def certbot_names_are_public(values: Values) -> bool:
    """Let's Encrypt reaches each name; another authority may be private itself."""
    lets_encrypt = "letsencrypt.org/" in values["certbot_server"] or str(
        values["certbot_staging"]
    ).lower() in ("true", "yes", "on", "1")
    return not lets_encrypt or all(map(addresses.is_public, _certbot_names(values)))


def certbot_can_do_addresses(values: Values) -> bool:
    """Certificates for IP addresses need certbot 5.4 or later."""
    if not addresses.addresses(_certbot_names(values)):
        return True
    found = re.match(r"([0-9]+)\.([0-9]+)", values["certbot_version"])
    return found is not None and (int(found[1]), int(found[2])) >= (5, 4)


def monitor_can_send_mail(values: Values) -> bool:
    """E-mails need a server."""
    return not values["monitor_email_to"] or bool(values["monitor_smtp_url"])


def _listens_to_others(values: Values) -> bool:
    """Return whether other hosts reach an address on which PostgreSQL listens."""
    return not all(
        addresses.is_on_this_host(f"postgresql://{addresses.bracketed(host)}")
        for host in values["postgresql_listen_addresses"]
    )


def postgresql_listens_for_clients(values: Values) -> bool:
    """PostgreSQL listens for other hosts only if somebody there may connect."""
    return bool(values["postgresql_clients"]) or not _listens_to_others(values)


def postgresql_clients_reach_it(values: Values) -> bool:
    """Clients of other hosts need an address on which PostgreSQL listens."""
    return not values["postgresql_clients"] or _listens_to_others(values)


def sshd_settings_are_spelled_like_its_manual(values: Values) -> bool:
    """No two names differ by their case only, of which sshd would take the first."""
    names = [name.lower() for name in values["sshd_settings"]]
    return len(set(names)) == len(names) and not any(
        name.lower() == own.lower() and name != own
        for name in values["sshd_settings"]
        for own in SSHD_SETTINGS
    )


# Settings of the role sshd, spelled as in sshd_config(5).
SSHD_SETTINGS = (
    "PasswordAuthentication", "KbdInteractiveAuthentication", "PermitRootLogin", "LoginGraceTime",
    "MaxAuthTries", "MaxSessions", "MaxStartups", "ClientAliveInterval", "ClientAliveCountMax",
    "TCPKeepAlive", "LogLevel", "AllowAgentForwarding", "AllowTcpForwarding", "X11Forwarding",
    "Compression",
)  # fmt: skip


def backup_suits_pgbackrest(values: Values) -> bool:
    """A repository by SFTP needs pgBackRest 2.46 or later."""
    numbers = [int(part) for part in re.findall("[0-9]+", values["backup_pgbackrest_version"])]
    return not values["backup_repository"].startswith("sftp:") or numbers >= [2, 46]


def _of_repository(kind: str, name: str) -> Callable[[Values], bool]:
    """Return a test that a variable is given where backup_repository is of a kind."""
    return lambda values: not values["backup_repository"].startswith(kind) or bool(values[name])


# Functions for the rule `suggest` return what somebody may have meant by a wrong value, or nothing.
SUGGESTIONS: dict[str, Callable[[object], str]] = {
    "host": addresses.likely_host,
    "domain": addresses.likely_name,
}

FUNCTIONS: dict[str, Callable[[Values], bool]] = {
    "app_source names one source": source_is_one,
    "app_source has no empty value": source_has_values,
    "app_source has a repository": _part(
        rf"(https?://([^\s/?#]*@)?{SERVER}|(git|(git\+)?ssh)://([^\s/?#:@]+@)?{SERVER})(/\S*)?"
        r"|(file://|([A-Za-z0-9_.+-]+@)?([\w.-]+|\[[0-9A-Fa-f:.]+\]):(?!//)|/)\S*",
        "git",
    ),
    # git-check-ref-format(1)
    "app_source has a ref": _part(
        r"(?![-.])(?!.*(\.\.|@\{|//|/\.|\.lock(/|$)|[./]$))[^\s~^:?*\[\\\x00-\x1f\x7f]+", "ref"
    ),
    # tar finds out how an archive is compressed; the URL of one may have any name.
    "app_source has an archive": _part(
        rf"https?://([^\s/?#]*@)?{SERVER}/\S*|(?![a-z+]+://).+\.(tar(\.(gz|xz|zst|bz2|lzma))?|tgz|txz|tbz2?)",
        "archive",
    ),
    "app_source cannot be replaced on its way": source_is_protected,
    "app_signing_keys are for a repository": signing_keys_are_for_git,
    "app_source has a checksum": _part(
        r"(?i)(md5|sha1|sha224|sha256|sha384|sha512):[0-9a-f]+", "checksum"
    ),
    "app_build_user is not app_user": build_user_is_another,
    "app_broker is encrypted": broker_is_encrypted,
    "app_broker is there for Celery": broker_is_there,
    "app_certificates cover app_domains": _cover(
        "app_certificates", "app_domains", "app_media_domain"
    ),
    "app_domains are different": domains_are_different,
    "app_database_extensions are of this host": _needs_local("app_database_extensions"),
    "app_database_owner is of another server": database_owner_is_elsewhere,
    "app_database_collation is of this host": _needs_local("app_database_collation"),
    "app_media_domain is no name of the site": _is_apart("app_media_domain", "app_domains"),
    "app_domains are there for a site": site_has_domains,
    "app_media_url is not app_static_url": media_url_is_not_static,
    "app_migrate is without Django": _of_django("app_migrate", False),
    "app_settings_module is of Django": _of_django("app_settings_module", True),
    "app_wsgi is there for Gunicorn": gunicorn_has_an_application,
    "app_processes have workers with app_celery only": workers_have_celery,
    "app_schedules have names of their own": schedules_have_own_names,
    "processes_worker_command is there": worker_command_is_there,
    "app_shared_directories are apart": shared_directories_are_apart,
    "backup_repository suits pgBackRest": backup_suits_pgbackrest,
    "backup_s3_key is there": _of_repository("s3:", "backup_s3_key"),
    "backup_s3_secret is there": _of_repository("s3:", "backup_s3_secret"),
    "backup_ssh_key is there": _of_repository("sftp:", "backup_ssh_key"),
    "backup_ssh_host_keys are there": _of_repository("sftp:", "backup_ssh_host_keys"),
    "certbot can certify addresses": certbot_can_do_addresses,
    "certbot has no wildcard": certbot_has_no_wildcard,
    "certbot_dns_credentials suit the plugin": certbot_credentials_suit,
    "certbot has public names": certbot_names_are_public,
    "monitor_email_to has a server": monitor_can_send_mail,
    "nginx_certificates cover nginx_server_names": nginx_certificates_cover_names,
    "nginx_uploads have locations": nginx_uploads_have_locations,
    "nginx_uploads_domain is no name of the site": _is_apart(
        "nginx_uploads_domain", "nginx_server_names"
    ),
    "nginx_uploads_domain takes no password away": nginx_uploads_need_no_password,
    "nginx_health_path is the application's": nginx_health_path_is_the_applications,
    "nginx_locations publish no release": nginx_locations_publish_no_release,
    "nginx_proxy_read_timeout suits gunicorn_timeout": nginx_waits_for_gunicorn,
    "nginx_redirects are of the site": nginx_redirects_are_of_the_site,
    "nginx_redirects end": nginx_redirects_end,
    "nginx_redirects keep the first name": nginx_redirects_keep_the_first_name,
    "nginx_redirects suit": nginx_redirects_suit,
    "nginx's paths are apart": nginx_paths_are_apart,
    "postgresql_clients reach the server": postgresql_clients_reach_it,
    "postgresql_databases have users of their own": databases_have_own_users,
    "postgresql_listen_addresses have clients": postgresql_listens_for_clients,
    "sshd_settings are spelled like sshd_config(5)": sshd_settings_are_spelled_like_its_manual,
}
