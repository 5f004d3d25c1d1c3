"""Find out who can reach the address on which a server listens: other machines, only programs on
this machine, or only programs in this container.
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
    """Return the first address of `host` that other machines can reach, because it is no loopback
    address; None if all addresses of the host are loopback addresses, or if it is a Unix socket.

    Raises:
        socket.gaierror: `host` is a name that has no address.
    """
    if host.startswith("unix://"):
        return None
    if not host:
        # A server with an empty host listens on all addresses of the machine.
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
        root: the folder that is taken for "/" when the files of Docker, Podman and /proc are looked
            up. Tests pass another folder.
    """
    if os.environ.get(_KUBERNETES):
        return True
    if any(os.path.exists(os.path.join(root, path[1:])) for path in _MARKER_FILES):
        return True
    try:
        with open(os.path.join(root, _CGROUP_FILE[1:]), encoding="utf-8") as file:
            return _CGROUPS_OF_CONTAINERS.search(file.read()) is not None
    except (OSError, UnicodeDecodeError):
        return False  # the system is not Linux, or /proc is not mounted


def advice_in_container(host: str) -> str:
    """Return a sentence that says how to make the server reachable, if it runs in a container and
    listens on a `host` that nobody outside of the container can reach; else "".
    """
    if host.startswith("unix:") or not is_in_container():
        return ""
    if any(os.environ.get(name) for name in _FORWARDED_BY_EDITOR):
        return ""
    try:
        if exposed_address(host) is not None:
            return ""
    except (OSError, UnicodeError):
        return ""  # `host` has no address: the server reports this error when it starts to listen
    return (
        f"This is a container, and nobody outside of it can reach {host}. To be reached through a"
        " published port, listen on all networks: --host 0.0.0.0 on the command line,"
        ' host="0.0.0.0" in the program.'
    )
