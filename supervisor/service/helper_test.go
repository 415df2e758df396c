package service

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"io"
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
