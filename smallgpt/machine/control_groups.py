"""Linux control groups that limit this process: a container's, or those of a Slurm job."""

from pathlib import Path

SYSTEM = Path("/")


def control_groups(controller: str) -> list[tuple[int, Path]]:
    """Version (1 or 2) and folder of every group with this controller around this process, the outermost first."""
    try:
        lines = (SYSTEM / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            version, root = 2, SYSTEM / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            version, root = 1, SYSTEM / "sys/fs/cgroup" / controller
        else:
            continue
        inner = root / path.lstrip("/")
        groups += [(version, folder) for folder in (*reversed(inner.parents), inner) if folder.is_relative_to(root)]
    return groups
