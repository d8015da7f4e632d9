"""How the container engine is configured, and what is undone after it."""

import tomllib
from pathlib import Path

from ollamaserve_dev import debian, firewall, podman

SAVED = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:NETAVARK_FORWARD - [0:0]
-A FORWARD -m comment --comment "netavark firewall plugin rules" -j NETAVARK_FORWARD
-A FORWARD -i lo -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:NETAVARK-HOSTPORT-DNAT - [0:0]
:NETAVARK-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
-A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000
COMMIT
"""


def test_podmans_configuration_is_all_inside_the_cache() -> None:
    """Images, containers, networks and state: nothing of podman's own folders is touched."""
    conf = tomllib.loads(podman.containers_conf(Path("/c/networks"), Path("/run/c"), 7, 1024))
    storage = tomllib.loads(podman.storage_conf(Path("/c/storage"), Path("/run/c")))

    assert conf["network"]["network_config_dir"] == "/c/networks"
    assert conf["engine"]["tmp_dir"].startswith("/run/c/")
    assert storage["storage"]["graphroot"] == "/c/storage"
    assert storage["storage"]["runroot"].startswith("/run/c/")


def test_two_caches_have_networks_of_their_own() -> None:
    """Clusters out of two caches run side by side."""
    first, second = (
        tomllib.loads(podman.containers_conf(Path("/c"), Path("/r"), mine, 1024))["network"]
        for mine in (1, 2)
    )

    assert first["default_subnet"] != second["default_subnet"]
    assert first["default_subnet_pools"] != second["default_subnet_pools"]


def test_the_chains_left_behind_are_undone() -> None:
    """Only netavark's chains and the rules that lead to them go; everything else stays."""
    assert firewall.leftovers(SAVED).splitlines() == [
        "*filter",
        '-D FORWARD -m comment --comment "netavark firewall plugin rules" -j NETAVARK_FORWARD',
        "-X NETAVARK_FORWARD",
        "COMMIT",
        "*nat",
        "-D PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT",
        "-D NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000",
        "-X NETAVARK-HOSTPORT-DNAT",
        "-X NETAVARK-HOSTPORT-SETMARK",
        "COMMIT",
    ]


def test_the_chains_of_a_running_network_are_left_alone() -> None:
    """Another podman of this machine still needs them."""
    running = SAVED.replace(
        ":NETAVARK-HOSTPORT-DNAT", ":NETAVARK-62F930FC96F2B - [0:0]\n:NETAVARK-HOSTPORT-DNAT"
    )

    assert firewall.leftovers(running) == ""


def test_a_machine_without_chains_of_ours_needs_nothing() -> None:
    """Nothing is run where there is nothing to undo."""
    assert firewall.leftovers("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n") == ""


def test_the_mirror_is_the_machines_own() -> None:
    """Both formats of apt's sources are read: deb822 and one-line, options or not."""
    assert debian.mirror(["Types: deb\nURIs: http://one/debian\n"]) == "http://one/debian"
    assert (
        debian.mirror(["# none\n", "deb [a=b] http://two/debian sid main"]) == "http://two/debian"
    )
    assert debian.mirror(["deb http://three/debian sid main"]) == "http://three/debian"
    assert debian.mirror([]) is None
