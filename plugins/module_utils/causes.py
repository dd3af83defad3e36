"""The table of what outputs say, and what an operator should do about it.

To add a cause, add a row to CAUSES: a regular expression, and the advice. The first row that is
found wins, so special rows come before general ones. `.` ends at the end of a line, `^` and `$` are
the ends of a line, GAP is up to 30 lines of a traceback. The advice may use the named groups of the
expression, as $path, and:

    $directory  of $path
    $headers    Debian's package for $pc, from HEADERS
    $package    Debian's package for $missing, from DEBIAN
    $project    PyPI's package for $module, from PYPI
    $built      the package that could not be built

Words that are evidence and no more belong to a row with `sure=False`, whose advice is told as a
possibility, before the general hint of the step. tests/unit/outputs.txt has real outputs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """A row of the table.

    Attributes:
        pattern: what the output has.
        advice: what to do.
        sure: whether the pattern proves the cause.
    """

    pattern: str
    advice: str
    sure: bool = True


GAP = r"(?:.*\n){0,30}?.*?"
# The last four are the typographic quotes.
QUOTE = r"[\"'`\u2018\u2019\u201c\u201d]?"
RELEASE = r"/[^\s'\"]*?/(?:releases/[0-9a-f]{12}-[0-9a-f]{6}|current)/"
PATH = r"[^'\n]*'?(?<=['\" :])(?!//)"  # what is before a path, in quotes or not
READ_ONLY = rf"(?:\[Errno 30\]|EROFS|Read-only file system){PATH}"
DENIED = rf"(?:\[Errno 13\]|EACCES|Permission denied){PATH}"
# A directory of the application alone, which the sandbox may let it write to.
PLACE = r"/(?:(?:srv|opt|mnt|data|media)|var/(?:log|lib|cache|spool|opt|local))/[^'\s/]+"
# A shell and the coreutils tell the path first.
SHELL = r"(?:cannot (?:create|touch|open|create directory|create regular file)|mkdir:|sh: \d+:)"
LOOPBACK = r"(?:127\.0\.0\.1|localhost|::1)"
# Where clouds have their metadata servers; __app_forbidden_networks has the networks.
METADATA = (
    r"169\.254\.\d+\.\d+|fd00:ec2::254|fd20:ce::254|fd00:42::42"
    r"|100\.100\.100\.200|168\.63\.129\.16|192\.0\.0\.192"
)
FAILED = r"(?:Connection refused|\[Errno 111\]|Errno 111|Error 111|ConnectionRefusedError)"
SLOW = r"(?:timed out|timeout expired|connection timeout|No route to host|Network is unreachable)"

WRITABLE = (
    "A directory of app_shared_directories is writable and outlives releases; logs belong to "
    "standard error, which the journal keeps."
)
EXECUTABLE = "app_sandbox: {MemoryDenyWriteExecute: false}"
READ_URL = "The settings should read DATABASE_URL; app_database says what it is."

# Debian's package for a library, a program or a header that is missing.
DEBIAN = {
    # libraries; a package that has one name in all releases of Debian
    "libGL.so.1": "libgl1", "libxcb.so.1": "libxcb1", "libSM.so.6": "libsm6", "libXext.so.6":
    "libxext6", "libXrender.so.1": "libxrender1", "libgthread-2.0.so.0": "libglib2.0-bin",
    "libglib-2.0.so.0": "libglib2.0-bin", "libmagic": "libmagic-dev", "libpq.so.5": "libpq5",
    "libxmlsec1.so.1": "xmlsec1", "libmariadb.so.3": "libmariadb3", "libcairo.so.2": "libcairo2",
    "cairo": "libcairo2", "cairo-2": "libcairo2",
    "libgobject-2.0-0": "libpango-1.0-0, libpangoft2-1.0-0",
    "gobject-2.0-0": "libpango-1.0-0, libpangoft2-1.0-0",
    "libpango-1.0-0": "libpango-1.0-0, libpangoft2-1.0-0",
    "pango-1.0-0": "libpango-1.0-0, libpangoft2-1.0-0", "zbar": "zbar-tools",
    "libsndfile.so": "libsndfile1", "libgomp.so.1": "libgomp1", "libvips": "libvips-tools",
    # programs
    "ffmpeg": "ffmpeg", "node": "nodejs", "npm": "npm", "npx": "npm", "convert": "imagemagick",
    "magick": "imagemagick", "dot": "graphviz", "pdftoppm": "poppler-utils",
    "pdftotext": "poppler-utils", "soffice": "libreoffice-writer",
    "msgfmt": "gettext", "msguniq": "gettext", "tesseract": "tesseract-ocr", "gs": "ghostscript",
    "make": "make", "cmake": "cmake", "swig": "swig", "curl": "curl", "wget": "wget",
    "pg_dump": "postgresql-client", "psql": "postgresql-client", "unzip": "unzip",
    "ping": "iputils-ping", "sassc": "sassc", "pandoc": "pandoc", "exiftool":
    "libimage-exiftool-perl", "chromium": "chromium", "git-lfs": "git-lfs",
    # headers
    "Python.h": "python3-dev", "libpq-fe.h": "libpq-dev", "ffi.h": "libffi-dev",
    "openssl/ssl.h": "libssl-dev", "openssl/opensslv.h": "libssl-dev", "mysql.h":
    "default-libmysqlclient-dev", "lber.h": "libldap-dev, libsasl2-dev", "ldap.h":
    "libldap-dev, libsasl2-dev", "sasl.h": "libsasl2-dev", "zlib.h": "zlib1g-dev",
    "jpeglib.h": "libjpeg-dev", "libxml/xmlversion.h": "libxml2-dev, libxslt1-dev",
    "libxml/xpath.h": "libxml2-dev, libxslt1-dev", "graphviz/cgraph.h": "libgraphviz-dev",
    "yaml.h": "libyaml-dev", "sql.h": "unixodbc-dev", "gmp.h": "libgmp-dev", "magic.h":
    "libmagic-dev", "curl/curl.h": "libcurl4-openssl-dev", "gdal.h": "libgdal-dev",
}  # fmt: skip

# Debian's package for what pkg-config is asked for.
HEADERS = {
    "cairo": "libcairo2-dev", "dbus-1": "libdbus-1-dev", "libpq": "libpq-dev", "libvirt":
    "libvirt-dev", "libxml-2.0": "libxml2-dev", "xmlsec1": "libxmlsec1-dev", "openssl":
    "libssl-dev", "libffi": "libffi-dev", "mysqlclient": "default-libmysqlclient-dev",
    "libsystemd": "libsystemd-dev", "gobject-introspection-1.0": "libgirepository1.0-dev",
}  # fmt: skip

# PyPI's package for a module, where it has another name.
PYPI = {
    "environ": "django-environ", "decouple": "python-decouple", "dotenv": "python-dotenv",
    "dj_database_url": "dj-database-url", "rest_framework": "djangorestframework",
    "rest_framework_simplejwt": "djangorestframework-simplejwt", "corsheaders":
    "django-cors-headers", "django_filters": "django-filter", "django_extensions":
    "django-extensions", "debug_toolbar": "django-debug-toolbar", "storages": "django-storages",
    "allauth": "django-allauth", "crispy_forms": "django-crispy-forms", "import_export":
    "django-import-export", "django_redis": "django-redis", "django_celery_beat":
    "django-celery-beat", "django_celery_results": "django-celery-results", "drf_spectacular":
    "drf-spectacular", "drf_yasg": "drf-yasg", "mptt": "django-mptt", "taggit": "django-taggit",
    "channels_redis": "channels-redis", "uvicorn_worker": "uvicorn-worker",
    "PIL": "Pillow", "yaml": "PyYAML", "cv2": "opencv-python-headless", "magic": "python-magic",
    "MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]",
    "dateutil": "python-dateutil", "jwt": "PyJWT", "bs4": "beautifulsoup4", "sklearn":
    "scikit-learn", "pkg_resources": "setuptools", "sentry_sdk": "sentry-sdk", "jose":
    "python-jose", "slugify": "python-slugify", "docx": "python-docx", "Crypto": "pycryptodome",
    "OpenSSL": "pyOpenSSL", "google.protobuf": "protobuf", "git": "GitPython", "attr": "attrs",
    "serial": "pyserial", "ldap": "python-ldap", "telegram": "python-telegram-bot", "stripe":
    "stripe", "pymemcache": "pymemcache", "zmq": "pyzmq", "fitz": "PyMuPDF",
}  # fmt: skip

# --- The sandbox of systemd: app_sandbox ---------------------------------------------------------

SANDBOX = (
    Cause(
        r"Cannot allocate write\+execute memory|(?i:cannot|failed to|unable to) allocate executable"
        r" memory|SetPermissionsOnExecutableMemoryChunk|Check failed: 12 == \(\*__errno_location"
        r"|mmap\.mmap\(.*PROT_EXEC|cannot enable executable stack|cannot restore segment prot"
        r"|LLVM ERROR: Unable to allocate section memory|can't (?:allocate|mmap) executable",
        "A process makes code at run time, as V8 (Node.js), numba and callbacks of cffi do, and "
        "the directive MemoryDenyWriteExecute of the sandbox forbids that. Allow it: " + EXECUTABLE,
    ),
    Cause(
        r"SIGTRAP|Trace/breakpoint trap|status=5/TRAP|exit status 133\b|(?:error|exit) code 133\b",
        "The process ended as Node.js (V8) does where the directive MemoryDenyWriteExecute of the "
        "sandbox forbids code that is made at run time. Allow it: " + EXECUTABLE,
        sure=False,
    ),
    Cause(
        r"SIGSYS|status=31/SYS|Bad system call|exit status 159\b",
        "A process used a system call that the directive SystemCallFilter of the sandbox forbids. "
        "Allow its group (systemd-analyze syscall-filter lists them), such as app_sandbox: "
        "{SystemCallFilter: '@resources'}",
    ),
    Cause(
        rf"(?P<family>AF_[A-Z0-9]+){GAP}(?:\[Errno 97\]|Address family not supported)",
        "The directive RestrictAddressFamilies of the sandbox forbids sockets of $family. Allow "
        "them: app_sandbox: {RestrictAddressFamilies: $family}",
    ),
    Cause(
        r"\[Errno 97\]|Address family not supported by protocol|EAFNOSUPPORT",
        "The directive RestrictAddressFamilies of the sandbox allows AF_UNIX, AF_INET and AF_INET6."
        " Allow another one: app_sandbox: {RestrictAddressFamilies: AF_NETLINK}",
        sure=False,
    ),
    Cause(
        rf"(?P<address>{METADATA}){GAP}"
        rf"(?:{SLOW}|Operation not permitted|[Tt]imeout|{FAILED})",
        "The directive IPAddressDeny of the sandbox blocks $address: the metadata server of a "
        "cloud gives a host's secrets there. Give the application its own credentials in "
        "app_environment (such as AWS_ACCESS_KEY_ID), or allow the address: app_sandbox: "
        "{IPAddressAllow: $address}",
    ),
    Cause(
        rf"metadata\.google\.internal{GAP}"
        rf"(?:{SLOW}|Operation not permitted|[Tt]imeout|{FAILED})",
        "The directive IPAddressDeny of the sandbox blocks metadata.google.internal: the metadata "
        "server of a cloud gives a host's secrets there. Give the application its own credentials "
        "in app_environment, or allow the address: app_sandbox: {IPAddressAllow: 169.254.169.254}",
    ),
    Cause(
        r"NoCredentialsError|Unable to locate credentials|DefaultCredentialsError",
        "No credentials of a cloud were found. The metadata server (169.254.169.254) is blocked by"
        " the directive IPAddressDeny of the sandbox. Give the application its own credentials in"
        " app_environment (such as AWS_ACCESS_KEY_ID), or allow the address: app_sandbox: "
        "{IPAddressAllow: 169.254.169.254}",
    ),
    Cause(
        rf"SOCK_RAW{GAP}\[Errno 1\]",
        "A raw socket needs a capability that no process of the application has. Ask in another "
        "way, such as by a TCP connection.",
    ),
    Cause(
        r"(?:\.connect(?:_ex)?\(|\.send(?:to|msg|all)?\().*\n(?:.*\n){0,2}?.*\[Errno 1\]",
        "The directive IPAddressDeny of the sandbox blocks link-local and multicast addresses. "
        "Allow the address: app_sandbox: {IPAddressAllow: ADDRESS}",
    ),
    Cause(
        r"chmod\(.*\n(?:.*\n){0,2}?.*\[Errno 1\]",
        "The directive RestrictSUIDSGID of the sandbox forbids set-user-ID and set-group-ID bits, "
        "and only its owner changes the mode of a file. Leave them out (such as a 2 in front of "
        "FILE_UPLOAD_DIRECTORY_PERMISSIONS), or allow them: app_sandbox: {RestrictSUIDSGID: false}",
        sure=False,
    ),
    Cause(
        rf"(?:unshare\(|CLONE_NEW){GAP}\[Errno 1\]|Failed to move to new namespace"
        r"|(?:No usable sandbox|Running as root without --no-sandbox)",
        "The directive RestrictNamespaces of the sandbox forbids namespaces. Start a browser with "
        "--no-sandbox, or allow them: app_sandbox: {RestrictNamespaces: false}",
    ),
    Cause(
        r"SCHED_(?:FIFO|RR).*\n(?:.*\n){0,2}?.*\[Errno 1\]",
        "A real-time priority needs a capability that no process of the application has.",
    ),
    Cause(
        r"(?:\bnice|setpriority|setrlimit|prlimit|sched_set\w+|ioprio_set)\(.*\n"
        r"(?:.*\n){0,2}?.*(?:\[Errno 1\]|AccessDenied)",
        "The directive SystemCallFilter of the sandbox forbids to change priorities and limits. "
        "Allow it: app_sandbox: {SystemCallFilter: '@resources'}. No priority can be raised.",
    ),
    Cause(
        r"(?:chown|chroot|mknod|mount)\(.*\n(?:.*\n){0,2}?.*\[Errno 1\]",
        "Only root may do that. What needs root belongs to a file of tasks: app_before_migrate or "
        "app_after_switch: [{tasks: FILE}]",
    ),
    Cause(
        r"The \"?no new privileges\"? flag is set|effective uid is not 0",
        "The directive NoNewPrivileges of the sandbox forbids sudo. What needs root belongs to a "
        "file of tasks: app_before_migrate or app_after_switch: [{tasks: FILE}]",
    ),
    Cause(
        r"(?P<path>/(?:var/)?run/dbus/system_bus_socket)",
        "The directive InaccessiblePaths of the sandbox hides D-Bus, since a user can ask for "
        "processes outside of the sandbox there.",
        sure=False,
    ),
    Cause(
        r"\[Errno 2\] No such file or directory: '(?P<path>/dev/[^'\n]+)'"
        r"|(?:cannot|could not|failed to) open (?:port )?(?P<device>/dev/\w[^\s:]*)",
        "The directive PrivateDevices of the sandbox hides the devices of the host. Show them: "
        "app_sandbox: {PrivateDevices: false}",
    ),
    Cause(
        r"(?:Failed to set up mount namespacing:|status=226/NAMESPACE|Failed at step NAMESPACE)"
        r"(?: (?P<path>/[^\s:]+))?",
        "systemd cannot set up the sandbox: each path of app_sandbox (ReadWritePaths, BindPaths "
        "and the like) has to exist, unless it has a - in front. $path",
    ),
    Cause(
        rf"{DENIED}(?P<path>/(?:home|root|run/user)\b[^'\s]*)",
        "The directive ProtectHome of the sandbox hides $path. Move the file to a directory of "
        "app_shared_directories, or show it: app_sandbox: {ProtectHome: read-only}",
    ),
)

# --- Files ---------------------------------------------------------------------------------------

FILES = (
    Cause(
        rf"(?:{READ_ONLY}|{DENIED})(?P<path>{RELEASE}\.venv/[^'\"\s]*)",
        "A package writes beside its code, $path, and a release is read-only. Set the directory "
        "of its cache by a variable of app_environment to one below app_shared.",
    ),
    Cause(
        rf"File \"{RELEASE}(?P<code>[^\"\n]+)/[^/\"\n]+\.py\"(?:.*\n){{1,90}}?"
        rf".*(?:{READ_ONLY}|{DENIED})(?P<path>{RELEASE}(?P=code)/[^'\"\s/]*)",
        "The application writes to $path, beside its code, and a release is read-only. Write to a "
        "directory of its own, such as logs, that app_shared_directories names. " + WRITABLE,
    ),
    Cause(
        rf"(?:{READ_ONLY}|{DENIED})(?P<path>{RELEASE}(?P<inside>[^'\"\s/]+/[^'\"\s]*))",
        "The application writes to $path, and a release is read-only. Add $directory to "
        "app_shared_directories. Such a directory is writable and outlives releases; logs belong "
        "to standard error, which the journal keeps.",
    ),
    Cause(
        rf"(?:{READ_ONLY}|{DENIED})(?P<path>{RELEASE}[^'\"\s/]+)",
        "The application writes to $path, and a release is read-only. Write to a directory of its "
        "own, such as logs, and name that in app_shared_directories. " + WRITABLE,
    ),
    Cause(
        r"\[Errno 2\][^'\n]*'(?P<path>[^'\n]+)'(?:.*\n){0,90}?.*Unable to configure handler",
        "The settings log to $path, whose directory is not there. Log to standard error, which the "
        "journal keeps, or to a directory of app_shared_directories.",
    ),
    Cause(
        rf"(?:{READ_ONLY}|{DENIED})(?P<path>/[^'\"\s]+?/\.(?:cache|config|local|npm)\b[^'\"\s]*)",
        "A package writes to $path, its cache in HOME, which is read-only. Set XDG_CACHE_HOME, or "
        "the variable of that package, in app_environment to a directory of "
        "app_shared_directories.",
    ),
    Cause(
        rf"{READ_ONLY}(?P<path>{PLACE}/[^'\"\s]+)",
        "The directive ProtectSystem of the sandbox makes $path read-only. " + WRITABLE + " Or "
        "create its directory for app_user and allow it: app_sandbox: {ReadWritePaths: $directory}",
    ),
    Cause(
        rf"{READ_ONLY}(?P<path>/[^'\"\s]+)",
        "The directive ProtectSystem of the sandbox makes $path read-only. " + WRITABLE,
    ),
    Cause(
        rf"{SHELL} {QUOTE}(?P<path>[^'\"`\u2019:\s]+){QUOTE}:? Read-only file system",
        "A command writes to $path, which is read-only for it. " + WRITABLE,
    ),
    Cause(
        r"\[Errno 30\]|Read-only file system|EROFS|OSError\(30",
        "The application writes to a read-only directory, such as one of its release. " + WRITABLE,
    ),
    Cause(
        rf"{DENIED}(?P<path>/[^'\"\s]*?/shared/[^'\"\s]*)",
        "The application's user (app_user) may not use $path. Look at the owner: ls -ld "
        "$directory; chown -R it to app_user, with its group.",
    ),
    Cause(
        rf"{DENIED}(?P<path>/[^'\"\s]+)",
        "The application's user (app_user) may not use $path. " + WRITABLE,
    ),
    Cause(
        r"sh: \d+: (?P<path>\S+): Permission denied",
        "The file $path is not executable: git update-index --chmod=+x $path, or name its "
        "interpreter in the command, such as sh $path.",
    ),
    Cause(
        r"Unable to configure handler '(?P<handler>[^'\n]+)'",
        "LOGGING in the settings has a handler, $handler, that does not work. " + WRITABLE,
    ),
    Cause(
        r"\[Errno 28\]|No space left on device|ENOSPC|DiskFull|disk is full",
        "The disk is full. df -h and df -i say which one; du -xh --max-depth=2 / | sort -h | tail "
        "says with what.",
    ),
    Cause(
        r"Exec format error|\[Errno 8\]",
        "A program is for another CPU, or a script has no line #! at its beginning.",
    ),
    Cause(
        r"\\r: No such file|\\r'?: (?:command )?not found|bad interpreter: .*\^M"
        r"|[\u2019']\w+\?[\u2019']: No such",
        "A script has line ends of Windows. Convert it (dos2unix) and commit it.",
    ),
)

# --- Packages ------------------------------------------------------------------------------------

PACKAGES = (
    Cause(
        r"Failed to install (?P<name>(?:cpython|pypy)-[\w.+-]+)",
        "uv cannot get $name. app_python should be an interpreter of the host (python3 or a path)"
        " or a version that uv can download. Where the host does not reach the downloads, "
        "app_install_environment: {UV_PYTHON_INSTALL_MIRROR: URL} names a copy of them.",
    ),
    Cause(
        r"No module named '(?P<module>aifc|audioop|cgi|cgitb|chunk|crypt|imghdr|mailcap|nntplib"
        r"|pipes|sndhdr|spwd|sunau|telnetlib|uu|xdrlib)'",
        "Python has no module $module since 3.13, and the project, or a version of a package that "
        'it pins, needs it. Take a newer version of that, or app_python: "3.12".',
    ),
    Cause(
        r"No module named '(?P<module>asynchat|asyncore|smtpd)'",
        "Python has no module $module since 3.12, and the project, or a version of a package that "
        'it pins, needs it. Take a newer version of that, or app_python: "3.11".',
    ),
    Cause(
        r"pg_config executable not found|Error: pg_config",
        "psycopg2 is built from source, which needs app_apt_packages: [gcc, libpq-dev, "
        "python3-dev]. Its binary package needs none: psycopg2-binary in the requirements.",
    ),
    Cause(
        r"Failed to (?:download and )?build `?psycopg2[=@`]",
        "psycopg2 is built from source, which needs app_apt_packages: [gcc, libpq-dev, "
        "python3-dev]. Its binary package needs none: psycopg2-binary in the requirements.",
    ),
    Cause(
        r"(?i:failed to (?:download and )?build|failed building wheel for) `?mysqlclient\b",
        "mysqlclient is built from source, which needs app_apt_packages: [gcc, "
        "default-libmysqlclient-dev, pkg-config, python3-dev].",
    ),
    Cause(
        r"fatal error: (?P<missing>[\w./+-]+\.h(?:pp)?): No such file",
        "$built is built from source, and the header $missing is not there. Add $package to "
        "app_apt_packages.",
    ),
    Cause(
        r"Package (?P<quote>['\"]?)(?P<pc>[\w.+-]+)(?P=quote),? (?:required by .*|was )?not found"
        r"|No package '(?P<pc2>[\w.+-]+)' found|'--exists', '(?P<pc3>[\w.+-]+)",
        "$built is built from source, and pkg-config does not find a library. Add gcc, pkg-config, "
        "python3-dev and $headers to app_apt_packages.",
    ),
    Cause(
        r"libxml2 and libxslt development packages",
        "lxml is built from source, which needs app_apt_packages: [gcc, libxml2-dev, libxslt1-dev, "
        "python3-dev]. A version with a wheel for this Python needs none.",
    ),
    Cause(
        r"headers or library files could not be found for \w+|RequiredDependencyException",
        "Pillow is built from source, which needs app_apt_packages: [gcc, libjpeg-dev, zlib1g-dev, "
        "python3-dev]. A version with a wheel for this Python needs none.",
    ),
    Cause(
        r"pkg-config: not found|'pkg-config' not found|invoke pkg-config|pkg-config.* is required",
        "$built is built from source, and pkg-config is not there. Add pkg-config, gcc, "
        "python3-dev and the headers of its library (lib...-dev) to app_apt_packages.",
    ),
    Cause(
        r"No such file or directory: '(?:\S*-)?(?:gcc|cc|g\+\+|c\+\+|clang)'"
        r"|(?:unable to execute|command) '\S*(?:gcc|cc|g\+\+)'.*(?:No such file|not found)"
        r"|(?:gcc|cc|g\+\+): not found|linker `cc` not found|need a C compiler"
        r"|[Nn]o (?:acceptable|working) (?:C )?compiler|Unknown compiler\(s\)",
        "$built is built from source, and there is no compiler. A version with a wheel for this "
        "Python (app_python) needs none; else app_apt_packages: [gcc, python3-dev], and the "
        "headers of its libraries (lib...-dev).",
    ),
    Cause(
        r"(?:can't find|requires) (?:the )?Rust (?:compiler|toolchain)|[Cc]argo, the Rust package",
        "$built is built from source, which needs Rust. A newer version has a wheel for this "
        "Python; else app_apt_packages: [cargo, gcc, python3-dev].",
    ),
    Cause(
        r"No module named '(?:distutils|imp)'|module 'pkgutil' has no attribute 'ImpImporter'"
        r"|we only found wheels for|has no wheels with a matching Python",
        "$built is too old for this Python. Take a newer version of it, or an older Python, such "
        'as app_python: "3.11".',
    ),
    Cause(
        r"(?i:failed to (?:download and )?build|failed building wheel for) `?(?P<name>[\w.-]+)",
        "$name cannot be built. Take a version that has a wheel for this Python, or another Python,"
        ' such as app_python: "3.11"; or add what the build lacks to app_apt_packages.',
    ),
    Cause(
        r"(?:^|\s)(?P<name>[\w.-]+)(?:[=><~!]\S*)? (?:was|were) not found in the package registry",
        "The package index has no package $name: correct the requirements or app_packages. A "
        "private package needs its index (UV_INDEX in app_install_environment) or its URL.",
    ),
    Cause(
        r"No solution found when resolving|ResolutionImpossible|conflicting dependencies",
        "The requirements and app_packages cannot be met together. The lines below say which of "
        "them; correct these.",
    ),
    Cause(
        r"lockfile at `?(?P<name>[\w./-]+)`? needs to be updated",
        "uv.lock does not fit pyproject.toml. Run uv lock and commit it.",
    ),
    Cause(
        r"No interpreter found for (?P<name>.+?)(?: in |$)",
        "$name is not there: app_python should be an interpreter of the host (python3) or a version"
        " that uv can download (3.13).",
    ),
    Cause(
        r"app_broker: the packages of Celery for (?P<name>\w+) cannot be imported",
        'Celery lacks the packages for its broker. Add them: app_packages: ["celery[$name]"]',
    ),
    Cause(
        r"(?P<name>app_wsgi|app_asgi|app_celery): (?P<module>\w+)\S* cannot be imported: "
        r"ModuleNotFoundError\(.*'(?P=module)[\w.]*'",
        "The source has no such module: $name should name a module of the project, and "
        "app_directory the directory in which it is, for a Django project that of manage.py. "
        "app_wsgi may be empty if nothing but Celery uses the project.",
    ),
    Cause(
        r"can't open file '[^'\n]*/manage\.py': \[Errno 2\]",
        "The source has no manage.py in app_directory. app_directory should be the directory of "
        "manage.py; or write app_django: false for a project without Django.",
    ),
    Cause(
        r"Missing (?P<module>\w+) library",
        "The broker needs a package that the requirements lack: app_packages: [$project].",
    ),
    Cause(
        r"Error loading (?P<module>psycopg2|psycopg|MySQLdb|cx_Oracle|oracledb)",
        "The driver of the database is not installed, or does not load. For PostgreSQL add it to "
        'the requirements or to app_packages: ["psycopg[binary]"].',
    ),
    Cause(
        rf"/cv2/__init__\.py\"{GAP}lib[\w.+-]+?\.so.*: cannot open shared object",
        "opencv-python needs libraries for windows. The requirements should have "
        "opencv-python-headless in its place, which needs none.",
    ),
    Cause(
        r"(?P<missing>lib[\w.+-]+?\.so(?:[.\d]*)): cannot open shared object"
        r"|cannot load library '(?P<missing2>[^'\n]+)'|no library called \"(?P<missing3>[^\"\n]+)\""
        r"|failed to find (?P<missing4>libmagic)|Unable to find (?P<missing5>\w+) shared library",
        "A library is not on the host. Add $package to app_apt_packages.",
    ),
    Cause(
        r"Could not find the (?P<library>GDAL|GEOS) library",
        "A library is not on the host. Add gdal-bin to app_apt_packages.",
    ),
    Cause(
        rf"\benv: {QUOTE}(?P<missing>[\w.+-]+){QUOTE}: No such file or directory",
        "The host has no program $missing. If a package of Python has it, the requirements or "
        "app_packages should have that package; else add $package to app_apt_packages.",
    ),
    Cause(
        r"No such file or directory: '(?P<missing>[\w.+-]+)'(?: -|$|\))"
        r"|sh: (?:line )?\d+: (?P<missing2>[\w.+-]+): (?:command )?not found"
        r"|[Cc]an't find (?P<missing3>msg\w+)|spawn (?P<missing4>[\w.+-]+) ENOENT",
        "A program or a file is not there. If it is a program: add $package to app_apt_packages.",
        sure=False,
    ),
    Cause(
        r"No module named '(?P<module>[\w]+)'",
        "Python finds no module $module. If it is a package, the requirements or app_packages "
        "should have $project. If it is the project's own, app_directory, app_wsgi, app_celery "
        "and, for Django, app_settings_module should fit the source.",
    ),
    Cause(
        r"No module named '(?P<module>[\w.]+)'",
        "Python finds no module $module. If it is the project's own, app_directory, app_wsgi, "
        "app_celery and, for Django, app_settings_module should fit the source; if it is a "
        "package's, the version of that package should fit.",
    ),
    Cause(
        r"[Ff]ailed to find attribute '(?P<name>\w+)' in '(?P<module>[\w.]+)'"
        r"|Module \"(?P<module2>[\w.]+)\" does not define a \"(?P<name2>\w+)\"",
        "app_wsgi or app_asgi should name the project's module and its variable, such as "
        "shop.wsgi:application.",
    ),
    Cause(
        r"[Mm]odule '(?P<module>[\w.]+)' has no attribute '(?:celery|app)'"
        r"|Unable to load celery application\.\n(?:The m|M)odule",
        "app_celery should name the module of the Celery application, such as shop for "
        "shop/celery.py.",
    ),
    Cause(
        r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)'",
        "The version of the package of $module does not fit: it has no $name. Fix the version in "
        "the requirements.",
        sure=False,
    ),
)

# --- Services ------------------------------------------------------------------------------------

POSTGRESQL = "systemctl status 'postgresql@*' and journalctl -u 'postgresql@*'"
SERVICES = (
    Cause(
        rf"server at \"{LOOPBACK}\".*{FAILED}|{LOOPBACK}\D.*?\b5432\b.*{FAILED}"
        rf"|{FAILED}.*{LOOPBACK}\D+5432\b",
        f"PostgreSQL does not answer on this host: {POSTGRESQL} say why. If app_database names "
        "another host, the settings should read DATABASE_URL.",
    ),
    Cause(
        r"(?:server on socket|domain socket) \"(?P<path>[^\"\n]+)\"(?!.*FATAL)"
        r"|database system is (?:starting up|shutting down)",
        "PostgreSQL does not answer on this host's socket. The settings should read DATABASE_URL, "
        f"which names 127.0.0.1; {POSTGRESQL} say whether it runs.",
    ),
    Cause(
        rf"server at \"(?P<host>[^\"\n]+)\".*(?:{FAILED}|{SLOW})|psycopg\S+: connection timeout",
        "PostgreSQL does not answer at $host. Its firewall (or list of trusted sources) should "
        "let this host in, and app_database name its host and port.",
    ),
    Cause(
        r"translate host name \"(?P<host>[^\"\n]+)\"|failed to resolve host '(?P<host2>[^'\n]+)'"
        r"|Error -\d+ connecting to (?P<host3>[^\s:]+):\d+"
        r"|resolve host(?: name)?:? '?(?P<host4>[\w.-]+)|getaddrinfo \w+ (?P<host5>[\w.-]+)",
        "The host name $host has no address. If it is a name of Docker Compose, such as db or "
        "redis, the settings should read DATABASE_URL, REDIS_URL and CELERY_BROKER_URL instead.",
    ),
    Cause(
        r"Name or service not known|[Tt]emporary failure in name resolution|Could not resolve host"
        r"|failed to lookup address|No address associated with hostname|nodename nor servname",
        "A host name has no address: look for it below. The host's DNS: resolvectl query NAME.",
    ),
    Cause(
        r"password authentication failed for user \"(?P<user>[^\"\n]+)\"|[Pp]eer authentication "
        r"failed for user \"(?P<user2>[^\"\n]+)\"|role \"(?P<user3>[^\"\n]+)\" does not exist"
        r"|no password supplied",
        "PostgreSQL refuses the user or the password. The settings should read DATABASE_URL, or "
        "app_environment should give them app_database_user and app_database_password. If somebody "
        "has changed the password on this host, site.yml sets it again.",
    ),
    Cause(
        r"(?:FATAL|OperationalError).*database \"(?P<name>[^\"\n]+)\" does not exist",
        "PostgreSQL has no database $name. " + READ_URL,
    ),
    Cause(
        r"no pg_hba\.conf entry for host \"(?P<host>[^\"\n]+)\"",
        "PostgreSQL lets nobody in from $host in this way: it should have an entry for this host, "
        "or app_database should ask for TLS (?sslmode=require).",
    ),
    Cause(
        r"type \"(?P<name>vector|halfvec|geometry|geography|raster|citext|hstore|ltree)\" does not",
        "The type $name belongs to an extension, which the database does not have. With a database "
        "on this host: app_database_extensions (vector, postgis, citext, hstore, ltree), and run "
        "site.yml. With another server, its provider or its superuser creates it.",
    ),
    Cause(
        r"permission denied to create extension \"(?P<name>[\w-]+)\"",
        "Only the superuser may create the extension $name. With a database on this host: "
        "app_database_extensions: [$name], and run site.yml. With another server, its provider or "
        'its superuser creates it: CREATE EXTENSION IF NOT EXISTS "$name"',
    ),
    Cause(
        r"extension \"(?P<name>[\w-]+)\" is not available|extension control file "
        r"\"[^\"\n]*?/(?P<name2>[\w-]+)\.control\"",
        "The server of PostgreSQL lacks the extension $name. With a database on this host: "
        "app_database_extensions: [$name], and run site.yml. With another server, its provider "
        "says which extensions it has.",
    ),
    Cause(
        r"(?P<name>\w+) must be loaded via \"?shared_preload_libraries",
        "PostgreSQL has to load $name at its start. With a database on this host: "
        "app_database_extensions: [$name], and run site.yml.",
    ),
    Cause(
        r"unsupported startup parameter(?: in options)?: (?P<name>[\w.]+)",
        "A pooler (PgBouncer) is before the database and refuses $name, which DATABASES sends with "
        "the login: take it out of OPTIONS and of the URL (ALTER ROLE ... SET does the same), or "
        "add it to ignore_startup_parameters of the pooler.",
    ),
    Cause(
        r"prepared statement \"[^\"\n]*\" (?:does not|already) exists?",
        "A pooler in transaction mode (PgBouncer) is before the database, and prepared statements "
        "of one connection are not there in the next transaction. DATABASES should have OPTIONS: "
        "{'prepare_threshold': None} and no server_side_binding.",
    ),
    Cause(
        r"cursor \"_django_curs[^\"\n]*\" does not exist",
        "A pooler in transaction mode (PgBouncer) is before the database, and a cursor ends with "
        "its transaction. DATABASES should have DISABLE_SERVER_SIDE_CURSORS: True.",
    ),
    Cause(
        r"too many clients already|remaining connection slots are reserved",
        "PostgreSQL has no connection left: raise postgresql_max_connections, or lower CONN_MAX_AGE"
        " and the number of processes.",
    ),
    Cause(
        r"permission denied for (?:schema|table|relation|database) (?P<name>\S+)|must be owner of",
        "The role does not own what it changes. The services log in as a role that only reads and "
        "writes rows: an application that changes tables while it serves needs app_database_ddl: "
        "true. Migrations log in as the owner of the database. If another role has made the table, "
        "do once, as the superuser: REASSIGN OWNED BY the other role TO the owner.",
    ),
    Cause(
        r"unable to open database file|attempt to write a readonly database",
        "The settings name a file of SQLite that the application cannot write. " + READ_URL,
    ),
    Cause(
        r"Can't connect to (?:local )?(?:MySQL )?server|\(200[23], ",
        "The settings name MySQL, which does not answer. " + READ_URL,
    ),
    Cause(
        r"amqp://guest:\S*@(?:127\.0\.0\.1|localhost):5672",
        "Celery uses its default broker: the settings name none that it finds. They should read "
        "CELERY_BROKER_URL; in Django's settings, with "
        "app.config_from_object('django.conf:settings', namespace='CELERY').",
    ),
    Cause(
        rf"Error 111 connecting to {LOOPBACK}:6379|{LOOPBACK}\D+6379\D.*{FAILED}"
        rf"|{FAILED}.*{LOOPBACK}\D+6379\b",
        "Redis does not answer on this host: systemctl status redis-server and journalctl -u "
        "redis-server say why. If app_broker is not local, the settings should read "
        "CELERY_BROKER_URL and REDIS_URL.",
    ),
    Cause(
        rf"(?:{LOOPBACK})\D+5672\b.*{FAILED}|{FAILED}.*{LOOPBACK}\D+5672\b",
        "RabbitMQ does not answer on this host: systemctl status rabbitmq-server and journalctl -u "
        "rabbitmq-server say why.",
    ),
    Cause(
        r"Error \d+ connecting to (?P<host>\S+?):(?P<port>\d+)|Timeout connecting to server",
        "Redis does not answer at $host. Its firewall (or list of trusted sources) should let this"
        " host in, and app_broker name its host and port.",
    ),
    Cause(
        r"no permissions to run the '(?P<command>[a-z0-9_.|-]+)' command",
        "The user of Redis may not run $command. If the project needs it, write redis_commands: "
        "['$command'] and run site.yml.",
    ),
    Cause(
        r"invalid username-password pair|WRONGPASS|NOAUTH|Authentication required\.?$|NOPERM",
        "Redis refuses the user or the password. The settings should read CELERY_BROKER_URL and "
        "REDIS_URL, which have them.",
    ),
    Cause(
        r"ACCESS_REFUSED|Login was refused|NOT_ALLOWED - (?:vhost|access)",
        "RabbitMQ refuses the user or the password. The settings should read CELERY_BROKER_URL, "
        "which has them.",
    ),
    Cause(
        r"server does not support SSL, but SSL was required",
        "The server of the database offers no TLS, so that anybody on the network could read the "
        "data. If only servers that you trust are on that network: app_database with "
        "?sslmode=disable.",
    ),
    Cause(
        r"server certificate for \"(?P<names>[^\"\n]+)\"(?: \(and \d+ other names?\))? does not "
        r"match host name \"(?P<host>[^\"\n]+)\"",
        "The certificate of the database's server is for $names, and app_database names $host. It "
        "should have a name of the certificate, or ?sslmode=verify-ca.",
    ),
    Cause(
        r"SSL error: certificate verify failed",
        "The host does not know the authority of the certificate of the database's server. Add it "
        "to ca_certificates_files: the provider of the database has the file.",
    ),
    Cause(
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate",
        "The certificate of another host is not trusted. ca_certificates_files adds an authority.",
    ),
    Cause(
        r"\[Errno 98\]|[Aa]ddress already in use|EADDRINUSE",
        "Another process uses the address already: ss -lntup shows which one.",
    ),
    Cause(
        FAILED,
        "A service that the project needs does not answer: its address is below, or in the "
        "settings.",
        sure=False,
    ),
)

# --- Settings and code ---------------------------------------------------------------------------

SETTINGS = (
    Cause(
        r"The SECRET_KEY setting must not be empty",
        "The settings have no SECRET_KEY. They should read it from the environment: SECRET_KEY = "
        'os.environ["SECRET_KEY"].',
    ),
    Cause(
        r"Set the (?P<name>\w+) environment variable|UndefinedValueError: (?P<name2>\w+) not found"
        r"|[Ee]nvironment variable [\"'](?P<name3>\w+)[\"'] (?:is )?not set"
        r"|os\.environ\[.*\](?:.*\n){0,6}?KeyError: '(?P<name4>\w+)'"
        r"|os(?:>|\.py)\".*__getitem__(?:.*\n){0,3}?KeyError: '(?P<name5>\w+)'"
        r"|[Ee]nv(?:ironment)? var(?:iable)?:? [\"'`]?(?P<name6>[A-Z][A-Z0-9]*_[A-Z0-9_]+)"
        r"|(?P<name7>[A-Z][A-Z0-9]*_[A-Z0-9_]+)[\"'`]? env\w* var\w* (?:must|is|not)",
        "The settings want the environment variable $name. Set it: app_environment: {$name: VALUE}",
    ),
    Cause(
        r"(?P<name>[A-Z][A-Z0-9]*_[A-Z0-9_]+)[\"'`]? (?:must be set|is not set|is required)"
        r"|^(?P<name2>\w+)\n +Field required \[type=missing",
        "The settings want a value for $name, as by app_environment: {$name: VALUE}",
        sure=False,
    ),
    Cause(
        r"settings\.DATABASES is improperly configured|supply the (?:ENGINE|NAME) (?:value|or)",
        "The settings have no database. " + READ_URL,
    ),
    Cause(
        r"'Settings' object has no attribute|AppRegistryNotReady: Models aren't loaded yet",
        "The settings cannot be imported, and the message hides why. To see it: python -c 'import "
        "SETTINGS_MODULE'. Often a variable is missing in app_environment, or a package.",
        sure=False,
    ),
    Cause(
        r"Requested settings?.*but settings are not configured|DJANGO_SETTINGS_MODULE",
        "app_settings_module should name the module of the settings.",
        sure=False,
    ),
    Cause(
        r"Invalid HTTP_HOST header: '(?P<host>[^'\n]+)'|DisallowedHost",
        "ALLOWED_HOSTS of the settings lacks a name of app_domains. The settings should read it: "
        'ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",").',
    ),
    Cause(
        r"^GET (?P<path>\S+): 400 Bad Request",
        "Django answers 400 to a host that ALLOWED_HOSTS lacks, and Flask to one that "
        "TRUSTED_HOSTS lacks. The settings should read it: "
        'ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",").',
        sure=False,
    ),
    Cause(
        r"^GET (?P<path>\S+): 404 ",
        "The project has no page $path. app_health_path should name one that anybody may see.",
    ),
    Cause(
        r"^GET (?P<path>\S+): (?:401|403) ",
        "The project does not let everybody see $path. app_health_path should name a page that "
        "anybody may see.",
    ),
    Cause(
        r"^Unknown command: '(?P<name>[^'\n]+)'",
        "manage.py has no command $name. app_processes, app_schedules and the hooks should name "
        "one that manage.py help lists; INSTALLED_APPS should have the app that brings it.",
    ),
    Cause(
        r"Conflicting migrations detected",
        "Two migrations follow the same one: run manage.py makemigrations --merge and commit it.",
    ),
    Cause(
        r"Missing staticfiles manifest entry for '(?P<file>[^'\n]+)'",
        "A page names the static file $file, which collectstatic has not found.",
    ),
    Cause(
        r"The file '(?P<file>[^'\n]+)' could not be found with",
        "A CSS or JavaScript file names $file, which is not there, and the storage of "
        "staticfiles (manifest) wants it.",
    ),
    Cause(
        r"(?:relation|type|column) \"(?P<name>\w+)\" (?:of relation .*)?already exists",
        "The database has $name already, and no record of the migration that makes it. manage.py "
        "migrate --fake records one that has run; without Django, alembic stamp does.",
        sure=False,
    ),
    Cause(
        r"(?:relation|table):? \"?(?P<name>[\w.]+)\"? does not exist|no such table: (?P<name2>\w+)",
        "The code asks the database for a table that is not there (yet). If a module asks while it "
        "is imported, before the migrations, it should ask later. Without Django, app_migrate "
        "makes the tables.",
        sure=False,
    ),
    Cause(
        r"unsupported locale setting|LC_ALL: cannot change locale",
        "The host does not have the locale. Add locales-all to app_apt_packages.",
    ),
)

# --- The end of a process ------------------------------------------------------------------------

MEMORY = (
    "fewer processes (gunicorn_workers, celery_worker_concurrency), more app_memory_percent or RAM"
)
PROCESSES = (
    Cause(
        r"OOM killer|oom-kill|[Oo]ut of memory|\[Errno 12\]|Cannot allocate memory|^MemoryError\b"
        r"|JavaScript heap out of memory",
        f"The memory is used up: {MEMORY}.",
    ),
    Cause(
        r"SIGKILL|status=9/KILL|^Killed$|exit status 137\b",
        f"A process was killed, as it is when memory is used up: {MEMORY}.",
        sure=False,
    ),
    Cause(
        r"SIGSEGV|status=11/SEGV|Segmentation fault|SIGILL|status=4/ILL|exit status 139\b",
        "A library in C has crashed. If it makes code at run time, the directive "
        "MemoryDenyWriteExecute of the sandbox can be why: " + EXECUTABLE,
        sure=False,
    ),
    Cause(
        r"Unit (?P<name>\S+) (?:not found|could not be found)",
        "The host has no $name: run site.yml, which makes it.",
    ),
    Cause(
        r"Changing to the requested working directory failed: Permission denied",
        "The sandbox of the unit hides the directory in which it starts. Compare app_sandbox with "
        "the directories of the application.",
    ),
    Cause(
        r"Changing to the requested working directory failed|status=200/CHDIR",
        "The live release does not have the directory in which the unit starts. If app_directory "
        "has changed, run site.yml, which deploys as well.",
    ),
    Cause(
        r"status=203/EXEC|Failed at step EXEC",
        "systemd cannot start the program of the unit: the package that has it is not installed. "
        "The requirements or app_packages should have it.",
    ),
)

LAST = (
    Cause(
        r"\[Errno 1\]|Operation not permitted",
        "The sandbox of systemd forbids it, and app_sandbox can allow it: SystemCallFilter for a "
        "system call, IPAddressAllow for an address, MemoryDenyWriteExecute for code that is made "
        "at run time.",
        sure=False,
    ),
)

# What the programs of the steps say themselves. In the log of a service an application could print
# such a line, and so give advice in the name of this collection.
PREPARE = Cause(
    r"^(?P<told>(?:app_certificate is none, and|app_shared_directories should have"
    r"|STATIC_URL is|STATIC_ROOT is|MEDIA_ROOT is) .+)$",
    "$told.",
)
LIST = Cause(r"\A(?s:.*)^advice: (?P<advice>.+)$", "$advice")  # the last line of packages.py
SIGNED = Cause(r"^(?P<told>app_signing_keys: none of these keys has signed .+)$", "$told")
OWN = {"check": PREPARE, "trial": PREPARE, "fetch": SIGNED, "list": LIST, "packages": LIST}

CAUSES = (*SANDBOX, *FILES, *PACKAGES, *SETTINGS, *SERVICES, *PROCESSES, *LAST)
