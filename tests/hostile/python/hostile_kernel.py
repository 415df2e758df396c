"""Strategies that knock at the parts of the kernel that most escapes came through, by bare system calls."""

from __future__ import annotations

import ctypes
import mmap
import os

from hostile_kit import COLUMN, Hostile, attempt, calls, libc, tell
from msup import Context

X32 = 0x40000000


class KernelProber(Hostile):
    """One call to each door that no strategy needs."""

    def act(self, ctx: Context) -> None:
        tell(
            **calls(
                perf=(298, 241, bytes(128), 0, -1, -1, 0),
                vmsplice=(278, 75, 1, 0, 0, 0),
                splice=(275, 76, 0, 0, 1, 0, 1, 0),
                tee=(276, 77, 0, 1, 1, 0),
                fanotify=(300, 262, 0, 0),
                inotify=(294, 26, 0),
                signalfd=(289, 74, -1, bytes(8), 8, 0),
                lookup_cookie=(212, 18, 0, 0, 0),
                syslog=(103, 116, 3, 0, 0),
                nfs=(180, 42, 0, 0, 0),
                accounting=(163, 89, b"/tmp/acct"),
                lsm=(459, 459, 0, 0, 0, 0),
                lsm_set=(460, 460, 0, 0, 0, 0),
                futex_wake=(454, 454, 0, 0, 0, 0),
                uretprobe=(335, -1),
            )
        )


class BpfLoader(Hostile):
    """Loads programs and maps into the kernel."""

    def act(self, ctx: Context) -> None:
        attributes = bytes(128)
        tell(
            **calls(**{f"command_{n}": (321, 280, n, attributes, 128) for n in (0, 5, 6, 7, 8, 13, 14, 15, 18, 28, 36)})
        )


class UringOpener(Hostile):
    """Does by a ring what it may not do by calls."""

    def act(self, ctx: Context) -> None:
        tell(
            **calls(
                setup=(425, 425, 8, bytes(120)),
                enter=(426, 426, 3, 1, 0, 0, 0),
                register=(427, 427, 3, 0, 0, 0),
                aio=(206, 0, 8, bytes(8)),
                aio_submit=(209, 2, 0, 0, 0),
            )
        )


class FaultHandler(Hostile):
    """Holds the kernel in the middle of a copy, the usual first half of an exploit."""

    def act(self, ctx: Context) -> None:
        tell(
            **calls(userfaultfd=(323, 282, 0), user_only=(323, 282, 1)),
            device=attempt(lambda: os.open("/dev/userfaultfd", os.O_RDWR)),
            fuse=attempt(lambda: os.open("/dev/fuse", os.O_RDWR)),
        )


class KeyringThief(Hostile):
    """Reads and fills the kernel's key rings."""

    def act(self, ctx: Context) -> None:
        ops = {f"keyctl_{n}": (250, 219, n, -3, 0, 0, 0) for n in (0, 1, 3, 5, 6, 8, 10, 11, 16, 22)}
        tell(**calls(**ops, add=(248, 217, b"user", b"a", b"b", 1, -3), request=(249, 218, b"user", b"a", b"", -3)))


class ModuleLoader(Hostile):
    """Puts code into the kernel, or another kernel into its place."""

    def act(self, ctx: Context) -> None:
        tell(
            **calls(
                init=(175, 105, bytes(64), 64, b""),
                finit=(313, 273, 0, b"", 0),
                delete=(176, 106, b"loop", 0),
                kexec=(246, 104, 0, 0, 0, 0),
                kexec_file=(320, 294, 0, 0, 0, b"", 0),
                autoload=(41, 198, 21, 1, 0),
            )
        )


class ClockSetter(Hostile):
    """Changes the time that everybody lives by."""

    def act(self, ctx: Context) -> None:
        zero = bytes(256)
        tell(
            **calls(
                set=(227, 112, 0, zero),
                set_old=(164, 170, zero, zero),
                adjust=(305, 266, 0, b"\x01" + zero),
                adjust_old=(159, 171, b"\x01" + zero),
            ),
            timer_slack=attempt(lambda: open("/proc/1/timerslack_ns", "w").write("1"))
            if os.getpid() != 1
            else "its own",
            rtc=attempt(lambda: os.open("/dev/rtc", os.O_RDWR)),
        )


class SharedMemory(Hostile):
    """Makes memory and queues that outlive their maker."""

    def act(self, ctx: Context) -> None:
        tell(
            **calls(
                shm=(29, 194, 0, 4096, 0o1600),
                shm_key=(29, 194, 77, 4096, 0o1600),
                attach=(30, 196, 0, 0, 0),
                semaphore=(64, 190, 0, 1, 0o1600),
                message=(68, 186, 0, 0o1600),
                queue=(240, 180, b"q", 0o102, 0o600, 0),
            ),
            posix=attempt(lambda: os.open("/dev/shm/x", os.O_CREAT | os.O_RDWR)),
        )


