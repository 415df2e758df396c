// Package image provides the root file systems that container runners (L3) start from: the base image that msup builds
// itself, an image that the user brings, or none at all.
//
// Build makes the base image from Debian's signed packages: python3, the SDK of this msup with its one dependency,
// everything compiled to bytecode, mount points in place. Open takes a user's OCI archive, OCI layout folder or `docker
// save` archive and checks it. Either way the result is an Image whose ArchivePath is an OCI archive in msup's own cache
// with exactly one image in it, ready for containerd's import. HostRootfs declares the third kind: the host's own
// interpreter, bound read-only into an empty root.
//
// # What is guaranteed
//
//   - An image in the cache is whole. It is written under another name, synced and renamed; a full disk, a kill or Ctrl-C
//     leaves nothing that a later run could take for an image, and the next build removes the rest.
//   - The base image is a function of its inputs: entries are sorted, times and owners fixed, bytecode does not look at
//     times. The cache key is the hash of those inputs (SDK, lock, suite, mirror, architecture, packages, builder
//     version). Debian's packages are an input by their suite and mirror; Options.Refresh looks for newer ones.
//   - No code of a user's image runs while it is checked. What Python it has follows from its files.
//   - An archive is untrusted: sizes are checked before anything is allocated, every blob against its digest, every layer
//     against its diff id, every path against leaving the root; decompressed bytes and entries are counted.
//   - What Open returns is a copy. The user's file may change or vanish afterwards.
//
// # What you may not assume
//
//   - That an opened image works: its files say that it has Python and the SDK, only starting it shows that they run.
//   - That an image's bytes stay trustworthy on the disk for ever. Import compares every digest again; compare the digest of
//     what was imported with Image.Digest, too.
//   - That two machines build the same base image on different days: Debian publishes fixes. A mirror of a fixed day
//     (snapshot.debian.org) in Options.Mirror makes it so.
//
// # How to test against it
//
// Build needs mmdebstrap and a Debian mirror and takes some 15 seconds, once; afterwards it is found in the cache. Tests
// that only need some image write one with a few files in it, see archive_test.go.
package image
