"""Strategies that want out: by sockets, processes, namespaces, privileges."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import socket
import sys
import threading

from hostile_kit import (
    ABSTRACT,
    HOST_PID,
    PORT,
    SECRET,
    SUPERVISOR_PID,
    Hostile,
    attempt,
    call,
    calls,
    libc,
    listed,
    read,
    tell,
    write,
)
from msup import Context


class Dialer(Hostile):
    """Makes a socket of every family and kind, and listens for callers: only AF_UNIX can be made, without listeners."""

    def act(self, ctx: Context) -> None:
        made = []
        for family in range(64):
            for kind in (1, 2, 3, 4, 5, 10):
                if family != socket.AF_UNIX and not attempt(lambda f=family, k=kind: socket.socket(f, k)):
                    made.append((family, kind))
        own = socket.socket(socket.AF_UNIX)
        vsock = (ctypes.c_int * 2)()
        tell(
            families="none" if not made else "",
            listen=attempt(lambda: (own.bind("\0own"), own.listen())),
            high_bits=call(41, 198, (1 << 32) | 2, 1, 0),
            vsock=call(41, 198, 40, 1, 0),
            netlink=call(41, 198, 16, 3, 0),
            packet=call(41, 198, 17, 3, 0x300),
            bluetooth=call(41, 198, 31, 3, 1),
            crypto=call(41, 198, 38, 5, 0),
            pair=call(53, 199, 2, 1, 0, vsock),
            resolve=attempt(lambda: socket.getaddrinfo("example.com", 443)),
        )


class HostCaller(Hostile):
    """Calls what really listens on the host."""

    def act(self, ctx: Context) -> None:
        def unix(address: str | bytes) -> None:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(address)

        def datagram() -> None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.sendto(b"x", "/dev/log")

        tell(
            tcp=attempt(lambda: socket.create_connection(("127.0.0.1", PORT), 1)),
            abstract=attempt(lambda: unix("\0" + ABSTRACT)),
            log=attempt(datagram),
            docker=attempt(lambda: unix("/run/docker.sock")),
            containerd=attempt(lambda: unix("/run/containerd/containerd.sock")),
            system=attempt(lambda: unix("/run/systemd/private")),
            bus=attempt(lambda: unix("/run/dbus/system_bus_socket")),
        )


class SocketSquatter(Hostile):
    """Connects to the supervisor again and again, and takes its address: there is one connection, and no listener."""

    def act(self, ctx: Context) -> None:
        path = os.environ["MSUP_SOCKET"]
        found: set[str] = set()

        def again() -> None:
            for _ in range(200):
                found.add(attempt(lambda: socket.socket(socket.AF_UNIX).connect(path)))

        threads = [threading.Thread(target=again) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        own = socket.socket(socket.AF_UNIX)
        tell(
            again="" if "" in found else found.pop(),
            unlink=attempt(lambda: os.unlink(path)),
            bind=attempt(lambda: own.bind("/tmp/s")),
            replace=attempt(lambda: os.rename("/tmp", os.path.dirname(path))),
            accept=call(43, 202, 3, 0, 0),
        )


class Inheritor(Hostile):
    """Looks for descriptors and variables that somebody forgot to close."""

    def act(self, ctx: Context) -> None:
        foreign: list[str] = []
        sockets = 0
        for fd in range(3, 1024):
            try:
                what = os.readlink(f"/proc/self/fd/{fd}")
            except OSError:
                continue
            sockets += what.startswith("socket:")
            if not what.startswith(("socket:", "/proc", "/strategy", "/sdk", "/usr")):
                foreign.append(f"{fd} {what}")
        names = [k for k in os.environ if k.startswith(("SSH", "AWS", "GITHUB", "MSUP_SECRET", "XDG", "SUDO"))]
        tell(
            descriptors="none" if not foreign else "",
            sockets="one" if sockets == 1 else "",
            secrets="none" if not names else "",
            home="none" if not any("/root" in v for v in os.environ.values()) else "",
            terminal="none" if not os.isatty(0) else "",
            input=attempt(lambda: os.read(0, 1) or 1 / 0),
        )


class Tracer(Hostile):
    """Looks into other processes and itself by the debugger's doors."""

    def act(self, ctx: Context) -> None:
        word = ctypes.create_string_buffer(64)
        tell(
            traceme=call(101, 117, 0, 0, 0, 0),
            attach=call(101, 117, 16, 1, 0, 0),
            attach_host=call(101, 117, 16, HOST_PID, 0, 0),
            seize=call(101, 117, 0x4206, SUPERVISOR_PID, 0, 0),
            readv=call(310, 270, 1, word, 1, word, 1, 0),
            readv_host=call(310, 270, SUPERVISOR_PID, word, 1, word, 1, 0),
            writev=call(311, 271, 1, word, 1, word, 1, 0),
            pidfd=call(434, 434, HOST_PID, 0),
            getfd=call(438, 438, 3, 0, 0),
            kcmp=call(312, 272, 1, 1, 0, 0, 0),
            madvise=call(440, 440, 3, word, 1, 4, 0),
            mrelease=call(448, 448, 3, 0),
            memory=attempt(lambda: read(f"/proc/{SUPERVISOR_PID}/mem")),
            core=attempt(lambda: read("/proc/kcore")),
            dumpable="" if libc.prctl(4, 1, 0, 0, 0) == 0 else "refused",
            pdeathsig="" if libc.prctl(1, 0, 0, 0, 0) == 0 else "refused",
            ptracer="" if libc.prctl(0x59616D61, -1, 0, 0, 0) == 0 else "refused",
        )


