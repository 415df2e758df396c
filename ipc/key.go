package ipc

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/tinylib/msgp/msgp"
)

// The idempotency key (GT-5) is the first 16 bytes of SHA-256 over a msgpack array. No run, version, epoch or wall time is
// in it, so the same decision has the same key after every restart. The rule is A's domain: this file is the one place
// where it can be replaced.

// Owner is what every key of an instance starts from.
type Owner struct {
	Address Address
	Lineage Lineage
}

// keyBytes is how much of the sum a key holds.
const keyBytes = 16

// keyForm is one of the ways to make an owner's keys different.
type keyForm struct {
	tag     string
	name    string
	numbers []uint64
}

func stepForm(step Step, ordinal uint32) keyForm {
	return keyForm{tag: "S", numbers: []uint64{uint64(step), uint64(ordinal)}}
}

func namedForm(name string) keyForm { return keyForm{tag: "N", name: name} }

func obligationForm(obligation, attempt uint64, ordinal uint32) keyForm {
	return keyForm{tag: "M", numbers: []uint64{obligation, attempt, uint64(ordinal)}}
}

// StepKey is the key of the intent at index ordinal (from 0, as answered) of a step.
func (o Owner) StepKey(step Step, ordinal uint32) Key { return o.key(nil, stepForm(step, ordinal)) }

// NamedKey is the key of an intent to which the strategy has given a name.
func (o Owner) NamedKey(name string) Key { return o.key(nil, namedForm(name)) }

// IntentKey is the key that the strategy's intent must carry: named where name is not empty, else by step and ordinal.
func (o Owner) IntentKey(step Step, ordinal uint32, name string) Key {
	if name != "" {
		return o.NamedKey(name)
	}
	return o.StepKey(step, ordinal)
}

// ObligationKey is the key of an intent that M itself makes.
func (o Owner) ObligationKey(obligation, attempt uint64, ordinal uint32) Key {
	return o.key(nil, obligationForm(obligation, attempt, ordinal))
}

// Shadow makes the keys of the shadow number n; no sink takes them for the live instance's.
func (o Owner) Shadow(n uint64) ShadowOwner { return ShadowOwner{owner: o, shadow: n} }

// ShadowOwner makes the keys of one shadow.
type ShadowOwner struct {
	owner  Owner
	shadow uint64
}

// StepKey is the shadow's Owner.StepKey.
func (s ShadowOwner) StepKey(step Step, ordinal uint32) Key {
	return s.owner.key(&s.shadow, stepForm(step, ordinal))
}

// NamedKey is the shadow's Owner.NamedKey.
func (s ShadowOwner) NamedKey(name string) Key { return s.owner.key(&s.shadow, namedForm(name)) }

// IntentKey is the shadow's Owner.IntentKey.
func (s ShadowOwner) IntentKey(step Step, ordinal uint32, name string) Key {
	if name != "" {
		return s.NamedKey(name)
	}
	return s.StepKey(step, ordinal)
}

// ObligationKey is the shadow's Owner.ObligationKey.
func (s ShadowOwner) ObligationKey(obligation, attempt uint64, ordinal uint32) Key {
	return s.owner.key(&s.shadow, obligationForm(obligation, attempt, ordinal))
}

func (o Owner) key(shadow *uint64, form keyForm) Key {
	var buf [512]byte
	rest := len(form.numbers)
	if form.tag == "N" {
		rest = 1
	}
	b, tag := buf[:0], form.tag
	if shadow == nil {
		b = msgp.AppendArrayHeader(b, uint32(5+rest))
	} else {
		b = msgp.AppendArrayHeader(b, uint32(7+rest))
		tag = "X"
	}
	b = msgp.AppendString(b, tag)
	b = msgp.AppendString(b, string(o.Address.Bot))
	b = msgp.AppendString(b, string(o.Address.Strategy))
	b = msgp.AppendString(b, string(o.Address.Instance))
	b = msgp.AppendBytes(b, o.Lineage[:])
	if shadow != nil {
		b = msgp.AppendUint64(b, *shadow)
		b = msgp.AppendString(b, form.tag)
	}
	if form.tag == "N" {
		b = msgp.AppendString(b, form.name)
	}
	for _, n := range form.numbers {
		b = msgp.AppendUint64(b, n)
	}
	sum := sha256.Sum256(b)
	return Key(hex.EncodeToString(sum[:keyBytes]))
}
