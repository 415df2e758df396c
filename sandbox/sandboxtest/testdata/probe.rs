//! The programs of probe.py as a native binary: probe NAME [ARG...]. Each does the same thing, and reports it in the same words.
//!
//! The standard library only, so that rustc alone makes it; what Rust would not let happen by itself is asked of the C library.

use std::ffi::{c_int, c_long, c_ulong, c_void, CString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, process, ptr, thread};

extern "C" {
    fn close(fd: c_int) -> c_int;
    fn dup(fd: c_int) -> c_int;
    fn execv(path: *const i8, argv: *const *const i8) -> c_int;
    fn fork() -> c_int;
    fn getgroups(size: c_int, list: *mut u32) -> c_int;
    fn gethostname(name: *mut u8, len: usize) -> c_int;
    fn getppid() -> c_int;
    fn getrlimit(resource: c_int, limit: *mut [u64; 2]) -> c_int;
    fn getrusage(who: c_int, usage: *mut [c_long; 18]) -> c_int;
    fn getuid() -> u32;
    fn if_nameindex() -> *mut c_void;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

const IGNORE: usize = 1; // SIG_IGN

/// System calls that nobody may make, with their numbers on x86-64 and arm64.
const CALLS: &str = include_str!("calls.txt");

fn connect() -> UnixStream {
    UnixStream::connect(env::var("MSUP_SOCKET").expect("the socket's name")).expect("the socket")
}

fn report(s: &mut UnixStream, what: &str) {
    writeln!(s, "{{{what}}}").expect("a report");
}

/// Waits until the supervisor hangs up, as probe.py does and says why.
fn stay(s: &mut UnixStream) {
    while matches!(s.read(&mut [0; 64]), Ok(n) if n > 0) {}
}

fn rest() -> ! {
    loop {
        thread::sleep(Duration::from_secs(10_000));
    }
}

/// What came of it: "" when it was possible, else the name of the error.
fn attempt<T>(did: io::Result<T>) -> String {
    let Err(error) = did else { return String::new() };
    let names = [
        (1, "EPERM"),
        (2, "ENOENT"),
        (3, "ESRCH"),
        (9, "EBADF"),
        (11, "EAGAIN"),
        (12, "ENOMEM"),
        (13, "EACCES"),
        (14, "EFAULT"),
        (22, "EINVAL"),
        (24, "EMFILE"),
        (27, "EFBIG"),
        (28, "ENOSPC"),
        (30, "EROFS"),
        (38, "ENOSYS"),
        (97, "EAFNOSUPPORT"),
    ];
    match error.raw_os_error() {
        Some(code) => names
            .iter()
            .find(|(n, _)| *n == code)
            .map_or(code.to_string(), |(_, name)| name.to_string()),
        None => format!("{:?}", error.kind()),
    }
}

/// What a call of the C library returned, as Rust says it.
fn told(value: impl Into<i64>) -> io::Result<i64> {
    let value = value.into();
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

fn list(texts: impl IntoIterator<Item = String>) -> String {
    format!(
        "[{}]",
        texts.into_iter().map(|t| quote(&t)).collect::<Vec<_>>().join(",")
    )
}

fn object(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    format!(
        "{{{}}}",
        pairs
            .into_iter()
            .map(|(k, v)| quote(&k) + ":" + &quote(&v))
            .collect::<Vec<_>>()
            .join(",")
    )
}

fn echo() {
    let mut s = connect();
    let mut buffer = [0; 65536];
    while let Ok(n) = s.read(&mut buffer) {
        if n == 0 {
            break;
        }
        s.write_all(&buffer[..n]).expect("an answer");
    }
}

/// Deaf to everything, and busy.
fn spin() {
    for n in (1..65).filter(|n| ![9, 19, 32, 33].contains(n)) {
        unsafe { signal(n, IGNORE) };
    }
    report(&mut connect(), r#""spinning":true"#);
    loop {
        std::hint::spin_loop();
    }
}

fn memory() {
    report(&mut connect(), r#""ready":true"#);
    let mut hoard = Vec::new();
    loop {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(4 << 20).is_err() {
            process::exit(1);
        }
        block.resize(4 << 20, 1);
        hoard.push(std::hint::black_box(block));
    }
}

fn threads() {
    let mut s = connect();
    let (mut n, mut why) = (0, String::new());
    while n < 5000 && why.is_empty() {
        why = attempt(thread::Builder::new().stack_size(64 << 10).spawn(|| rest()));
        n += usize::from(why.is_empty());
    }
    report(&mut s, &format!(r#""threads":{n},"why":{}"#, quote(&why)));
    stay(&mut s);
}

fn cpu(args: &[String]) {
    fn used() -> f64 {
        let mut usage = [0; 18]; // user time, system time, and what does not matter here
        told(unsafe { getrusage(0, &mut usage) }).expect("the usage");
        (usage[0] + usage[2]) as f64 + (usage[1] + usage[3]) as f64 / 1e6
    }
    let mut s = connect();
    let seconds = args[0].parse().expect("seconds");
    let (begin, before) = (Instant::now(), used()); // what the sandbox used on the way here is not the program's
    while begin.elapsed().as_secs_f64() < seconds {}
    let (seconds, took) = (used() - before, begin.elapsed().as_secs_f64());
    report(&mut s, &format!(r#""seconds":{seconds},"took":{took}"#));
    stay(&mut s);
}

fn files() {
    let mut s = connect();
    let (mut n, mut why) = (0, String::new());
    while n < 100_000 && why.is_empty() {
        why = attempt(told(unsafe { dup(0) }));
        n += usize::from(why.is_empty());
    }
    report(&mut s, &format!(r#""files":{n},"why":{}"#, quote(&why)));
    stay(&mut s);
}

fn tmp() {
    unsafe { signal(25, IGNORE) }; // SIGXFSZ: the error is wanted, as Python has it
    let mut s = connect();
    let (mut size, mut why) = (0, String::new());
    let mut big = File::create("/tmp/big").expect("a file in /tmp");
    while size < (1 << 34) && why.is_empty() {
        match big.write(&[0; 1 << 20]) {
            Ok(n) => size += n,
            error => why = attempt(error),
        }
    }
    drop(big); // what is open keeps its blocks
    fs::remove_file("/tmp/big").expect("the file again");
    let (mut made, mut inodes) = (0, String::new());
    while made < 1_000_000 && inodes.is_empty() {
        inodes = attempt(fs::create_dir(format!("/tmp/d{made}")));
        made += usize::from(inodes.is_empty());
    }
    fs::remove_dir("/tmp/d1").expect("the folder again");
    fs::write("/tmp/d0/program", "#!/bin/sh\n").expect("a program");
    fs::set_permissions("/tmp/d0/program", fs::Permissions::from_mode(0o755)).expect("its mode");
    let execute = execute("/tmp/d0/program");
    let (why, inodes, execute) = (quote(&why), quote(&inodes), quote(&execute));
    report(
        &mut s,
        &format!(r#""bytes":{size},"why":{why},"made":{made},"inodes":{inodes},"execute":{execute}"#),
    );
    stay(&mut s);
}

/// Becomes another program, or says why not.
fn execute(path: &str) -> String {
    let path = CString::new(path).expect("a path");
    attempt(told(unsafe {
        execv(path.as_ptr().cast(), [path.as_ptr().cast(), ptr::null()].as_ptr())
    }))
}

fn sockets() {
    let mut s = connect();
    let mut made = Vec::new();
    for family in (0..64).filter(|family| *family != 1) {
        for kind in [1, 2, 3, 5] {
            if let Ok(fd) = told(unsafe { socket(family, kind, 0) }) {
                unsafe { close(fd as c_int) };
                made.push(format!("[{family},{kind}]"));
            }
        }
    }
    let listen = SocketAddr::from_abstract_name(b"x").and_then(|name| UnixListener::bind_addr(&name));
    report(
        &mut s,
        &format!(
            r#""made":[{}],"listen":{}"#,
            made.join(","),
            quote(&attempt(listen))
        ),
    );
    stay(&mut s);
}

/// System calls that nobody may make. Refused means an error that comes from the wall, not from the arguments.
fn calls() {
    let mut s = connect();
    let zero: c_ulong = 0;
    let column = if cfg!(target_arch = "x86_64") { 1 } else { 2 };
    let mut got = Vec::new();
    for line in CALLS.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let number: c_long = words[column].parse().expect("a number");
        got.push((
            words[0].to_string(),
            attempt(told(unsafe {
                syscall(number, zero, zero, zero, zero, zero, zero)
            })),
        ));
    }
    let mut also = |name: &str, why: String| got.push((name.to_string(), why));
    if cfg!(target_arch = "x86_64") {
        let number: c_long = 0x4000_0000 + 41; // of x32's table
        also(
            "x32 socket",
            attempt(told(unsafe { syscall(number, 2 as c_ulong, 1 as c_ulong, zero) })),
        );
    }
    also("fork", attempt(told(unsafe { fork() })));
    also("vfork", attempt(process::Command::new("/usr/bin/true").spawn()));
    also(
        "execve",
        execute(&env::current_exe().map_or("/app/probe".into(), |path| path.to_string_lossy().into_owned())),
    );
    also("prctl dumpable", attempt(told(unsafe { prctl(4, 0, 0, 0, 0) })));
    also("prctl pdeathsig", attempt(told(unsafe { prctl(1, 0, 0, 0, 0) })));
    report(&mut s, &format!(r#""refused":{}"#, object(got)));
    stay(&mut s);
}

fn names(folder: &str) -> Vec<String> {
    fs::read_dir(folder).map_or(Vec::new(), |found| {
        found
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()
    })
}

fn link(path: String) -> Option<String> {
    fs::read_link(path)
        .ok()
        .map(|target| target.to_string_lossy().into_owned())
}

/// What can be seen and touched from inside.
fn look(args: &[String]) {
    let mut s = connect();
    let bases = [
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
        "/app",
    ];
    let writable = bases
        .iter()
        .filter(|base| File::create(Path::new(base).join("written")).is_ok())
        .map(|base| base.to_string());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key: &str, missing: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"))
            .unwrap_or(missing)
            .to_string()
    };
    let caps = ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"]
        .map(|key| of(key, "0").trim_matches(['0', '\n', ' ']).to_string());
    let fds = names("/proc/self/fd")
        .into_iter()
        .filter_map(|fd| Some(format!("{fd} {}", link(format!("/proc/self/fd/{fd}"))?)));
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let namespaces = kinds
        .iter()
        .filter_map(|kind| Some((kind.to_string(), link(format!("/proc/self/ns/{kind}"))?)));
    let mut host = [0; 256];
    told(unsafe { gethostname(host.as_mut_ptr(), host.len()) }).expect("the host's name");
    let host = String::from_utf8_lossy(&host).trim_end_matches('\0').to_string();
    let mut groups = [0; 256];
    let count = told(unsafe { getgroups(groups.len() as c_int, groups.as_mut_ptr()) }).expect("the groups");
    let mut core = [0; 2];
    told(unsafe { getrlimit(4, &mut core) }).expect("the limit on core dumps");
    let other = args[0].parse().expect("a process id");
    let interfaces = if unsafe { if_nameindex() }.is_null() {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    };
    let ids = unsafe { (getuid(), getppid()) };
    let what = [
        format!(r#""env":{}"#, object(env::vars())),
        format!(
            r#""root":{}"#,
            list(
                ["etc", "home", "root", "var", "sys", "boot"]
                    .map(String::from)
                    .into_iter()
                    .filter(|f| Path::new("/").join(f).exists())
            )
        ),
        format!(r#""list_root":{}"#, quote(&attempt(fs::read_dir("/")))),
        format!(r#""writable":{}"#, list(writable)),
        format!(r#""uid":{},"pid":{},"ppid":{}"#, ids.0, process::id(), ids.1),
        format!(
            r#""pids":{}"#,
            list(
                names("/proc")
                    .into_iter()
                    .filter(|p| p.bytes().all(|b| b.is_ascii_digit()))
            )
        ),
        format!(
            r#""fds":{},"namespaces":{},"caps":{}"#,
            list(fds),
            object(namespaces),
            list(caps)
        ),
        format!(
            r#""no_new_privs":{},"host":{}"#,
            quote(&of("NoNewPrivs", "1")),
            quote(&host)
        ),
        format!(r#""groups":{:?},"core":{core:?}"#, &groups[..count as usize]),
        format!(r#""kill":{}"#, quote(&attempt(told(unsafe { kill(other, 0) })))),
        format!(
            r#""sysctl":{},"sysfs":{}"#,
            Path::new("/proc/sys").exists(),
            Path::new("/sys").is_dir()
        ),
        format!(r#""interfaces":{}"#, quote(&attempt(interfaces))),
        format!(
            r#""chmod":{}"#,
            quote(&attempt(fs::set_permissions(
                "/run/msup",
                fs::Permissions::from_mode(0o777)
            )))
        ),
        format!(r#""unlink":{}"#, quote(&attempt(fs::remove_file("/run/msup/s")))),
        format!(
            r#""devices":{}"#,
            quote(
                &(attempt(File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut [0; 8])))
                    + &attempt(fs::write("/dev/null", "x")))
            )
        ),
    ];
    report(&mut s, &what.join(","));
    stay(&mut s);
}

/// The bytes of a text with \n and \xHH in it.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        out.push(match (b, if b == b'\\' { rest.next() } else { None }) {
            (_, Some(b'n')) => b'\n',
            (_, Some(b'x')) => {
                let digits = String::from_utf8(rest.by_ref().take(2).collect()).expect("two digits");
                u8::from_str_radix(&digits, 16).expect("two digits")
            }
            (b, _) => b,
        });
    }
    out
}

fn flood(args: &[String]) {
    let block = unescape(&args[0]).repeat(1000);
    report(&mut connect(), r#""ready":true"#);
    // Descriptor 1 itself: std::io::stdout has a buffer that waits for the end of a line.
    let mut out = unsafe { File::from_raw_fd(1) };
    while out.write(&block).is_ok() {}
}

fn second() {
    let mut s = connect();
    s.read_exact(&mut [0]).expect("a word");
    let name = env::var("MSUP_SOCKET").expect("the socket's name");
    report(
        &mut s,
        &format!(r#""second":{}"#, quote(&attempt(UnixStream::connect(name)))),
    );
    stay(&mut s);
}

fn crash() {
    report(&mut connect(), r#""ready":true"#);
    unsafe { ptr::read_volatile(8 as *const u8) };
}

fn hog() {
    for _ in 0..4 {
        thread::spawn(|| rest());
    }
    report(&mut connect(), r#""ready":true"#);
    rest();
}

/// A one-shot job without a socket that writes into its output folder.
fn job(args: &[String]) {
    let out = Path::new(&args[0]);
    fs::write(out.join("made"), "by the job").expect("a file");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(out.join("deep/er"))
        .expect("folders");
    let found = if Path::new("/run/msup").exists() {
        "True"
    } else {
        "False"
    };
    println!(
        "socket: {} {found}",
        env::var("MSUP_SOCKET").unwrap_or("None".into())
    );
}

/// Fills the output folder of a job until it is killed, slowly enough to be caught in the act.
fn fill(args: &[String]) {
    for n in 0.. {
        if args[1] == "folders" {
            fs::create_dir(format!("{}/d{n}", args[0])).expect("a folder");
        } else {
            fs::write(format!("{}/f{n}", args[0]), [0; 64 << 10]).expect("a file");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn lines() {
    println!("first");
    eprintln!("second \x1b[31mred");
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let (name, args) = args.split_first().expect("the name of a program");
    match name.as_str() {
        "echo" => echo(),
        "exit" => process::exit(args[0].parse().expect("a status")),
        "spin" => spin(),
        "memory" => memory(),
        "threads" => threads(),
        "cpu" => cpu(args),
        "files" => files(),
        "tmp" => tmp(),
        "sockets" => sockets(),
        "calls" => calls(),
        "look" => look(args),
        "flood" => flood(args),
        "second" => second(),
        "crash" => crash(),
        "hog" => hog(),
        "job" => job(args),
        "fill" => fill(args),
        "lines" => lines(),
        "never" => rest(),
        _ => panic!("there is no program {name}"),
    }
}
