package stage2

import (
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/wasm"
)

func init() { process.Early(wasm.Programs()...) }
