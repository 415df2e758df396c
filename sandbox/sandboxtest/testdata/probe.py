"""Programs of the conformance suite: python3 probe.py NAME [ARG...].

Each does one thing that a sandbox has to allow, bound or refuse, and reports what happened as one line of JSON on the
socket (or on stdout without one). The standard library only.
"""

# ruff: noqa

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
ARGS = sys.argv[2:]


def connect() -> socket.socket:
    if shared is not None:
        return shared.connect()
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(os.environ["MSUP_SOCKET"])
    return s


def report(s: socket.socket, **what: Any) -> None:
    s.sendall(json.dumps(what).encode() + b"\n")


def stay(s: socket.socket) -> None:
    """Waits until the supervisor hangs up. What ends right after its report may be gone before its connection was taken: on a
    machine with 25 runnable processes one was, and nobody may take the place of a runner that has ended."""
    while s.recv(1):
        pass


def name_of(code: int | None) -> str:
    return errno.errorcode.get(code or 0, str(code))


def attempt(f: Callable[[], Any]) -> str:
    """What came of it: "" when it was possible, else the name of the error."""
    try:
        f()
    except OSError as e:
        return name_of(e.errno)
    except Exception as e:  # noqa: BLE001 - whatever it was, it did not work
        return type(e).__name__
    return ""


def echo() -> None:
    s = connect()
    while data := s.recv(65536):
        s.sendall(data)


def leave() -> None:
    sys.exit(int(ARGS[0]))


def spin() -> None:
    """Holds the GIL in one C call for hours, deaf to everything."""
    for n in range(1, 65) if shared is None else ():
        if n not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(n, signal.SIG_IGN)
    report(connect(), spinning=True)
    sum(range(10**15))


def memory() -> None:
    s = connect()
    report(s, ready=True)
    hoard = []
    while True:
        block = mmap.mmap(-1, 4 << 20)
        for page in range(0, len(block), 4096):
            block[page] = 1
        hoard.append(block)


def threads() -> None:
    s = connect()
    hold = threading.Event()
    n, why = 0, ""
    threading.stack_size(256 << 10)  # the least of any architecture is 128 KiB
    while n < 5000 and not why:
        try:
            threading.Thread(target=hold.wait, daemon=True).start()
            n += 1
        except RuntimeError:
            why = "RuntimeError"
    report(s, threads=n, why=why)
    stay(s)
    hold.set()


def cpu() -> None:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF if shared is None else resource.RUSAGE_THREAD)
        return usage.ru_utime + usage.ru_stime

    s = connect()
    began, before = time.monotonic(), used()  # what the sandbox used on the way here is not the program's
    while time.monotonic() < began + float(ARGS[0]):
        pass
    report(s, seconds=used() - before, took=time.monotonic() - began)
    stay(s)


def files() -> None:
    s = connect()
    n, why = 0, ""
    while n < 100_000 and not why:
        why = attempt(lambda: os.dup(0))
        n += not why
    report(s, files=n, why=why)
    stay(s)


def tmp() -> None:
    s = connect()
    size, why = 0, ""
    with open("/tmp/big", "wb", buffering=0) as f:
        while size < (1 << 34) and not why:
            try:
                size += f.write(bytes(1 << 20))
            except OSError as e:
                why = name_of(e.errno)
    os.remove("/tmp/big")
    made, inodes = 0, ""
    while made < 1_000_000 and not inodes:
        inodes = attempt(lambda: os.mkdir(f"/tmp/d{made}"))
        made += not inodes
    os.rmdir("/tmp/d1")
    with open("/tmp/d0/program", "w") as f:
        f.write("#!/bin/sh\n")
    os.chmod("/tmp/d0/program", 0o755)
    execute = attempt(lambda: os.execv("/tmp/d0/program", ["program"]))
    report(s, bytes=size, why=why, made=made, inodes=inodes, execute=execute)
    stay(s)


def sockets() -> None:
    s = connect()
    made = []
    for family in range(0, 64):
        for kind in (1, 2, 3, 5):
            if family != socket.AF_UNIX and not attempt(lambda f=family, k=kind: socket.socket(f, k).close()):
                made.append([family, kind])
    listener = socket.socket(socket.AF_UNIX)
    report(s, made=made, listen=attempt(lambda: (listener.bind("\0x"), listener.listen())))
    stay(s)


def calls() -> None:
    """System calls that nobody may make. Refused means an error that comes from the wall, not from the arguments."""
    s = connect()
    column = 0 if platform.machine() == "x86_64" else 1
    got = {}
    with open(os.path.join(os.path.dirname(__file__), "calls.txt")) as table:
        numbers = [line.split() for line in table]
    for name, *columns in numbers:
        ctypes.set_errno(0)
        value = libc.syscall(ctypes.c_long(int(columns[column])), 0, 0, 0, 0, 0, 0)
        got[name] = "" if value >= 0 else name_of(ctypes.get_errno())
    if column == 0:  # the other two system call tables of an x86-64 kernel
        ctypes.set_errno(0)
        value = libc.syscall(ctypes.c_long(0x40000000 + 41), 2, 1, 0)
        got["x32 socket"] = "" if value >= 0 else name_of(ctypes.get_errno())
    got["fork"] = attempt(os.fork)
    got["vfork"] = attempt(lambda: os.posix_spawn("/usr/bin/true", ["true"], {}))
    got["execve"] = attempt(lambda: os.execv(sys.executable, [sys.executable, "-V"]))
    got["prctl dumpable"] = "" if libc.prctl(4, 0, 0, 0, 0) >= 0 else name_of(ctypes.get_errno())
    got["prctl pdeathsig"] = "" if libc.prctl(1, 0, 0, 0, 0) >= 0 else name_of(ctypes.get_errno())
    report(s, refused=got)
    stay(s)


