"""Configuration of private Dovecots: one base, and small pieces over it."""

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
# a killed process's lock is seen to be stale at once
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
# what the network is asked for is on loopback: nobody is kept waiting
auth_failure_delay = 0
service anvil {{
  client_limit = 1024
}}
"""

# TLS, implicit and by STARTTLS
TLS = """
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
"""

# only those capabilities are offered
CAPABILITY = """
protocol imap {{
  imap_capability = {capability}
}}
"""

LOCAL = """
protocols = imap lmtp
lda_mailbox_autocreate = yes
postmaster_address = postmaster@localhost
hostname = localhost
submission_host = 127.0.0.1:{submission_port}
protocol lmtp {{
  mail_plugins = {lmtp_plugins}
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

# the file that is installed, then what only a test may allow
IMAPSYNC = """
!include {conf}
protocols = $protocols imapsync-pull
imapsync_pull_allowed_networks = 127.0.0.0/8 ::1
imapsync_pull_allowed_ports = any
imapsync_pull_allow_cleartext = 127.0.0.1 localhost
imapsync_pull_allow_no_verify = 127.0.0.1 localhost
imapsync_pull_ca_file = {ca}
"""

# AddressSanitizer reserves a lot of address space; processes that have dropped
# privileges cannot be looked through for leaks.
SANITIZED = """
default_vsz_limit = 0
import_environment = $import_environment ASAN_OPTIONS=detect_leaks=0
"""
