"""The scratch directory, and the mount namespace over Dovecot's libraries."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

LIBRARIES = Path("/usr/lib/dovecot")
TOP = Path(__file__).resolve().parents[3]

# A mail user who need not exist on the machine: the name is known inside the
# namespace only.
MAIL_USER = "vmail"
MAIL_UID = 5000


def _ports():
    """Ports to try: below those that outgoing connections are given, and in
    another order in each process."""
    ports = list(range(15000, 30000))
    random.SystemRandom().shuffle(ports)
    yield from ports


_untried = _ports()


def free_port():
    """A TCP port on loopback that nobody listens on, never the same twice."""
    for port in _untried:
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


def stage_dir():
    """Where "make install DESTDIR=" put our files."""
    return Path(os.environ.get("IMAPSYNC_STAGE", TOP / "build" / "stage"))


def tool(name):
    """Path of one of the programs of tests/tools."""
    build = os.environ.get("IMAPSYNC_BUILD", TOP / "build" / "gcc")
    return str(Path(build) / "tests" / "tools" / name)


def sanitized_programs():
    """Our programs built with --enable-asan, if they are to be tested."""
    tree = os.environ.get("IMAPSYNC_SANITIZED")
    if not tree:
        return []
    return [Path(tree) / "plugins" / "imapsync-pull" / name
            for name in ("imapsync-pull", "imapsync-pull-worker")]


class Scratch:
    """One directory for everything, removed at the end.

    Environment: IMAPSYNC_SCRATCH names the directory to work under (default
    the system's for temporary files; unix socket paths must stay short),
    IMAPSYNC_STAGE the staged installation, IMAPSYNC_BUILD the build tree it
    came from, IMAPSYNC_SANITIZED a build tree with sanitizers whose programs
    are put in their place, IMAPSYNC_KEEP=1 keeps it all.
    """

    def __init__(self, keep=False):
        base = os.environ.get("IMAPSYNC_SCRATCH")
        if base:
            os.makedirs(base, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix="imapsync-", dir=base))
        # mail users look into it
        self.path.chmod(0o755)
        # what names mean inside the namespace, without any name server
        self.hosts = self.path / "hosts"
        self.keep = keep or os.environ.get("IMAPSYNC_KEEP") == "1"
        self.instances = []
        self._namespace = None
        self._ca = None

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        for instance in self.instances:
            instance.stop()
        if self._namespace is not None:
            self._namespace.stdin.close()
            self._namespace.wait()
            self._namespace = None
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)

    def namespace_pid(self):
        """Process that holds the mount namespace with our files in it."""
        if self._namespace is None:
            self._namespace = self._make_namespace()
        return self._namespace.pid

    def add_host(self, name, address="127.0.0.1"):
        """Give an address a name that our Dovecots can resolve."""
        self.namespace_pid()
        with open(self.hosts, "a", encoding="ascii") as hosts:
            hosts.write(f"{address} {name}\n")

    def inside(self, command):
        """The command as it must be called to run inside the namespace."""
        # the root as well: we may be in a chroot
        return ["nsenter", f"--target={self.namespace_pid()}", "--mount",
                "--root", *map(str, command)]

    def _make_namespace(self):
        lib = self.path / "lib"
        shutil.copytree(LIBRARIES, lib, symlinks=True)
        staged = stage_dir() / LIBRARIES.relative_to("/")
        if staged.is_dir():
            shutil.copytree(staged, lib, symlinks=True, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("*.la"))
        for program in sanitized_programs():
            shutil.copy(program, lib / program.name)
        passwd, group = self.path / "passwd", self.path / "group"
        passwd.write_text(
            Path("/etc/passwd").read_text() +
            f"{MAIL_USER}:x:{MAIL_UID}:{MAIL_UID}::/nonexistent:/bin/false\n")
        group.write_text(Path("/etc/group").read_text() +
                         f"{MAIL_USER}:x:{MAIL_UID}:\n")
        self.hosts.write_text("127.0.0.1 localhost\n")
        # lives as long as its standard input is open: no longer than we do
        script = ('mount --bind "$1" "$2" && mount --bind "$3" /etc/passwd && '
                  'mount --bind "$4" /etc/group && '
                  'mount --bind "$5" /etc/hosts && echo ready && exec cat')
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private",
             "sh", "-c", script, "sh", lib, LIBRARIES, passwd, group,
             self.hosts],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("cannot make a private mount namespace: "
                               "root (CAP_SYS_ADMIN) is needed")
        return process

    def ca(self):
        """Our own certificate authority, made at first use."""
        if self._ca is None:
            self._ca = Authority(self.path / "ca")
        return self._ca


class Authority:
    """A certificate authority that nobody else trusts."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.cert = path / "ca.pem"
        self._key = path / "ca.key"
        self._openssl("req", "-x509", "-days", "3650", *self._new_key(),
                      "-subj", "/CN=Test authority", "-keyout", self._key,
                      "-out", self.cert)
        self.cert.chmod(0o644)

    def issue(self, name, hosts=("DNS:localhost", "IP:127.0.0.1"), days=365):
        """Make a certificate. Returns the paths of certificate and key.
        Negative days: it has run out."""
        request = self.path / f"{name}.csr"
        cert, key = self.path / f"{name}.pem", self.path / f"{name}.key"
        names = self.path / f"{name}.ext"
        names.write_text("subjectAltName=" + ",".join(hosts) + "\n")
        self._openssl("req", "-new", *self._new_key(), "-subj",
                      f"/CN={name}", "-keyout", key, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.cert,
                      "-CAkey", self._key, "-CAcreateserial", "-days", days,
                      "-extfile", names, "-out", cert)
        return cert, key

    @staticmethod
    def _new_key():
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes")

    @staticmethod
    def _openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True,
                       capture_output=True)
