"""The scratch directory, and the mount namespaces over Dovecot's libraries."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from .system import HERE

LIBRARIES = Path("/usr/lib/dovecot")

# A mail user who need not exist on the machine: the name is known inside the
# namespace only.
MAIL_USER = "vmail"
MAIL_UID = 5000


def _ports():
    """Ports to try: below those that outgoing connections are given, in
    another order in each process. Processes that share the tests (pytest-xdist)
    share the ports."""
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = list(range(15000 + share, 30000, shares))
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
    return HERE.stage


def tool(name):
    """Path of one of the programs of tests/tools."""
    return str(HERE.build / "tests" / "tools" / name)


def sanitized_programs():
    """Our programs built with --enable-asan, if they are to be tested."""
    tree = os.environ.get("IMAPSYNC_SANITIZED")
    if not tree:
        return []
    return [Path(tree) / "plugins" / name
            for name in ("imapsync-pull/imapsync-pull",
                         "imapsync-pull/imapsync-pull-watch",
                         "imapsync-pull/imapsync-pull-worker",
                         "cred-notify/cred-notify")]


# Stands where a program was, which is beside it now. A report of valgrind's ends
# it with an error, which is in Dovecot's log.
WATCHED = """#!/bin/sh
exec valgrind --quiet --vgdb=no --leak-check=full --errors-for-leak-kinds=definite \\
    --error-exitcode=99 --log-file={reports}/%p {program} "$@"
"""


def watched_programs():
    """Names of our programs that are to run under valgrind."""
    return ["cred-notify"] if os.environ.get("IMAPSYNC_VALGRIND") else []


def watch(lib, name):
    program = lib / f"{name}.watched"
    (lib / name).rename(program)
    (lib / name).write_text(WATCHED.format(
        reports=os.environ["IMAPSYNC_VALGRIND"],
        program=LIBRARIES / program.name))
    (lib / name).chmod(0o755)


def below(root, path):
    """An absolute path as it is called from outside of a root."""
    return Path(root) / Path(path).relative_to("/")


# The mounts of a system: what private Dovecots need of the machine, then our
# files over the system's.
ENTER_SYSTEM = """
root=${1%/}
if [ -n "$root" ]; then
    mkdir -p "$root$2"
    mount --bind "$2" "$root$2"
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
fi
mount --bind "$3" "$root$4"
mount --bind "$5" "$root/etc/passwd"
mount --bind "$6" "$root/etc/group"
mount --bind "$7" "$root/etc/hosts"
exec chroot "$1" sh -c 'echo ready; exec cat'
"""


class Scratch:
    """One directory for everything, removed at the end.

    Environment: IMAPSYNC_SCRATCH names the directory to work under (default
    the system's for temporary files; unix socket paths must stay short),
    IMAPSYNC_SANITIZED a build tree with sanitizers whose programs are put in
    the place of the staged ones, IMAPSYNC_VALGRIND a directory for the reports
    of valgrind, under which cred-notify's service runs then, IMAPSYNC_KEEP=1
    keeps it all.
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
        # by system: the process that holds its mount namespace
        self._namespaces = {}
        self._ca = None

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        for instance in self.instances:
            instance.stop()
        for process in self._namespaces.values():
            process.stdin.close()
            process.wait()
        self._namespaces = {}
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)

    def add_host(self, name, address="127.0.0.1"):
        """Give an address a name that our Dovecots can resolve."""
        self._make_hosts()
        with open(self.hosts, "a", encoding="ascii") as hosts:
            hosts.write(f"{address} {name}\n")

    def use_name_server(self, address):
        """Have our Dovecots ask this DNS server; it must answer at once."""
        file = self.path / "resolv.conf"
        file.write_text(f"nameserver {address}\nsearch .\n"
                        "options timeout:1 attempts:1\n")
        subprocess.run(self.inside(["mount", "--bind", file,
                                    "/etc/resolv.conf"]), check=True)

    def inside(self, command, system=HERE):
        """The command as it must be called to run with our files, in a
        system."""
        if system not in self._namespaces:
            self._namespaces[system] = self._make_namespace(system)
        holder = self._namespaces[system].pid
        # its root as well, and a working directory that is below it
        return ["nsenter", f"--target={holder}", "--mount", "--root", "--wd",
                *map(str, command)]

    def _make_hosts(self):
        if not self.hosts.exists():
            self.hosts.write_text("127.0.0.1 localhost\n")

    def _copy_libraries(self, system):
        """Dovecot's library directory, with our files in it."""
        lib = self.path / f"lib-{system.release}"
        shutil.copytree(below(system.root, LIBRARIES), lib, symlinks=True)
        staged = below(system.stage, LIBRARIES)
        if staged.is_dir():
            shutil.copytree(staged, lib, symlinks=True, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("*.la"))
        if system.here:
            for program in sanitized_programs():
                shutil.copy(program, lib / program.name)
            for name in watched_programs():
                watch(lib, name)
        return lib

    def _copy_names(self, system):
        """/etc/passwd and /etc/group for a system: users have the numbers
        they have here, as after an upgrade; and there is the mail user."""
        files = []
        for name, entry in (
                ("passwd", f":{MAIL_UID}::/nonexistent:/bin/false"),
                ("group", ":")):
            file = self.path / f"{name}-{system.release}"
            etc = Path("/etc", name).read_text()
            file.write_text(f"{etc}{MAIL_USER}:x:{MAIL_UID}{entry}\n")
            files.append(file)
        return files

    def _make_namespace(self, system):
        self._make_hosts()
        passwd, group = self._copy_names(system)
        # lives as long as its standard input is open: no longer than we do
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private",
             "sh", "-ec", ENTER_SYSTEM, "sh", system.root, self.path.parent,
             self._copy_libraries(system), LIBRARIES, passwd, group,
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
        0 days: it has run out."""
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
