package pack

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/msup/msup/supervisor/descriptor"
	"github.com/pelletier/go-toml/v2"
)

// SignatureFile holds a package's signature. It lies beside the descriptor and is no part of what it signs.
const SignatureFile = "strategy.sig"

// maxSignatureBytes bounds the signature file.
const maxSignatureBytes = 4096

type signatureFile struct {
	Hash      string `toml:"hash"`
	Key       string `toml:"key"`       // ed25519 public key, base64
	Signature string `toml:"signature"` // base64
}

// signedText is what a signature covers: the hash, bound to its purpose.
func signedText(hash string) []byte { return []byte("msup-package/1 " + hash) }

// Sign makes the content of a SignatureFile (BC-U).
func Sign(hash string, key ed25519.PrivateKey) ([]byte, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("sign package %s: not an ed25519 key", hash)
	}
	b, err := toml.Marshal(signatureFile{
		Hash: hash, Key: base64.StdEncoding.EncodeToString(public), Signature: base64.StdEncoding.EncodeToString(ed25519.Sign(key, signedText(hash))),
	})
	if err != nil {
		return nil, fmt.Errorf("sign package %s: %w", hash, err)
	}
	return b, nil
}

// verifySignature checks a signature file. signer is "" when there is none, or it is by a key that is not trusted; a
// signature that is wrong is an error, not a missing one.
func verifySignature(file, hash string, trusted []string) (signer string, err error) {
	f, err := os.Open(file)
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open the signature: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSignatureBytes+1))
	if err != nil {
		return "", fmt.Errorf("read the signature %s: %w", file, err)
	}
	refuse := func(problem string) (string, error) {
		return "", descriptor.Findings{{Code: descriptor.CodePackage, File: file, Problem: problem, Remedy: "sign the package again, or remove the file"}}
	}
	var s signatureFile
	if len(data) > maxSignatureBytes || toml.Unmarshal(data, &s) != nil {
		return refuse("is not a signature file")
	}
	key, kerr := base64.StdEncoding.DecodeString(s.Key)
	signature, serr := base64.StdEncoding.DecodeString(s.Signature)
	switch {
	case kerr != nil || serr != nil || len(key) != ed25519.PublicKeySize:
		return refuse("holds no ed25519 key and signature in base64")
	case s.Hash != hash:
		return refuse(fmt.Sprintf("signs the package %.64q, but this one is %s", s.Hash, hash))
	case !ed25519.Verify(key, signedText(hash), signature):
		return refuse("the signature does not fit the package")
	case !slices.Contains(trusted, s.Key):
		return "", nil
	}
	return s.Key, nil
}