class Mounter(Hostile):
    """Rearranges the file system."""

    def act(self, ctx: Context) -> None:
        tell(
            **calls(
                mount=(165, 40, b"tmpfs", b"/tmp", b"tmpfs", 0, 0),
                remount=(165, 40, b"none", b"/", b"", 32, 0),
                bind=(165, 40, b"/", b"/tmp", b"", 4096, 0),
                umount=(166, 39, b"/tmp", 2),
                umount_proc=(166, 39, b"/proc", 2),
                pivot=(155, 41, b".", b"."),
                chroot=(161, 51, b"/tmp"),
                fsopen=(430, 430, b"proc", 0),
                fsmount=(432, 432, 3, 0, 0),
                fspick=(433, 433, -100, b"/", 0),
                move=(429, 429, -100, b"/tmp", -100, b"/", 0),
                open_tree=(428, 428, -100, b"/", 1),
                setattr=(442, 442, -100, b"/", 0, 0, 0),
                statmount=(457, 457, 0, 0, 0, 0),
                mknod=(259, 33, -100, b"/tmp/sda", 0o60644, 0x800),
                swapon=(167, 224, b"/tmp/x", 0),
                quota=(179, 60, 0, b"/dev/vda", 0, 0),
            )
        )


class Namespacer(Hostile):
    """Asks for a new world of every kind, or to join another."""

    def act(self, ctx: Context) -> None:
        kinds = {"user": 1 << 28, "mount": 1 << 17, "pid": 1 << 29, "net": 1 << 30, "ipc": 1 << 27, "uts": 1 << 26}
        kinds |= {"cgroup": 1 << 25, "time": 1 << 7, "files": 1 << 10, "fs": 1 << 9, "sysv": 1 << 18}
        found = {"unshare_" + name: call(272, 97, flag) for name, flag in kinds.items()}
        found |= {"clone_" + name: call(56, 220, flag | 17, 0, 0, 0, 0) for name, flag in kinds.items()}
        for kind in ("user", "mnt", "net", "pid"):
            found["join_" + kind] = attempt(lambda k=kind: self.join(k))
        found["host_name"] = call(170, 161, b"x", 1)
        found["domain_name"] = call(171, 162, b"x", 1)
        tell(**found)

    def join(self, kind: str) -> None:
        """Enter a namespace by a descriptor of it."""
        fd = os.open(f"/proc/1/ns/{kind}", os.O_RDONLY)
        try:
            if error := call(308, 268, fd, 0):
                raise OSError(1, error)
        finally:
            os.close(fd)


