"""Strategies that want out."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import socket
import sys

from hostile_kit import Hostile, attempt, call, libc, tell
from msup import Context


class Dialer(Hostile):
    """Makes a socket of every family and kind, and listens for callers."""

    def act(self, ctx: Context) -> None:
        made = []
        for family in range(64):
            for kind in (1, 2, 3, 4, 5, 10):
                if family != socket.AF_UNIX and not attempt(lambda f=family, k=kind: socket.socket(f, k)):
                    made.append((family, kind))
        own = socket.socket(socket.AF_UNIX)
        tell(
            families="none" if not made else "",
            listen=attempt(lambda: (own.bind("\0own"), own.listen())),
            high_bits=call(41, 198, (1 << 32) | 2, 1, 0),
            resolve=attempt(lambda: socket.getaddrinfo("example.com", 443)),
            again=attempt(lambda: socket.socket(socket.AF_UNIX).connect(os.environ["MSUP_SOCKET"])),
            host_sockets=attempt(lambda: socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket")),
        )


class Tracer(Hostile):
    """Looks into other processes and itself by the debugger's doors."""

    def act(self, ctx: Context) -> None:
        word = ctypes.create_string_buffer(64)
        tell(
            traceme=call(101, 117, 0, 0, 0, 0),
            attach=call(101, 117, 16, 1, 0, 0),
            seize=call(101, 117, 0x4206, 1, 0, 0),
            readv=call(310, 270, 1, word, 1, word, 1, 0),
            writev=call(311, 271, 1, word, 1, word, 1, 0),
            pidfd=call(434, 434, 1, 0),
            getfd=call(438, 438, 3, 0, 0),
            kcmp=call(312, 272, 1, 1, 0, 0, 0),
            dumpable="" if libc.prctl(4, 1, 0, 0, 0) == 0 else "refused",
            pdeathsig="" if libc.prctl(1, 0, 0, 0, 0) == 0 else "refused",
        )


class Mounter(Hostile):
    """Rearranges the file system, or asks for a new world."""

    def act(self, ctx: Context) -> None:
        tell(
            mount=call(165, 40, b"tmpfs", b"/tmp", b"tmpfs", 0, 0),
            remount=call(165, 40, b"none", b"/", b"", 32, 0),
            umount=call(166, 39, b"/tmp", 2),
            pivot=call(155, 41, b".", b"."),
            chroot=call(161, 51, b"/tmp"),
            fsopen=call(430, 430, b"proc", 0),
            open_tree=call(428, 428, -100, b"/", 1),
            setattr=call(442, 442, -100, b"/", 0, 0, 0),
            unshare_user=call(272, 97, 0x10000000),
            unshare_mount=call(272, 97, 0x20000),
            setns=call(308, 268, 0, 0),
            setuid=call(105, 146, 0),
            setresuid=call(117, 147, 0, 0, 0),
            capset=call(126, 91, 0, 0),
            sethostname=call(170, 161, b"x", 1),
            mknod=call(259, 33, -100, b"/tmp/sda", 0o60644, 0x800),
        )


class KernelProber(Hostile):
    """Knocks at the parts of the kernel that most escapes came through."""

    def act(self, ctx: Context) -> None:
        tell(
            bpf=call(321, 280, 0, 0, 0),
            keyctl=call(250, 219, 0, 0),
            add_key=call(248, 217, b"user", b"a", b"b", 1, -3),
            io_uring=call(425, 425, 8, 0),
            userfaultfd=call(323, 282, 0),
            perf=call(298, 241, 0, 0, -1, -1, 0),
            memfd=call(319, 279, b"x", 0),
            memfd_secret=call(447, 447, 0),
            personality=call(135, 92, 0x0040000),
            modules=call(175, 105, 0, 0, b""),
            kexec=call(246, 104, 0, 0, 0, 0),
            vmsplice=call(278, 75, 1, 0, 0, 0),
            fanotify=call(300, 262, 0, 0),
            handles=call(304, 265, -100, 0, 0),
            shm=call(29, 194, 0, 4096, 0o1600),
            msg=call(68, 186, 0, 0o1600),
            mq=call(240, 180, b"q", 0o102, 0o600, 0),
            x32=call(0x40000000 + 41, 0xFFFF, 2, 1, 0),
            mlock=call(149, 228, 0, 4096),
            syslog=call(103, 116, 3, 0, 0),
            clock=call(227, 112, 0, 0),
            tiocsti=call(16, 29, 0, 0x5412, b"x"),
        )


