"""Configuration of private Dovecots 2.4: one base, and small pieces over it.
dialect_23.py holds the same pieces for 2.3."""

# A killed process's lock is seen to be stale at once (dotlock_use_excl), and
# what the network is asked for is on loopback: nobody is kept waiting.
BASE = """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = {dir}/run
state_dir = {dir}/state
instance_name = {name}
log_path = {dir}/dovecot.log
log_timestamp = "%F %T "
listen = 127.0.0.1
default_internal_user = dovecot
default_login_user = dovenull
ssl = no
auth_allow_cleartext = yes
auth_mechanisms = plain login
auth_username_format = %{{user}}
first_valid_uid = 1000
dotlock_use_excl = no
mail_fsync = {mail_fsync}
mail_driver = maildir
mail_path = ~/Maildir
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Drafts {{
    special_use = \\Drafts
  }}
  mailbox Junk {{
    special_use = \\Junk
  }}
  mailbox Sent {{
    special_use = \\Sent
  }}
  mailbox Trash {{
    special_use = \\Trash
  }}
}}
passdb passwd-file {{
  passwd_file_path = {dir}/users
  default_password_scheme = plain
}}
userdb passwd-file {{
  passwd_file_path = {dir}/users
}}
service imap-login {{
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
  process_min_avail = 1
}}
auth_failure_delay = 0
service anvil {{
  client_limit = 1024
}}
"""

# TLS, implicit and by STARTTLS
TLS = """
ssl = yes
ssl_server_cert_file = {cert}
ssl_server_key_file = {key}
ssl_min_protocol = TLSv1.2
"""

# only those capabilities are offered
CAPABILITY = """
protocol imap {{
  imap_capability = {capability}
}}
"""

# a server that only speaks IMAP
REMOTE = """
protocols = imap
"""

# one that takes mail, too
LOCAL = """
protocols = imap lmtp
lda_mailbox_autocreate = yes
postmaster_address = postmaster@localhost
hostname = localhost
submission_host = 127.0.0.1:{submission_port}
protocol lmtp {{
  mail_plugins {{
    sieve = yes
  }}
}}
sieve_script personal {{
  driver = file
  path = ~/sieve
  active_path = ~/.dovecot.sieve
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
service doveadm {{
  inet_listener http {{
    port = {http_port}
  }}
}}
doveadm_api_key = {api_key}
"""

# with our plugin
LMTP_PLUGIN = """
protocol lmtp {{
  mail_plugins {{
    imapsync_pull = yes
  }}
}}
"""

# with our service: the file that is installed, then what only a test may allow
IMAPSYNC = """
!include {conf}
protocols {{
  imapsync-pull = yes
}}
imapsync_pull_schedule = {schedule}
imapsync_pull_allowed_networks = 127.0.0.0/8 ::1
imapsync_pull_allowed_ports = any
imapsync_pull_allow_cleartext = 127.0.0.1 localhost
imapsync_pull_allow_no_verify = 127.0.0.1 localhost
imapsync_pull_ca_file = {ca}
"""

# without it again
WAKE_ON_LOGIN = """
imapsync_pull_wake_on_login = yes
protocol imap {{
  mail_plugins {{
    imapsync_pull = yes
  }}
}}
"""

NO_IMAPSYNC = """
protocols {{
  imapsync-pull = no
}}
"""

# AddressSanitizer reserves a lot of address space; processes that have dropped
# privileges cannot be looked through for leaks.
SANITIZED = """
default_vsz_limit = unlimited
service imapsync-pull-watch {{
  vsz_limit = unlimited
}}
import_environment {{
  ASAN_OPTIONS = detect_leaks=0
}}
"""

# user names are the same in capitals
LOWER_NAMES = """
auth_username_format = %{{user | lower}}
"""

# how many bytes a user may have; 2.4 would let in 10 MB more
QUOTA = """
protocol imapsync-pull {{
  mail_plugins {{
    quota = yes
  }}
}}
protocol lmtp {{
  mail_plugins {{
    quota = yes
  }}
}}
quota "User quota" {{
  driver = count
}}
quota_storage_size = {bytes} B
quota_storage_grace = 0
"""

# mail in INBOX does not count
QUOTA_NOT_IN_INBOX = """
namespace inbox {{
  mailbox INBOX {{
    quota_ignore = yes
  }}
}}
"""

# what the Sieve scripts of tests require; programs lie in bin
SIEVE_EXTENSIONS = """
sieve_extensions {{
  editheader = yes
  vnd.dovecot.filter = yes
  vnd.dovecot.environment = yes
}}
sieve_plugins {{
  sieve_extprograms = yes
}}
sieve_filter_bin_dir = {bin}
"""

# what a login looks like in the log
LOGGED_IN = "Logged in: user=<{user}>"

# the user's home, in settings
HOME = "%{home}"

# what doveconf shows of services that have no line of configuration: nothing
DEFAULT_SERVICES = ()


def mail_fields(driver, path):
    """userdb fields that say where a user's mail is."""
    return [f"mail_driver={driver}", f"mail_path={path}"]