class Snoop(Hostile):
    """Reads what /proc and /sys tell about others."""

    def act(self, ctx: Context) -> None:
        others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]
        tell(
            processes="none" if not others else "",
            sys=attempt(lambda: listed("/sys")),
            kernel=attempt(lambda: read("/proc/kallsyms")),
            memory=attempt(lambda: read("/proc/kcore")),
            keys=attempt(lambda: read("/proc/keys")),
            sysctl=attempt(lambda: listed("/proc/sys")),
            trigger=attempt(lambda: read("/proc/sysrq-trigger")),
            config=attempt(lambda: read("/proc/config.gz")),
            timers=attempt(lambda: read("/proc/timer_list")),
            messages=attempt(lambda: read("/proc/kmsg")),
            pages=attempt(lambda: read("/proc/kpagecount")),
            scsi=attempt(lambda: listed("/proc/scsi")),
            cgroup=attempt(lambda: listed("/sys/fs/cgroup")),
            host=attempt(lambda: read(f"/proc/{HOST_PID}/cmdline")),
            supervisor=attempt(lambda: read(f"/proc/{SUPERVISOR_PID}/environ")),
        )


class HostReader(Hostile):
    """Reads the host's files: secrets, other users' homes, other strategies, the supervisor's state."""

    def act(self, ctx: Context) -> None:
        files = "/etc/shadow /etc/passwd- /root/.ssh/id_rsa /root/.bashrc /etc/ssh/sshd_config /var/log/dpkg.log"
        found = {path.replace("/", "_"): attempt(lambda p=path: read(p)) for path in files.split()}
        folders = "/root /home /var/lib /etc/ssh /boot /mnt /srv /opt /run/containerd /run/msup/runners /var/run /sys"
        found |= {path.replace("/", "_"): attempt(lambda p=path: listed(p)) for path in folders.split()}
        found["secret"] = attempt(lambda: read(SECRET))
        found["change"] = attempt(lambda: write(SECRET))
        tell(**found)


class Killer(Hostile):
    """Signals everybody it can name."""

    def act(self, ctx: Context) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        own = os.getpid()
        reached = [p for p in range(2, 40_000) if p != own and not attempt(lambda p=p: os.kill(p, signal.SIGKILL))]
        tell(
            others="none" if not reached else "",
            host=attempt(lambda: os.kill(HOST_PID, signal.SIGKILL)),
            supervisor=attempt(lambda: os.kill(SUPERVISOR_PID, signal.SIGTERM)),
            everybody=attempt(lambda: os.kill(-1, signal.SIGTERM)),
            group=attempt(lambda: os.kill(-2, signal.SIGTERM)),
            queue=call(129, 138, HOST_PID, 9, 0),
            thread=call(200, 130, HOST_PID, 9),
            thread_group=call(234, 131, SUPERVISOR_PID, SUPERVISOR_PID, 9),
            pidfd=call(424, 424, 0, 9, 0, 0),
            session=attempt(os.setsid) or "its own",
        )


