"""Configuration of private Dovecots 2.3: one base, and small pieces over it.
dialect_24.py holds the same pieces for 2.4, and says what they are for."""

BASE = """
base_dir = {dir}/run
state_dir = {dir}/state
instance_name = {name}
log_path = {dir}/dovecot.log
log_timestamp = "%F %T "
listen = 127.0.0.1
default_internal_user = dovecot
default_login_user = dovenull
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
first_valid_uid = 1000
dotlock_use_excl = no
mail_fsync = {mail_fsync}
mail_location = maildir:~/Maildir
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
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {dir}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {dir}/users
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

TLS = """
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
"""

CAPABILITY = """
protocol imap {{
  imap_capability = {capability}
}}
"""

REMOTE = """
protocols = imap
"""

LOCAL = """
protocols = imap lmtp
lda_mailbox_autocreate = yes
postmaster_address = postmaster@localhost
hostname = localhost
submission_host = 127.0.0.1:{submission_port}
protocol lmtp {{
  mail_plugins = sieve
}}
plugin {{
  sieve = file:~/sieve;active=~/.dovecot.sieve
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

LMTP_PLUGIN = """
protocol lmtp {{
  mail_plugins = $mail_plugins imapsync_pull
}}
"""

IMAPSYNC = """
!include {conf}
protocols = $protocols imapsync-pull
imapsync_pull_schedule = {schedule}
imapsync_pull_allowed_networks = 127.0.0.0/8 ::1
imapsync_pull_allowed_ports = any
imapsync_pull_allow_cleartext = 127.0.0.1 localhost
imapsync_pull_allow_no_verify = 127.0.0.1 localhost
imapsync_pull_ca_file = {ca}
"""

WAKE_ON_LOGIN = """
imapsync_pull_wake_on_login = yes
protocol imap {{
  mail_plugins = $mail_plugins imapsync_pull
}}
"""

NO_IMAPSYNC = """
protocols = imap lmtp
"""

SANITIZED = """
default_vsz_limit = 0
service imapsync-pull-watch {{
  vsz_limit = 0
}}
import_environment = $import_environment ASAN_OPTIONS=detect_leaks=0
"""

LOWER_NAMES = """
auth_username_format = %Lu
"""

QUOTA = """
protocol imapsync-pull {{
  mail_plugins = $mail_plugins quota
}}
protocol lmtp {{
  mail_plugins = $mail_plugins quota
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:bytes={bytes}
}}
"""

QUOTA_NOT_IN_INBOX = """
plugin {{
  quota_rule2 = INBOX:ignore
}}
"""

SIEVE_EXTENSIONS = """
plugin {{
  sieve_extensions = +editheader +vnd.dovecot.filter +vnd.dovecot.environment
  sieve_plugins = sieve_extprograms
  sieve_filter_bin_dir = {bin}
}}
"""

# what a login looks like in the log
LOGGED_IN = "Login: user=<{user}>"

HOME = "%h"

DEFAULT_SERVICES = ("service imapsync-pull {",
                    "service imapsync-pull-worker {")


def mail_fields(driver, path):
    """userdb fields that say where a user's mail is."""
    return [f"mail={driver}:{path}"]
