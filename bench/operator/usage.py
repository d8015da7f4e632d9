"""What a process has used, as the kernel counts it (proc(5): stat and status)."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time of user and kernel; resident memory now, and the most that it ever was."""

    cpu_seconds: float
    rss_mib: float
    peak_mib: float


def usage(pid: int) -> Usage:
    process = Path(f"/proc/{pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Usage(
        cpu_seconds=ticks / os.sysconf("SC_CLK_TCK"),
        rss_mib=int(lines["VmRSS"].split()[0]) / 1024,
        peak_mib=int(lines["VmHWM"].split()[0]) / 1024,
    )
