"""A network of its own: judges reach what is served here, at any port, and nothing else.

Scanners ask hosts of their makers, and the HTTP Observatory scans ports 80 and 443 only. The
processes are apart as well, so that no server outlives a run that was killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys

# Set in a process that is in a network of its own.
_INSIDE = "JUDGED_IN_OWN_NETWORK"
# Source: linux/sockios.h, net/if.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def enter() -> str:
    """Start this program again in a network of its own, which has the loopback interface alone.

    Returns:
        "" in that network; else the reason why there is none.
    """
    if os.environ.get(_INSIDE):
        _raise_loopback()
        # The first process of a namespace gets only signals that it handles. With its end, the
        # kernel ends all others.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, _: os._exit(128 + number))
        return ""
    apart = ("--net", "--pid", "--fork", "--kill-child", "--mount-proc")
    unshare = ["unshare", *apart, *(() if os.geteuid() == 0 else ("--map-root-user",))]
    if shutil.which("unshare") is None:
        return "not installed here: unshare"
    tried = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network of their own for judges: {tried.stderr.strip()}"
    os.environ[_INSIDE] = "1"
    return os.execvp("unshare", [*unshare, sys.executable, *sys.argv])


def _raise_loopback() -> None:
    with socket.socket() as sock:
        name = struct.pack("16sh", b"lo", 0)
        _, flags = struct.unpack("16sh", fcntl.ioctl(sock, _SIOCGIFFLAGS, name))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP))
