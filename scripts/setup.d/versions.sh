# What set-up installs, pinned. Sourced by scripts/setup.

# The oldest versions that will do. Go's is the one in go.mod; Rust's is the crate's rust-version (MSRV).
go_oldest=$(sed -n 's/^go \([0-9.]*\).*/\1/p' "$root/go.mod")
rust_oldest=1.85.0
python_oldest=3.11

# Go comes as the zip of the module golang.org/toolchain, which every Go module proxy serves. The SHA-256
# is of that zip; the zips were fetched with the go command, which compared their contents with the
# public checksum database (amd64 h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM=,
# arm64 h1:sYL/O6MqS68ML0kjsQ36WoYIpJqkw60TxizWUYUKQMc=). To move to another version:
#   go mod download -json golang.org/toolchain@v0.0.1-goX.Y.Z.linux-amd64    (and arm64)
#   sha256sum of the file that it names under "Zip"
go_version=1.26.8
go_sha256_amd64=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7
go_sha256_arm64=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99

# Rust comes from Debian 13 (trixie): signed packages, version fixed for the life of that release.
rust_suite=trixie
rust_version=1.85

# What strategies in Rust are compiled to for the Wasm runner.
wasm_target=wasm32-wasip1
