"""Mailbox names in modified UTF-7 (RFC 3501, 5.1.3)."""

import base64
import re


def encode(name):
    def shifted(match):
        utf16 = match.group().encode("utf-16-be")
        packed = base64.b64encode(utf16).rstrip(b"=").replace(b"/", b",")
        return f"&{packed.decode()}-"
    return re.sub("[^\x20-\x7e]+", shifted, name.replace("&", "&-"))


def decode(name):
    def unshifted(match):
        packed = match.group(1).replace(",", "/")
        if not packed:
            return "&"
        padded = packed + "=" * (-len(packed) % 4)
        return base64.b64decode(padded).decode("utf-16-be")
    return re.sub("&([^-]*)-", unshifted, name)


def quote(name):
    """As an argument of an IMAP command."""
    escaped = encode(name).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