class Linker(Hostile):
    """Climbs out by links, dots and descriptors."""

    def act(self, ctx: Context) -> None:
        def read(path: str) -> None:
            with open(path, "rb") as f:
                f.read(1)

        def write(path: str) -> None:
            with open(path, "ab") as f:
                f.write(b"x")

        tell(
            symlink=attempt(lambda: os.symlink("/", "/tmp/root")),
            hard=attempt(lambda: os.link(__file__, "/tmp/hard")),
            shadow=attempt(lambda: read("/etc/shadow")),
            dots=attempt(lambda: read("../" * 40 + "etc/shadow")),
            proc_root=attempt(lambda: read("/proc/1/root/etc/shadow")),
            proc_cwd=attempt(lambda: read("/proc/1/cwd/../etc/shadow")),
            code=attempt(lambda: write(__file__)),
            interpreter=attempt(lambda: write(os.path.realpath(sys.executable))),
            through_fd=attempt(lambda: write("/proc/self/exe")),
            chmod=attempt(lambda: os.chmod(__file__, 0o777)),
            rename=attempt(lambda: os.rename(__file__, "/tmp/mine.py")),
            socket=attempt(lambda: os.unlink("/run/msup/s")),
            set_id=attempt(lambda: os.chown("/tmp", 0, 0)),
        )


class Snoop(Hostile):
    """Reads what /proc and /sys tell about others."""

    def act(self, ctx: Context) -> None:
        def listed(path: str) -> None:
            if not os.listdir(path):
                raise OSError(2, "empty")

        def read(path: str) -> None:
            with open(path, "rb") as f:
                if not f.read(1):
                    raise OSError(2, "empty")

        others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]
        home = [
            v
            for k, v in os.environ.items()
            if k.startswith(("SSH", "AWS", "GITHUB", "MSUP_SECRET")) or v.startswith("/root")
        ]
        tell(
            processes="none" if not others else "",
            secrets="none" if not home else "",
            sys=attempt(lambda: listed("/sys")),
            kernel=attempt(lambda: read("/proc/kallsyms")),
            memory=attempt(lambda: read("/proc/kcore")),
            keys=attempt(lambda: read("/proc/keys")),
            sysctl=attempt(lambda: listed("/proc/sys")),
            trigger=attempt(lambda: read("/proc/sysrq-trigger")),
            config=attempt(lambda: read("/proc/config.gz")),
            cgroup=attempt(lambda: listed("/sys/fs/cgroup")),
            oom=attempt(lambda: open("/proc/self/oom_score_adj", "w").write("-1000")),
            uid_map=attempt(lambda: open("/proc/self/uid_map", "w").write("0 0 1")),
            disk=attempt(lambda: read("/dev/vda")),
            mem=attempt(lambda: read("/dev/mem")),
        )


class Killer(Hostile):
    """Signals everybody it can name."""

    def act(self, ctx: Context) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reached = [pid for pid in range(2, 70_000) if not attempt(lambda p=pid: os.kill(p, signal.SIGKILL))]
        tell(
            others="none" if not reached else "",
            everybody=attempt(lambda: os.kill(-1, signal.SIGTERM)),
            parent=attempt(lambda: os.kill(os.getppid() or 2, 9)),
            queue=call(129, 138, 2, 9, 0),
            pidfd=call(424, 424, 0, 9, 0, 0),
            nice=attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20)),
            scheduler=attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))),
            affinity=attempt(lambda: os.sched_setaffinity(0, {0})),
        )


class Payload:
    """Unpickles into a shell."""

    def __reduce__(self) -> tuple[object, tuple[str, list[str]]]:
        return os.execv, ("/bin/sh", ["sh", "-c", "true"])


class Pickler(Hostile):
    """Runs another program by data, and from what it wrote."""

    def act(self, ctx: Context) -> None:
        with open("/tmp/program", "wb") as f, open(os.path.realpath(sys.executable), "rb") as own:
            f.write(own.read(1 << 16))
        os.chmod("/tmp/program", 0o755)
        tell(
            pickle=attempt(lambda: pickle.loads(pickle.dumps(Payload()))),
            written=attempt(lambda: os.execv("/tmp/program", ["program"])),
            again=attempt(lambda: os.execv(sys.executable, [sys.executable, "-V"])),
            by_number=call(322, 281, 1000, b"", 0, 0, 0x1000),
            native=attempt(lambda: ctypes.CDLL("/tmp/program")),
        )
