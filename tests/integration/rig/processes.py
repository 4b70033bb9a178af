"""What runs below one Dovecot master, read from /proc."""

import os
from pathlib import Path


def _stat(pid):
    """(state, parent) of a process, or None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # the name before it, in parentheses, may hold anything
    state, parent = text[text.rindex(")") + 2:].split()[:2]
    return None if state == "Z" else (state, int(parent))


def _program(pid):
    try:
        name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        if name.startswith("memcheck-"):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            name = _watched(words)
    except OSError:
        return ""
    return name


def _watched(words):
    """What valgrind runs: its first argument that is no option."""
    programs = [word for word in words[1:] if not word.startswith("-")]
    return os.path.basename(programs[0]).removesuffix(".watched")


def descendants(master):
    """Living processes below master: {pid: program name}."""
    parents = {}
    for entry in os.listdir("/proc"):
        stat = _stat(entry) if entry.isdigit() else None
        if stat is not None:
            parents[int(entry)] = stat[1]
    found = {}
    for pid in parents:
        above = parents[pid]
        while above in parents and above != master:
            above = parents[above]
        if above == master:
            found[pid] = _program(pid)
    return found


def asleep(pid):
    """It waits for something, or is gone."""
    stat = _stat(pid)
    return stat is None or stat[0] == "S"


def living(known, but=None):
    """Those of descendants() that still live, except a program's."""
    return [pid for pid, program in known.items()
            if program != but and _stat(pid) is not None
            and _program(pid) == program]


def peak_memory_kib(pid):
    """Highest resident size of a process so far (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no VmHWM: it has ended")