class CapabilityGrabber(Hostile):
    """Becomes somebody with more rights."""

    def act(self, ctx: Context) -> None:
        header = (0x20080522).to_bytes(4, "little") + bytes(4)
        all_of_them = b"\xff" * 24
        with open("/proc/self/status") as f:
            status = dict(line.split(":\t", 1) for line in f if ":\t" in line)
        sets = {name: status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        tell(
            sets="none" if all(int(v, 16) == 0 for v in sets.values()) else "",
            no_new_privs="set" if status["NoNewPrivs"].strip() == "1" else "",
            filter="on" if status["Seccomp"].strip() == "2" else "",
            root="nobody" if os.geteuid() != 0 or int(sets["CapEff"], 16) == 0 else "",
            ambient="" if libc.prctl(47, 2, 21, 0, 0) == 0 else "refused",
            keep="" if libc.prctl(8, 1, 0, 0, 0) == 0 else "refused",
            secure_bits="" if libc.prctl(28, 0, 0, 0, 0) == 0 else "refused",
            **calls(
                capset=(126, 91, header, all_of_them),
                setuid=(105, 146, 0),
                setgid=(106, 144, 0),
                setreuid=(113, 145, 0, 0),
                setresuid=(117, 147, 0, 0, 0),
                setresgid=(119, 149, 0, 0, 0),
                setgroups=(116, 159, 1, bytes(4)),
                chown=(260, 54, -100, b"/tmp", 0, 0, 0),
            ),
        )


class FilterLoosener(Hostile):
    """Takes its walls down from the inside."""

    def act(self, ctx: Context) -> None:
        program = bytes([1, 0, 0, 0, 0, 0, 0, 0]) + bytes(8)
        orders = {"no_new_privs": (38, 0), "seccomp": (22, 2), "reaper": (36, 1), "dumpable": (4, 1), "mm": (35, 1)}
        orders |= {
            "speculation": (53, 0),
            "dispatch": (59, 1),
            "tagged": (55, 1),
            "tsc": (26, 2),
            "io_flusher": (57, 1),
        }
        orders |= {"core_sched": (62, 1), "thp": (41, 1), "mce": (33, 1), "unalign": (6, 1), "timing": (14, 1)}
        found = {n: "" if libc.prctl(o, v, 0, 0, 0) == 0 else "refused" for n, (o, v) in orders.items()}
        found |= calls(
            strict=(317, 277, 0, 0, 0),
            allow_all=(317, 277, 1, 0, program),
            listener=(317, 277, 1, 8, program),
            landlock=(444, 444, 0, 0, 0),
            landlock_restrict=(446, 446, 3, 0),
            personality=(135, 92, 0x0040000),
            ldt=(154, -1, 1, bytes(16), 16),
            iopl=(172, -1, 3),
            ioperm=(173, -1, 0x80, 1, 1),
        )
        tell(**found)


class CgroupEscaper(Hostile):
    """Leaves its control group, or raises its ceilings there."""

    def act(self, ctx: Context) -> None:
        found: dict[str, str] = {}
        with open("/proc/self/cgroup") as f:
            paths = {line.strip().split(":", 2)[2] for line in f}
        found["path"] = "hidden" if all("hostile" not in p for p in paths) else ""
        for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/tmp"):
            for name in (
                "cgroup.procs",
                "tasks",
                "release_agent",
                "memory.max",
                "memory.limit_in_bytes",
                "pids.max",
                "cpu.max",
            ):
                if folder != "/tmp":
                    found[(folder + "/" + name)[14:].replace("/", "_")] = attempt(
                        lambda p=f"{folder}/{name}": open(p, "r+b").write(b"1")
                    )
        for version in (b"cgroup", b"cgroup2"):
            found["mount_" + version.decode()] = call(165, 40, b"none", b"/tmp", version, 0, 0)
            found["open_" + version.decode()] = call(430, 430, version, 0)
        found["into"] = call(435, 435, bytes(88), 88)
        tell(**found)


class Payload:
    """Unpickles into a shell."""

    def __reduce__(self) -> tuple[object, tuple[str, list[str]]]:
        return os.execv, ("/bin/sh", ["sh", "-c", "true"])


class Pickler(Hostile):
    """Runs another program by data."""

    def act(self, ctx: Context) -> None:
        tell(
            pickle=attempt(lambda: pickle.loads(pickle.dumps(Payload()))),
            again=attempt(lambda: os.execv(sys.executable, [sys.executable, "-V"])),
            shell=attempt(lambda: os.execve("/bin/sh", ["sh"], {})),
            by_number=call(59, 221, b"/bin/sh", 0, 0),
        )


class MemoryProgram(Hostile):
    """Runs a program that is in no file system."""

    def act(self, ctx: Context) -> None:
        own = os.open(os.path.realpath("/usr/bin/true"), os.O_RDONLY)
        tell(
            memfd=attempt(lambda: os.memfd_create("x")),
            **calls(
                memfd_raw=(319, 279, b"x", 0),
                memfd_exec=(319, 279, b"x", 0x10),
                memfd_secret=(447, 447, 0),
                execveat=(322, 281, own, b"", 0, 0, 0x1000),
                execveat_path=(322, 281, -100, b"/bin/true", 0, 0, 0),
                uselib=(134, -1, b"/bin/true"),
            ),
            descriptor=attempt(lambda: os.execv(f"/proc/self/fd/{own}", ["true"])),
        )


class LatchFlooder(Hostile):
    """Asks for what the supervisor itself decides, thousands of times, from threads: it answers a bounded number."""

    def act(self, ctx: Context) -> None:
        found: set[str] = set()

        def flood() -> None:
            for _ in range(500):
                found.add(attempt(lambda: os.execv("/bin/true", ["true"])))

        def leave() -> None:
            libc.syscall(ctypes.c_long(60 if os.uname().machine == "x86_64" else 93), 200)  # this thread only

        threads = [threading.Thread(target=flood) for _ in range(4)] + [
            threading.Thread(target=leave, daemon=True) for _ in range(4)
        ]
        for t in threads:
            t.start()
        for t in threads[:4]:
            t.join()
        tell(exec="" if "" in found else "refused")
