package wasm

const wasiModule = "wasi_snapshot_preview1"

// wasiAllowed are the only imports of a strategy, with their types. The first group works: what is printed goes to the log,
// the clock and the random numbers belong to the step. The second is what Rust's standard library links in any case: there
// is no file, no folder and no socket, so it answers with an error.
var wasiAllowed = map[string]string{
	"fd_write": "iiii:i", "clock_time_get": "iIi:i", "clock_res_get": "ii:i", "random_get": "ii:i",
	"environ_get": "ii:i", "environ_sizes_get": "ii:i", "args_get": "ii:i", "args_sizes_get": "ii:i",
	"proc_exit": "i:", "sched_yield": ":i",

	"fd_close": "i:i", "fd_seek": "iIii:i", "fd_tell": "ii:i", "fd_read": "iiii:i", "fd_pread": "iiiIi:i", "fd_pwrite": "iiiIi:i",
	"fd_sync": "i:i", "fd_datasync": "i:i", "fd_fdstat_get": "ii:i", "fd_fdstat_set_flags": "ii:i",
	"fd_prestat_get": "ii:i", "fd_prestat_dir_name": "iii:i", "fd_filestat_get": "ii:i", "fd_filestat_set_size": "iI:i",
	"fd_filestat_set_times": "iIIi:i", "fd_readdir": "iiiIi:i", "fd_advise": "iIIi:i", "fd_allocate": "iII:i", "fd_renumber": "ii:i",
	"path_open": "iiiiiIIii:i", "path_create_directory": "iii:i", "path_filestat_get": "iiiii:i", "path_filestat_set_times": "iiiiIIi:i",
	"path_link": "iiiiiii:i", "path_readlink": "iiiiii:i", "path_remove_directory": "iii:i", "path_rename": "iiiiii:i",
	"path_symlink": "iiiii:i", "path_unlink_file": "iii:i", "poll_oneoff": "iiii:i",
}
