package descriptor

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/msup/msup/ipc"
)

// CodeServiceNotAllowed is given when a strategy's service is at a place that the host does not allow (SB-3, EX-2).
const CodeServiceNotAllowed = ipc.ReasonServiceNotAllowed

// checkSecrets refuses an allowed service that refers to a secret which is not there.
func (w *walker) checkSecrets(p Policy, secrets map[string]SecretRef) {
	for i, one := range p.Services {
		if _, known := secrets[one.Secret]; !known && one.Secret != "" {
			w.add(CodeConflict, index("policy.service", i)+".secret", fmt.Sprintf("there is no secret %s", quote(one.Secret)), "add it to [secrets] as a reference: "+one.Secret+` = { env = "NAME" }`)
		}
	}
}

// services compares what a package asks for with what the host allows, and reads its schemas. Everything that is wrong refuses this
// package, and none of the others.
func (r *resolver) services(p Package) ([]InstanceService, Findings) {
	var out []InstanceService
	var fs Findings
	for i, s := range p.Descriptor.Services {
		one := InstanceService{Service: s}
		refuse := func(code Code, key, problem, remedy string) {
			f := Finding{Code: code, File: p.Descriptor.File, Key: index("service", i) + "." + key, Problem: s.Name + ": " + problem, Remedy: remedy}
			if data, err := readFile(p.Descriptor.File, "the descriptor", "build the package again"); err == nil {
				f.Line, f.Column = Locate(data, f.Key)
			}
			fs = append(fs, f)
		}
		if s.Unix != "" {
			one.Socket = under(r.base(), s.Unix)
		}
		r.allow(&one, refuse)
		one.Request = r.schema(p, s.RequestSchema, "request_schema", refuse)
		if s.ResponseSchema == "" {
			one.Response = []byte(ProposalSchema)
		} else if one.Response = r.schema(p, s.ResponseSchema, "response_schema", refuse); one.Response != nil && s.Kind == ServiceLLM {
			if problem := holdsProposals(one.Response); problem != "" {
				refuse(CodeServiceSchema, "response_schema", s.ResponseSchema+": "+problem, "require it, or leave response_schema out")
			}
		}
		out = append(out, one)
	}
	return out, fs
}

// base is the folder that relative sockets of services count from: the deployment's, or the working folder of the short form.
func (r *resolver) base() string {
	base, err := filepath.Abs(filepath.Dir(r.file.File))
	if err != nil || r.file.File == "" {
		base, _ = filepath.Abs(".") // without a working folder the path stays relative, and no entry allows it
	}
	return base
}

// allow finds the entry of the host's list.
func (r *resolver) allow(one *InstanceService, refuse func(code Code, key, problem, remedy string)) {
	host, at, entry := one.Host(), "url", ""
	if host == "" {
		at, entry = "unix", fmt.Sprintf("[[policy.service]] with unix = %q", one.Socket)
	} else {
		entry = fmt.Sprintf("[[policy.service]] with host = %q", host)
	}
	b := r.file.Boundary
	if one.Socket != "" && slices.Contains([]string{b.Market, b.Execution, b.Risk}, one.Socket) {
		refuse(CodeServiceNotAllowed, at, fmt.Sprintf("%s is a socket of the boundary", quote(one.Socket)), "a service has a socket of its own")
		return
	}
	i := slices.IndexFunc(r.file.Policy.Services, func(a AllowedService) bool { return a.Host == host && a.Unix == one.Socket })
	if i < 0 {
		where := "in the deployment's file"
		if r.file.File == "" {
			where = "in a deployment's file (msup run -c msup.toml): the short form allows no service"
		}
		refuse(CodeServiceNotAllowed, at, "the host does not allow "+quote(host+one.Socket), "if it should, add "+entry+" "+where)
		return
	}
	one.Allowed = r.file.Policy.Services[i]
	one.Secret = r.file.Secrets[one.Allowed.Secret]
	if one.PerSecond > one.Allowed.PerSecond {
		refuse(CodePolicy, "per_second", fmt.Sprintf("%v requests a second are asked for, the host allows %v", one.PerSecond, one.Allowed.PerSecond),
			"ask for less, or raise per_second of its [[policy.service]]")
	}
}

// schema reads and checks one schema of a package; nil when it was refused.
func (r *resolver) schema(p Package, name, key string, refuse func(code Code, key, problem, remedy string)) []byte {
	data, fs := readFile(filepath.Join(p.Dir, name), "the schema", "add it to the package")
	if fs != nil {
		refuse(CodeFile, key, name+": "+fs[0].Problem, "add the file to the package")
		return nil
	}
	if problem := CheckServiceSchema(data); problem != "" {
		refuse(CodeServiceSchema, key, name+": "+problem, "describe exactly what may be said: fields, choices, short codes and numbers")
		return nil
	}
	return data
}
