package topology

import (
	"os/user"
	"regexp"
	"strconv"
	"time"
)

func (d *decoder) supervisor(to *Supervisor) func(node) {
	return func(n node) {
		d.fields(n,
			field{"heartbeat_timeout", d.duration(&to.HeartbeatTimeout, time.Second, time.Hour)},
			field{"standby", d.boolean(&to.Standby)},
			field{"backoff", func(n node) {
				d.fields(n,
					field{"first", d.duration(&to.Backoff.First, 0, time.Hour)},
					field{"limit", d.duration(&to.Backoff.Limit, 0, time.Hour)},
					field{"reset", d.duration(&to.Backoff.Reset, time.Millisecond, 24*time.Hour)})
				if to.Backoff.First > to.Backoff.Limit {
					d.fail(n, "first (%v) is longer than limit (%v)", to.Backoff.First, to.Backoff.Limit)
				}
			}})
	}
}

func (d *decoder) servers(t *Topology) func(node) {
	return func(n node) {
		d.named(n, "a server", func(name string, n node) {
			s := Server{Name: name, Standby: t.Supervisor.Standby}
			given := d.fields(n,
				field{"kind", choice(d, &s.Kind, Storage, Switch)},
				field{"memory", d.size(&s.Memory, 16<<20)},
				field{"standby", d.boolean(&s.Standby)})
			if !given["kind"] {
				d.fail(n, "has no kind; allowed: %s, %s", Storage, Switch)
			}
			t.Servers = append(t.Servers, s)
		})
	}
}

func (d *decoder) volumes(t *Topology) func(node) {
	return func(n node) {
		d.named(n, "a volume", func(name string, n node) { t.Volumes = append(t.Volumes, d.volume(t, name, n)) })
	}
}

func (d *decoder) volume(t *Topology, name string, n node) Volume {
	v := Volume{Name: name, BlockSize: blockSizeDefault}
	blockSize := int64(blockSizeDefault)
	backing := func(b Backing, decode func(node)) func(node) {
		return func(n node) {
			if v.Backing != "" {
				d.fail(n, "the volume has a %s already; give one of file, device, memory", v.Backing)
				return
			}
			v.Backing = b
			decode(n)
		}
	}
	given := d.fields(n,
		field{"server", d.server(&v.Server, t, Storage)},
		field{"file", backing(File, d.text(&v.Path))},
		field{"device", backing(Device, d.text(&v.Path))},
		field{"memory", backing(Memory, d.size(&v.Size, blockSizeMin))},
		field{"size", d.size(&v.Size, blockSizeMin)},
		field{"create", d.boolean(&v.Create)},
		field{"read_only", d.boolean(&v.ReadOnly)},
		field{"block_size", d.size(&blockSize, blockSizeMin)})
	if blockSize > blockSizeMax || blockSize&(blockSize-1) != 0 {
		d.fail(n, "block_size is %s; allowed: a power of two from %s to %s", FormatSize(blockSize), FormatSize(blockSizeMin), FormatSize(blockSizeMax))
		blockSize = blockSizeDefault
	}
	v.BlockSize = int(blockSize)
	switch {
	case !given["server"]:
		d.fail(n, "has no server; name the storage server that serves it")
	case v.Backing == "":
		d.fail(n, "is stored nowhere; give one of file, device, memory")
	case v.Backing == Memory && given["size"]:
		d.fail(n, "has both memory and size; memory: %s says it all", FormatSize(v.Size))
	case v.Create && v.Backing != File:
		d.fail(n, "create is for files; this is a %s", v.Backing)
	case v.Create && v.Size == 0:
		d.fail(n, "create needs a size")
	case v.Create && v.ReadOnly, v.Backing == Memory && v.ReadOnly:
		d.fail(n, "is read_only, but nothing is in it yet")
	case v.Size%blockSize != 0:
		d.fail(n, "its size %s is not a multiple of its block_size %s", FormatSize(v.Size), FormatSize(blockSize))
	}
	return v
}

