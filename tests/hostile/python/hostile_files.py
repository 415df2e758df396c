"""Strategies that go through the file system."""

from __future__ import annotations

import compileall
import ctypes
import os
import py_compile
import shutil
import site
import sys

import msup
from hostile_kit import SECRET, Hostile, attempt, call, libc, read, tell, write
from msup import Context


class Linker(Hostile):
    """Climbs out by links, dots and descriptors."""

    def act(self, ctx: Context) -> None:
        tell(
            symlink=attempt(lambda: os.symlink("/", "/tmp/root")),
            symlinkat=call(266, 36, b"/", -100, b"/tmp/root2"),
            hard=attempt(lambda: os.link(__file__, "/tmp/hard")),
            hard_fd=call(265, 37, -100, b"/proc/self/exe", -100, b"/tmp/exe", 0x400),
            fifo=attempt(lambda: os.mkfifo("/tmp/fifo")),
            shadow=attempt(lambda: read("/etc/shadow")),
            dots=attempt(lambda: read("../" * 40 + "etc/shadow")),
            proc_root=attempt(lambda: read("/proc/1/root/etc/shadow")),
            proc_cwd=attempt(lambda: read("/proc/1/cwd/../etc/shadow")),
            secret=attempt(lambda: read(SECRET)),
            secret_root=attempt(lambda: read("/proc/self/root" + SECRET)),
            socket=attempt(lambda: os.unlink("/run/msup/s")),
            set_id=attempt(lambda: os.chown("/tmp", 0, 0)),
        )


class Reopener(Hostile):
    """Opens for reading what it may, and again for writing through the descriptor."""

    def act(self, ctx: Context) -> None:
        def again(path: str, how: int = os.O_RDWR) -> None:
            fd = os.open(path, os.O_RDONLY)
            try:
                os.close(os.open(f"/proc/self/fd/{fd}", how))
            finally:
                os.close(fd)

        folder = os.open("/strategy", os.O_RDONLY)
        tell(
            own=attempt(lambda: again(__file__)),
            exe=attempt(lambda: again(os.path.realpath(sys.executable))),
            truncate=attempt(lambda: again(__file__, os.O_WRONLY | os.O_TRUNC)),
            through_exe=attempt(lambda: write("/proc/self/exe")),
            map=attempt(lambda: write("/proc/self/map_files")),
            unnamed=attempt(lambda: os.open("/strategy", os.O_TMPFILE | os.O_RDWR)),
            shared_map=self.shared(),
            above=attempt(lambda: os.close(os.open("../" * 20 + SECRET[1:], os.O_RDONLY, dir_fd=folder))),
        )

    def shared(self) -> str:
        """A writable shared mapping of a file that is open for reading."""
        fd = os.open(__file__, os.O_RDONLY)
        libc.mmap.restype = ctypes.c_void_p
        where = libc.mmap(None, ctypes.c_size_t(4096), 3, 1, fd, ctypes.c_long(0))
        os.close(fd)
        return "refused" if where in (None, ctypes.c_void_p(-1).value) else ""


class CodeUnlinker(Hostile):
    """Deletes, moves and changes its own code, the SDK, and the interpreter."""

    def act(self, ctx: Context) -> None:
        found: dict[str, str] = {}
        for name, path in {"own": __file__, "sdk": msup.__file__, "python": os.path.realpath(sys.executable)}.items():
            found[name + "_unlink"] = attempt(lambda p=path: os.unlink(p))
            found[name + "_rename"] = attempt(lambda p=path: os.rename(p, "/tmp/mine"))
            found[name + "_truncate"] = attempt(lambda p=path: os.truncate(p, 0))
            found[name + "_chmod"] = attempt(lambda p=path: os.chmod(p, 0o777))
            found[name + "_times"] = attempt(lambda p=path: os.utime(p, (0, 0)))
            found[name + "_append"] = attempt(lambda p=path: write(p))
        found["tree"] = attempt(lambda: shutil.rmtree("/strategy"))
        found["attributes"] = attempt(lambda: os.setxattr(__file__, "user.x", b"x"))
        tell(**found)


class BytecodePlanter(Hostile):
    """Plants code that the next start would run."""

    def act(self, ctx: Context) -> None:
        sys.dont_write_bytecode = False
        sdk = os.path.dirname(msup.__file__)
        cache = os.path.join(sdk, "__pycache__", "key.cpython-311.pyc")
        places = [p for p in (*site.getsitepackages(), "/sdk", "/strategy") if os.path.isdir(p)]
        planted = {
            f"site_{n}": attempt(lambda p=p: write(os.path.join(p, "sitecustomize.py"))) for n, p in enumerate(places)
        }
        tell(
            compile=attempt(lambda: py_compile.compile(__file__, doraise=True)),
            all="" if compileall.compile_dir("/strategy", quiet=2, force=True) else "refused",
            cache=attempt(lambda: write(cache)),
            path_file=attempt(lambda: write(os.path.join(places[0], "evil.pth"))),
            preload=attempt(lambda: write("/etc/ld.so.preload")),
            profile=attempt(lambda: write("/etc/profile")),
            **planted,
        )


