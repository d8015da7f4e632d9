"""Podman's network helper (netavark) leaves its empty chains behind when the last container goes.

`engine` calls this after the last container of ours; the chains of another podman's running
networks are left alone.
"""

import re
import subprocess

NETWORK_CHAIN = re.compile(r"^:NETAVARK-(DN-)?[0-9A-F]{13} ", re.MULTILINE)
OURS = re.compile(r"\bNETAVARK[-_]")


def leftovers(saved: str) -> str:
    """What iptables-restore(8) must read to undo netavark's chains in iptables-save(8)'s output.

    Empty where there are none, or where a network still uses them.
    """
    if NETWORK_CHAIN.search(saved):
        return ""
    tables = re.findall(r"^\*(\w+)\n(.*?)^COMMIT$", saved, re.DOTALL | re.MULTILINE)
    return "".join(_undone(name, lines.splitlines()) for name, lines in tables)


def _undone(table: str, lines: list[str]) -> str:
    chains = [line[1:].split()[0] for line in lines if line.startswith(":") and OURS.search(line)]
    if not chains:
        return ""
    rules = [f"-D {line[3:]}" for line in lines if line.startswith("-A") and OURS.search(line)]
    return "\n".join([f"*{table}", *rules, *(f"-X {chain}" for chain in chains), "COMMIT", ""])


def clear() -> None:
    """Remove what is left, of both address families."""
    for family in ("iptables", "ip6tables"):
        saved = subprocess.run((f"{family}-save",), capture_output=True, text=True, check=False)
        undo = leftovers(saved.stdout)
        if undo:
            restore = (f"{family}-restore", "--noflush")
            subprocess.run(restore, input=undo, text=True, capture_output=True, check=False)