func (d *decoder) applications(t *Topology) func(node) {
	return func(n node) {
		taken := &claims{inNetwork: map[claim]string{}, published: map[published][]listener{}}
		d.named(n, "an application", func(name string, n node) {
			a := Application{Name: name, UID: SupervisorUser}
			limits := Limits{Requests: requestsDefault, Bytes: bytesDefault}
			first := len(t.Grants)
			d.fields(n,
				field{"user", d.user(&a.UID)},
				field{"command", func(n node) { a.Command = d.words(n) }},
				field{"directory", d.text(&a.Directory)},
				field{"environment", func(n node) { a.Environment = d.environment(n) }},
				field{"memory", d.size(&a.Memory, 1<<20)},
				field{"limits", d.limits(&limits)},
				field{"networks", d.ports(t, name, taken)},
				field{"volumes", func(n node) {
					for _, e := range d.entries(n) {
						g := Grant{To: name, Volume: e.name}
						d.mustExist(e.value, e.name, "volume", func() []string { return volumeNames(t) })
						choice(d, &g.Access, ReadOnly, ReadWrite)(e.value)
						d.grant(t, e.value, g)
					}
				}})
			for i := range t.Grants[first:] {
				t.Grants[first+i].Limits = limits
			}
			t.Applications = append(t.Applications, a)
		})
	}
}

func (d *decoder) grants(t *Topology) func(node) {
	return func(n node) {
		for _, n := range d.list(n) {
			g := Grant{Limits: Limits{Requests: requestsDefault, Bytes: bytesDefault}}
			given := d.fields(n,
				field{"to", d.reference(&g.To, "application or server", func() []string { return append(applicationNames(t), serverNames(t)...) })},
				field{"volume", d.reference(&g.Volume, "volume", func() []string { return volumeNames(t) })},
				field{"access", choice(d, &g.Access, ReadOnly, ReadWrite)},
				field{"limits", d.limits(&g.Limits)})
			for _, key := range []string{"to", "volume", "access"} {
				if !given[key] {
					d.fail(n, "has no %s", key)
				}
			}
			d.grant(t, n, g)
		}
	}
}

// grant adds g, whose volume may be declared further down.
func (d *decoder) grant(t *Topology, n node, g Grant) {
	pair := [2]string{g.To, g.Volume}
	if d.granted[pair] {
		d.fail(n, "volume %q is granted to %q twice", g.Volume, g.To)
		return
	}
	if len(t.Grants) == declarationsMax {
		d.fail(n, "one too many: %d grants are allowed in all", declarationsMax)
		return
	}
	d.granted[pair] = true
	index := len(t.Grants)
	t.Grants = append(t.Grants, g)
	d.later = append(d.later, func() {
		v, ok := t.Volume(g.Volume)
		if !ok {
			return // said already
		}
		if v.ReadOnly && g.Access == ReadWrite {
			d.fail(n, "grants rw, but volume %q is read_only", v.Name)
		}
		if l := t.Grants[index].Limits; l.Bytes < int64(v.BlockSize) {
			d.fail(n, "its limit of %s in flight is less than one block of volume %q, %s", FormatSize(l.Bytes), v.Name, FormatSize(int64(v.BlockSize)))
		}
	})
}

func (d *decoder) limits(to *Limits) func(node) {
	return func(n node) {
		d.fields(n,
			field{"requests", d.integer(&to.Requests, 1, requestsMax)},
			field{"bytes", d.size(&to.Bytes, blockSizeMin)})
	}
}

func (d *decoder) words(n node) []string {
	var words []string
	for _, item := range d.list(n) {
		var word string
		d.text(&word)(item)
		words = append(words, word)
	}
	if len(words) > commandWordsMax {
		d.fail(n, "has %d words, at most %d are allowed", len(words), commandWordsMax)
	}
	return words
}

var variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (d *decoder) environment(n node) map[string]string {
	variables := map[string]string{}
	for _, e := range d.entries(n) {
		var value string
		if !variableForm.MatchString(e.name) {
			d.fail(e.value, "is no name of a variable: use letters, digits and _")
			continue
		}
		if !isNull(e.value) && e.value.Value != "" {
			d.text(&value)(e.value)
		}
		variables[e.name] = value
	}
	return variables
}

var userForm = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,31}$`)

func (d *decoder) user(to *int) func(node) {
	return func(n node) {
		if uid, err := strconv.ParseUint(n.Value, 10, 31); err == nil {
			*to = int(uid)
			return
		}
		if n.Value == "any" {
			*to = AnyUser
			return
		}
		if !userForm.MatchString(n.Value) {
			d.fail(n, `is %s; allowed: the name or number of a user, or "any"`, kindOf(n))
			return
		}
		found, err := user.Lookup(n.Value)
		if err != nil {
			d.fail(n, "this host has no user %q", n.Value)
			return
		}
		if *to, err = strconv.Atoi(found.Uid); err != nil {
			d.fail(n, "user %q has the number %q", n.Value, found.Uid)
		}
	}
}