class DeviceOpener(Hostile):
    """Opens the devices that a host may have, and makes them where it has none."""

    def act(self, ctx: Context) -> None:
        names = (
            "kmsg mem kmem port sda vda nvme0n1 loop0 loop-control fuse kvm vhost-vsock vsock net/tun mapper/control "
            "ptmx tty console tty0 uinput input/event0 dri/card0 rtc hpet watchdog snapshot userfaultfd btrfs-control"
        )
        found = {name.replace("/", "_"): attempt(lambda n=name: read("/dev/" + n)) for name in names.split()}
        for kind, mode in {"block": 0o60666, "character": 0o20666}.items():
            found["make_" + kind] = call(259, 33, -100, b"/tmp/" + kind.encode(), mode, 0x100)
            found["make_in_dev_" + kind] = call(259, 33, -100, b"/dev/" + kind.encode(), mode, 0x100)
        found["new"] = attempt(lambda: write("/dev/new"))
        tell(**found)


class ProcWriter(Hostile):
    """Writes to the files of /proc that change the host or its own walls."""

    def act(self, ctx: Context) -> None:
        files = (
            "sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/hostname sys/vm/overcommit_memory "
            "sys/fs/binfmt_misc/register sysrq-trigger irq/0/smp_affinity bus/pci/devices acpi/wakeup "
            "mtrr self/uid_map self/gid_map self/setgroups self/oom_score_adj self/oom_adj self/autogroup"
            " self/attr/current self/clear_refs self/timens_offsets self/loginuid 1/oom_score_adj"
        )
        found: dict[str, str] = {}
        for name in files.split():
            error = attempt(lambda n=name: write("/proc/" + n, b"1\n"))
            own = name in (
                "self/clear_refs",
                "self/autogroup",
            )  # its own working set and its own session: nobody else's
            found[name.replace("/", "_")] = error or ("its own" if own else "")
        tell(**found)


class SysWriter(Hostile):
    """Finds /sys, debugfs, tracefs, securityfs and the like."""

    def act(self, ctx: Context) -> None:
        found: dict[str, str] = {}
        for name in (
            "sys sys/kernel/uevent_helper sys/power/state sys/kernel/debug sys/kernel/tracing sys/kernel/security "
            "sys/fs/bpf sys/module sys/devices/system/cpu/cpu0/online sys/firmware sys/class/net"
        ).split():
            found[name.replace("/", "_") + "_read"] = attempt(lambda n=name: os.listdir("/" + n) or 1 / 0)
            found[name.replace("/", "_") + "_write"] = attempt(lambda n=name: write("/" + n, b"1"))
        tell(**found)


class NoExec(Hostile):
    """Runs what it wrote: from /tmp, through the loader, mapped, and with an interpreter of its own."""

    def act(self, ctx: Context) -> None:
        with open("/usr/bin/true", "rb") as own, open("/tmp/true", "wb") as f:
            f.write(own.read(1 << 20))
        os.chmod("/tmp/true", 0o755)
        with open("/tmp/script", "w") as f:
            f.write("#!/bin/sh\ntrue\n")
        os.chmod("/tmp/script", 0o755)
        fd = os.open("/tmp/true", os.O_RDONLY)
        libc.mmap.restype = ctypes.c_void_p
        where = libc.mmap(None, ctypes.c_size_t(4096), 5, 2, fd, ctypes.c_long(0))
        mapped = "refused" if where in (None, ctypes.c_void_p(-1).value) else ""
        tell(
            exec=attempt(lambda: os.execv("/tmp/true", ["true"])),
            script=attempt(lambda: os.execv("/tmp/script", ["script"])),
            loader=attempt(lambda: os.execv("/lib64/ld-linux-x86-64.so.2", ["ld.so", "/tmp/true"])),
            by_fd=call(322, 281, fd, b"", 0, 0, 0x1000),
            by_high_fd=call(322, 281, 1000, b"", 0, 0, 0x1000),
            library=attempt(lambda: ctypes.CDLL("/tmp/true")),
            mapped=mapped,
            set_id=attempt(lambda: os.chmod("/tmp/true", 0o6755) or os.execv("/tmp/true", ["true"])),
            su=attempt(lambda: os.execv("/usr/bin/su", ["su"])),
        )
