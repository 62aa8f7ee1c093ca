"""Which addresses the processes of a run answer, read from /proc."""

import os
import socket
from pathlib import Path

LISTEN = "0A"  # include/net/tcp_states.h
LOOPBACK = ("127.", "::1", "::ffff:127.")


def descendants(pid: int) -> list[int]:
    """A process and everything it has started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        born = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *[each for child in born for each in descendants(child)]]


def open_to_the_network(pid: int) -> list[str]:
    """Addresses other than the loopback on which a process, or one that it has started, listens."""
    return [address for address in listening(pid) if not address.startswith(LOOPBACK)]


def listening(pid: int) -> list[str]:
    """Addresses on which a process, or one that it has started, listens."""
    inodes = set()
    for each in descendants(pid):
        try:
            inodes |= {os.readlink(link) for link in Path(f"/proc/{each}/fd").iterdir()}
        except OSError:  # it has just ended
            continue
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTEN and f"socket:[{inode}]" in inodes:
                found.append(readable(local.partition(":")[0], family))
    return found


def readable(digits: str, family: int) -> str:
    """An address as people write it; the kernel writes words of four bytes in the machine's own order."""
    words = [bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8)]
    return socket.inet_ntop(family, b"".join(words))