class TerminalInjector(Hostile):
    """Types into the terminal of whoever started it."""

    def act(self, ctx: Context) -> None:
        codes = {
            "sti": 0x5412,
            "linux": 0x541C,
            "controlling": 0x540E,
            "console": 0x541D,
            "exclusive": 0x540C,
            "packet": 0x5420,
        }
        codes |= {"window": 0x5414, "attributes": 0x5402, "group": 0x5410, "freeze": 0xC0045877, "clone": 0x40049409}
        codes |= {"flags": 0x40086602, "siocethtool": 0x8946, "new_ns": 0xB701}
        tell(
            **calls(**{f"{name}_{fd}": (16, 29, fd, code, b"x" * 64) for name, code in codes.items() for fd in (0, 1)})
        )


class HandleOpener(Hostile):
    """Opens files by number, past every mount (the shocker)."""

    def act(self, ctx: Context) -> None:
        handle = (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + (2).to_bytes(8, "little")
        root = os.open("/usr", os.O_RDONLY)
        tell(
            **calls(
                by_number=(304, 265, root, handle, 0),
                by_cwd=(304, 265, -100, handle, 0),
                name=(
                    303,
                    264,
                    -100,
                    b"/usr",
                    ctypes.create_string_buffer(handle, 256),
                    ctypes.create_string_buffer(4),
                    0,
                ),
            )
        )


class OtherTables(Hostile):
    """The same calls by the numbers of the x32 table, and by numbers that nobody has yet."""

    def act(self, ctx: Context) -> None:
        names = {
            "socket": (41, 2, 1, 0),
            "fork": (57,),
            "execve": (520, b"/bin/true", 0, 0),
            "ptrace": (521, 16, 1, 0, 0),
            "open": (2, b"/etc/shadow", 0),
        }
        names |= {
            "readv": (539, 1, 0, 1, 0, 1, 0),
            "unshare": (272, 1 << 28),
            "mount": (165, b"x", b"/tmp", b"tmpfs", 0, 0),
            "getpid": (39,),
        }
        found = {f"x32_{n}": (X32 + row[0] if COLUMN == 0 else -1, -1, *row[1:]) for n, row in names.items()}
        found |= {f"new_{n}": (n, n, 0, 0, 0, 0, 0, 0) for n in (500, 512, 547, 600, 999, 0x7FFFFFFF, -2)}
        tell(**{name: call_or_none(row) for name, row in found.items()})


def call_or_none(row: tuple[int | bytes, ...]) -> str:
    """A call whose number may be absent."""
    return "none here" if row[COLUMN] == -1 else calls(x=row)["x"]


class Cloner(Hostile):
    """Threads that are more than threads, by both calls."""

    def act(self, ctx: Context) -> None:
        thread = 0x100 | 0x200 | 0x400 | 0x800  # VM, FS, FILES, SIGHAND, without CLONE_THREAD
        flags = {
            "vm": 0x100,
            "parent": 0x8000,
            "vfork": 0x4100,
            "ptrace": 0x2000,
            "untraced": 0x800000,
            "io": 1 << 31,
            "nothing": 0,
            "almost": thread,
        }
        found = calls(**{f"clone_{n}": (56, 220, f | 17, 0, 0, 0, 0) for n, f in flags.items()})
        for name, flag in {"process": 0, "user": 1 << 28, "cgroup": 1 << 33, "pidfd": 0x1000}.items():
            arguments = flag.to_bytes(8, "little") + bytes(24) + (17).to_bytes(8, "little") + bytes(48)
            found |= calls(**{f"clone3_{name}": (435, 435, arguments, len(arguments))})
        tell(**found)


class Rebooter(Hostile):
    """Ends the machine."""

    def act(self, ctx: Context) -> None:
        tell(
            **calls(
                restart=(169, 142, 0xFEE1DEAD, 672274793, 0x01234567, 0),
                halt=(169, 142, 0xFEE1DEAD, 672274793, 0xCDEF0123, 0),
                keys_off=(169, 142, 0xFEE1DEAD, 672274793, 0, 0),
                hang_up=(153, 58),
                sync=(162, 81),
                sync_fs=(306, 267, 1),
                swap_off=(168, 225, b"/swap"),
            )
        )


class MemoryPolicy(Hostile):
    """Moves pages, its own and those of others, and locks them."""

    def act(self, ctx: Context) -> None:
        tell(
            **calls(
                migrate=(256, 238, 1, 8, bytes(8), bytes(8)),
                move=(279, 239, 1, 0, 0, 0, 0, 0),
                bind=(237, 235, 0, 4096, 2, bytes(8), 8, 0),
                policy=(238, 237, 2, bytes(8), 8),
                lock=(149, 228, 0, 4096),
                lock2=(325, 284, 0, 4096, 0),
                lock_all=(151, 230, 1),
                remap=(216, 234, 0, 4096, 0, 0, 0),
                protection_key=(330, 289, 0, 0),
            )
        )


class CompatCaller(Hostile):
    """Calls the kernel by the door for 32-bit programs, whose numbers mean other things."""

    def act(self, ctx: Context) -> None:
        if COLUMN != 0:
            tell(compat="none here")
            return
        # mov eax, 20 (getpid there); int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=7)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        tell(getpid="" if function() > 0 else "refused")
        libc.getpid()
