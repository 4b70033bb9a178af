"""The systems that Dovecots run in: this one, and a directory that another
Debian is installed in. Here, and nowhere else, is asked which Dovecot it is."""

import functools
import os
import re
import subprocess
from pathlib import Path

from . import dialect_23, dialect_24

TOP = Path(__file__).resolve().parents[3]
DIALECTS = {"2.3": dialect_23, "2.4": dialect_24}


class System:
    """root: its directory. Environment: IMAPSYNC_STAGE names the staged
    installation, IMAPSYNC_BUILD the build tree it came from, for this system;
    others' are where scripts/test puts them."""

    def __init__(self, root="/"):
        self.root = Path(root)
        self.here = self.root == Path("/")

    @functools.cached_property
    def release(self):
        """Its Dovecot: 2.3 or 2.4."""
        chroot = [] if self.here else ["chroot", self.root]
        said = subprocess.run([*chroot, "dovecot", "--version"], text=True,
                              stdout=subprocess.PIPE, check=True).stdout
        return re.match(r"\d+\.\d+", said).group()

    @property
    def dialect(self):
        return DIALECTS[self.release]

    def _made(self, variable, name):
        given = os.environ.get(variable) if self.here else None
        return Path(given or TOP / "build" / self.release / name)

    @property
    def stage(self):
        """Where "make install DESTDIR=" put our files."""
        return self._made("IMAPSYNC_STAGE", "stage")

    @property
    def build(self):
        return self._made("IMAPSYNC_BUILD", "gcc")


HERE = System()


@functools.cache
def newer_system():
    """A system with Dovecot 2.4 beside this one, or None."""
    root = os.environ.get("IMAPSYNC_ROOT_24")
    return System(root) if root and HERE.release != "2.4" else None
