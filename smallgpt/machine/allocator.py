"""Treatment of freed memory by the C library."""

import ctypes
import platform

# glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory in the process instead of giving it back to the kernel.

    A training step frees and takes the same large blocks again and again. By default each of them
    is a fresh mapping whose pages the kernel must clear one by one, which slows a CPU run by a
    fifth and more.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_TOP_PAD, 64 * 2**20)