def descriptors() -> list[str]:
    """What is open: number and target."""
    if not os.path.isdir("/proc/self/fd"):
        return []
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{fd} {os.readlink('/proc/self/fd/' + fd)}")
        except FileNotFoundError:
            pass  # the one that lists the folder
    return found


def namespaces() -> dict[str, str]:
    """The namespaces that this process is in, by kind."""
    if not os.path.isdir("/proc/self/ns"):
        return {}
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def look() -> None:
    """What can be seen and touched from inside."""
    s = connect()
    writable = []
    for base in (
        "/",
        "/usr",
        "/lib",
        "/run",
        "/run/msup",
        "/dev",
        "/proc",
        "/proc/self",
        "/tmp",
        "/etc",
        "/var",
        os.path.dirname(sys.prefix),
    ):
        if base.startswith("/tmp/") and os.path.isdir(base) and os.stat(base).st_dev == os.stat("/tmp").st_dev:
            continue  # a folder of the sandbox's own /tmp, made to bind something below it
        if not attempt(lambda b=base: open(os.path.join(b, "written"), "w").close()):
            writable.append(base)
    status = (
        dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
        if os.path.exists("/proc/self/status")
        else {}
    )
    report(
        s,
        env=dict(os.environ),
        root=[f for f in ("etc", "home", "root", "var", "sys", "boot") if os.path.exists("/" + f)],
        list_root=attempt(lambda: os.listdir("/")),
        writable=writable,
        uid=os.getuid(),
        pid=os.getpid(),
        ppid=os.getppid(),
        pids=[p for p in (os.listdir("/proc") if os.path.isdir("/proc") else []) if p.isdigit()],
        fds=descriptors(),
        namespaces=namespaces(),
        caps=[status.get(k, "0").strip("0\n ") for k in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")],
        no_new_privs=status.get("NoNewPrivs", "1"),
        host=socket.gethostname(),
        groups=os.getgroups(),
        kill=attempt(lambda: os.kill(int(ARGS[0]), 0)),
        sysctl=os.path.exists("/proc/sys"),
        sysfs=os.path.isdir("/sys"),
        core=resource.getrlimit(resource.RLIMIT_CORE),
        interfaces=attempt(socket.if_nameindex),
        chmod=attempt(lambda: os.chmod("/run/msup", 0o777)),
        unlink=attempt(lambda: os.unlink("/run/msup/s")),
        devices=attempt(lambda: open("/dev/urandom", "rb").read(8))
        + attempt(lambda: open("/dev/null", "w").write("x")),
    )
    stay(s)


def flood() -> None:
    s = connect()
    report(s, ready=True)
    block = (ARGS[0].encode().decode("unicode_escape").encode("latin-1")) * 1000
    while True:
        os.write(sys.stdout.fileno(), block)


def second() -> None:
    s = connect()
    s.recv(1)
    report(s, second=attempt(connect))
    stay(s)


def crash() -> None:
    report(connect(), ready=True)
    ctypes.string_at(0)


def hog() -> None:
    """Runs until it is killed, with threads that never end."""
    s = connect()
    for _ in range(4):
        threading.Thread(target=lambda: time.sleep(10_000), daemon=True).start()
    report(s, ready=True)
    time.sleep(10_000)


def job() -> None:
    """A one-shot job without a socket that writes into its output folder."""
    with open(os.path.join(ARGS[0], "made"), "w") as f:
        f.write("by the job")
    os.makedirs(os.path.join(ARGS[0], "deep/er"))
    print("socket:", os.environ.get("MSUP_SOCKET"), os.path.exists("/run/msup"))


def never() -> None:
    time.sleep(10_000)


def fill() -> None:
    """Fills the output folder of a job until it is killed, slowly enough to be caught in the act."""
    n = 0
    while True:
        if ARGS[1] == "folders":
            os.mkdir(f"{ARGS[0]}/d{n}")
        else:
            with open(f"{ARGS[0]}/f{n}", "wb") as f:
                f.write(bytes(64 << 10))
        n += 1
        time.sleep(0.001)


def obey() -> None:
    """Does what each line from the supervisor says."""
    s = connect()
    for line in s.makefile():
        what, _, about = line.strip().partition(" ")
        if what == "leave":
            sys.exit(int(about))
        elif what == "hold":  # the interpreter, for hours
            sum(range(10**15))
        elif what == "sleep":
            time.sleep(10_000)
        elif what == "spin":
            while True:
                pass
        elif what == "write":
            with open("/tmp/note", "w") as f:
                f.write(about)
        elif what == "read":
            about = open("/tmp/note").read()
        elif what == "print":
            print(about)
            print(about, file=sys.stderr)
        elif what == "raise":
            raise RuntimeError(about)
        elif what == "crash":
            ctypes.string_at(0)
        elif what == "exit":
            os._exit(int(about))
        elif what == "eat":
            hoard = mmap.mmap(-1, int(about) << 20)
            for page in range(0, len(hoard), 4096):
                hoard[page] = 1
        report(s, did=what, about=about)


def lines() -> None:
    print("first")
    print("second \x1b[31mred", file=sys.stderr)
    sys.exit(0)


PROGRAMS: dict[str, Callable[[], None]] = {
    "echo": echo,
    "exit": leave,
    "spin": spin,
    "memory": memory,
    "threads": threads,
    "cpu": cpu,
    "files": files,
    "tmp": tmp,
    "sockets": sockets,
    "calls": calls,
    "look": look,
    "flood": flood,
    "second": second,
    "crash": crash,
    "hog": hog,
    "job": job,
    "fill": fill,
    "lines": lines,
    "obey": obey,
    "never": never,
}

# Where programs are threads of one process: what hands this thread its socket.
shared: Any = None

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
