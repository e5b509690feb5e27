"""The most memory that a process has had.

`ru_maxrss` is no measure of a child's: Linux hands it on from the parent.
"""

from pathlib import Path


def peak_memory(process="self"):
    """Bytes, since the process began or since `reset_peak`; 0 of one that has ended."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def reset_peak(process="self"):
    Path(f"/proc/{process}/clear_refs").write_text("5")
