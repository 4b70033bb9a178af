"""A private slapd, and a Dovecot's userdb in it."""

import os
import signal
import subprocess

from rig import wait_for
from rig.scratch import MAIL_UID, free_port
from rig.system import HERE

BASE = "dc=example,dc=org"
MANAGER = f"cn=manager,{BASE}"
READER = f"cn=dovecot,{BASE}"
PASSWORD = "of-the-directory"

# Like the directory of a site: nobody but Dovecot may read it, and only
# Dovecot gets more entries at once than there are in a page of an address book.
CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
attributetype ( 2.999.1 NAME 'mayNotice' EQUALITY caseExactMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 2.999.2 NAME 'mailUser' SUP top AUXILIARY MAY mayNotice )
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {dir}/slapd.pid
sizelimit 50
database mdb
maxsize 67108864
suffix {base}
rootdn {manager}
rootpw {password}
directory {dir}/data
dbnosync
index uid,objectClass eq
limits dn.exact="{reader}" size={size_limit}
access to attrs=userPassword by anonymous auth
access to * by dn.exact="{reader}" read
"""

TREE = f"""
dn: {BASE}
objectClass: organization
objectClass: dcObject
o: Example
dc: example

dn: {READER}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: dovecot
userPassword: {PASSWORD}
"""

USER = """
dn: uid={name},{base}
objectClass: account
objectClass: posixAccount
objectClass: mailUser
uid: {name}
cn: {name}
uidNumber: {uid}
gidNumber: {uid}
homeDirectory: {home}
"""

USERDB = {
    "2.3": """
userdb {{
  driver = ldap
  args = {dir}/dovecot-ldap.conf.ext
}}
""",
    "2.4": """
ldap_uris = {uri}
ldap_auth_dn = {reader}
ldap_auth_dn_password = {password}
ldap_base = {base}
userdb ldap {{
  filter = (&(objectClass=posixAccount)(uid=%{{user}}))
  fields {{
    home = %{{ldap:homeDirectory}}
    uid = %{{ldap:uidNumber}}
    gid = %{{ldap:gidNumber}}
    cred_notify_capabilities = %{{ldap:{attribute} | default('')}}
  }}
  iterate_filter = (objectClass=posixAccount)
  iterate_fields {{
    user = %{{ldap:uid}}
  }}
}}
"""}

# what 2.3 has in a file of its own
CONF_EXT = """
uris = {uri}
dn = {reader}
dnpass = {password}
base = {base}
user_filter = (&(objectClass=posixAccount)(uid=%u))
user_attrs = homeDirectory=home, uidNumber=uid, gidNumber=gid, \
  {attribute}=cred_notify_capabilities
iterate_filter = (objectClass=posixAccount)
iterate_attrs = uid=user
"""


class Directory:
    def __init__(self, path):
        self.dir = path / "ldap"
        self.uri = f"ldap://127.0.0.1:{free_port()}"
        self._process, self._filled = None, False
        (self.dir / "data").mkdir(parents=True)
        for made in self.dir, self.dir / "data":
            made.chmod(0o777)
        self._conf = self.dir / "slapd.conf"
        self.limit("unlimited")

    def limit(self, size_limit):
        """How many entries Dovecot gets at most; not started."""
        self._conf.write_text(CONF.format(
            dir=self.dir, size_limit=size_limit, **self._names()))

    def _names(self):
        return {"uri": self.uri, "base": BASE, "manager": MANAGER,
                "reader": READER, "password": PASSWORD}

    @staticmethod
    def _unprivileged(*words):
        """It ends with us."""
        return ["setpriv", f"--reuid={MAIL_UID}", f"--regid={MAIL_UID}",
                "--clear-groups", "--pdeathsig", "KILL", *map(str, words)]

    def fill(self, users):
        """Users, (name, home, capabilities) each; not started."""
        tree = "" if self._filled else TREE
        self._filled = True
        ldif = tree + "".join(map(self._entry, users))
        subprocess.run(
            self._unprivileged("slapadd", "-q", "-f", self._conf),
            input=ldif, text=True, capture_output=True, check=True)

    @staticmethod
    def _entry(user):
        name, home, capabilities = user
        entry = USER.format(name=name, base=BASE, uid=MAIL_UID, home=home)
        return entry + (f"mayNotice: {capabilities}\n" if capabilities else "")

    def start(self):
        # -d: it stays in the foreground
        self._process = subprocess.Popen(
            self._unprivileged("slapd", "-d", "0", "-f", self._conf,
                               "-h", self.uri),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_for(lambda: self._client("ldapwhoami") is not None,
                 what="slapd")
        return self

    def pause(self):
        """Connections stay, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)
        # its threads still answer until then
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def _client(self, program, text=""):
        """One of ldap-utils, as the manager."""
        return subprocess.run(
            [program, "-x", "-H", self.uri, "-D", MANAGER, "-w", PASSWORD],
            input=text, text=True, capture_output=True, check=True).stdout

    def add(self, *user):
        self._client("ldapadd", self._entry(user))

    def grant(self, name, capabilities):
        """capabilities: None = the attribute is removed."""
        change = "delete" if capabilities is None else "replace"
        text = (f"dn: uid={name},{BASE}\nchangetype: modify\n"
                f"{change}: mayNotice\n")
        if capabilities is not None:
            text += f"mayNotice: {capabilities}\n"
        self._client("ldapmodify", text)

    def configure(self, dovecot, attribute="mayNotice"):
        """Have a Dovecot look for users in it, after its file of users."""
        values = {"attribute": attribute, **self._names()}
        (dovecot.dir / "dovecot-ldap.conf.ext").write_text(
            CONF_EXT.format(**values))
        dovecot.configure(USERDB[HERE.release], dir=dovecot.dir, **values)
