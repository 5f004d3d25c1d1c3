"""Who can reach an address on which a server listens: other machines, or only this machine, or only
this container.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket

ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104  # compared, not listened on

# Docker and Podman create these files in each container. Other runtimes (containerd, CRI-O, LXC)
# are recognised by the name of the process's control group.
_MARKER_FILES = ("/.dockerenv", "/run/.containerenv")
_CGROUP_FILE = "/proc/self/cgroup"
_CGROUPS_OF_CONTAINERS = re.compile(r"docker|containerd|kubepods|libpod|crio|/lxc[/.]")
# Kubernetes sets this variable in each container.
_KUBERNETES = "KUBERNETES_SERVICE_HOST"
# Development containers set these variables. Their editor forwards ports of 127.0.0.1 to the
# developer's browser.
_FORWARDED_BY_EDITOR = ("REMOTE_CONTAINERS", "CODESPACES")


def exposed_address(host: str) -> str | None:
    """Return the first address of a host that other machines can reach, because it is not loopback;
    None if there is none.

    Raises:
        socket.gaierror: the name has no address.
    """
    if host.startswith("unix://"):
        return None
    if not host:
        # For an empty host, the operating system listens on all addresses: return one of them.
        return ALL_ADDRESSES[0]
    for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        address = str(info[4][0])
        if not _is_loopback(address):
            return address
    return None


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def is_in_container(root: str = "/") -> bool:
    """Return whether this process runs in a container.

    Args:
        root: the folder in which the files are looked up; tests pass another.
    """
    if os.environ.get(_KUBERNETES):
        return True
    if any(os.path.exists(os.path.join(root, path[1:])) for path in _MARKER_FILES):
        return True
    try:
        with open(os.path.join(root, _CGROUP_FILE[1:]), encoding="utf-8") as file:
            return _CGROUPS_OF_CONTAINERS.search(file.read()) is not None
    except (OSError, UnicodeDecodeError):
        return False  # no Linux, or /proc is not mounted


def advice_in_container(host: str) -> str:
    """Return what to tell the user if this process is in a container, and nobody outside of the
    container can reach the host; else "".
    """
    if host.startswith("unix://") or not is_in_container():
        return ""
    if any(os.environ.get(name) for name in _FORWARDED_BY_EDITOR):
        return ""
    try:
        if exposed_address(host) is not None:
            return ""
    except (OSError, UnicodeError):
        return ""  # the server reports that the host is unknown
    return (
        f"This is a container, and nobody outside of it can reach {host}. To be reached through a"
        " published port, listen on all networks: --host 0.0.0.0 on the command line,"
        ' host="0.0.0.0" in the program.'
    )
