package image

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/python"
)

// Kind says where a root file system comes from.
type Kind string

// The kinds of images (SB-L3).
const (
	KindBase       Kind = "base"        // built by msup
	KindUser       Kind = "user"        // brought by the user, checked, copied into the cache
	KindHostRootfs Kind = "host-rootfs" // none: the host's interpreter bound read-only into an empty root
)

// Image is a root file system with Python and the SDK in it, and how to call that Python (NN-1, SB-L3).
type Image struct {
	Kind Kind `json:"kind"`
	// Name is what the archive calls the image: the reference under which containerd knows it after the import.
	Name string `json:"name,omitempty"`
	// ArchivePath is an OCI archive with this one image; empty for a host rootfs.
	ArchivePath string `json:"archive,omitempty"`
	ArchiveSize int64  `json:"archive_bytes,omitempty"`
	// Digest of the image's manifest, "sha256:…". What was imported must have it.
	Digest string `json:"digest,omitempty"`
	Arch   string `json:"arch"` // as Go names it
	// Python is the version of the interpreter: "3.11.2", or "3.11" where only the files were looked at.
	Python      string `json:"python"`
	Interpreter string `json:"interpreter"` // absolute path inside
	// SitePackages is the folder inside that the SDK lies in; the interpreter finds it there by itself.
	SitePackages string `json:"site_packages,omitempty"`
	SDK          string `json:"sdk"` // version of the SDK inside
	// Env is the complete environment of a runner (NN-7), but for what a package adds.
	Env []string `json:"env"`
	// Binds are what a host rootfs shows of the host; empty for the others.
	Binds []sandbox.Bind `json:"-"`

	Source  *Source   `json:"source,omitempty"` // the user's file
	BuiltAt time.Time `json:"built_at,omitzero"`
	Key     string    `json:"key,omitempty"` // hash of all inputs: the name in the cache
}

// Source is the file that an image was copied from, as it was then.
type Source struct {
	Path    string    `json:"path"`
	Bytes   int64     `json:"bytes"`
	ModTime time.Time `json:"mod_time"`
	Inode   uint64    `json:"inode"`
}

// Argv calls the interpreter: Argv("-m", "msup.shared"). See package python for why not -I.
func (i Image) Argv(args ...string) []string {
	return append([]string{i.Interpreter, "-P", "-s"}, args...)
}

// MountPoints are the folders that every image has, because its root is read-only when it runs: what a container fills
// itself, and where a package's code and dependencies go.
func MountPoints() []string {
	return []string{"/dev", "/layer", "/proc", "/run", sandbox.SocketDir, "/strategy", "/tmp"}
}

// HostRootfs declares the host's own interpreter as the image.
func HostRootfs(rt python.Runtime, sdk string) Image {
	return Image{Kind: KindHostRootfs, Arch: runtime.GOARCH, Python: rt.Version, Interpreter: rt.Interpreter, SDK: sdk,
		Env: slices.Clone(rt.Env), Binds: slices.Clone(rt.Binds)}
}

// inherited are the variables of a user's image that its Python may need to find itself.
var inherited = []string{"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"}

// environment is what every Python runner gets, with the few things that belong to the image.
func environment(image map[string]string, interpreter string) []string {
	env := slices.DeleteFunc(python.Env(), func(kv string) bool { return strings.HasPrefix(kv, "PATH=") })
	env = append(env, "PATH="+path.Dir(interpreter)+":/usr/bin:/bin")
	for _, name := range inherited {
		if value := image[name]; value != "" && !strings.ContainsRune(value, 0) {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// refuse is an error about an image: where, why, what to do.
func refuse(reason sandbox.ReasonCode, where, remedy, format string, args ...any) error {
	return &sandbox.Error{Reason: reason, Op: where, Err: fmt.Errorf(format, args...), Remedy: remedy}
}
