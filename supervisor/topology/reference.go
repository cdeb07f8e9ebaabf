package topology

// reference decodes the name of something declared anywhere in the file.
func (d *decoder) reference(to *string, what string, declared func() []string) func(node) {
	return func(n node) {
		d.text(to)(n)
		if *to != "" {
			d.mustExist(n, *to, what, declared)
		}
	}
}

// server decodes the name of a server of a kind.
func (d *decoder) server(to *string, t *Topology, kind Kind) func(node) {
	return func(n node) {
		var name string
		d.text(&name)(n)
		if *to = name; name == "" {
			return
		}
		d.later = append(d.later, func() {
			s, ok := t.Server(name)
			switch {
			case !ok:
				d.fail(n, "no server is called %q; %s", name, allowed(name, serversOf(t, kind)))
			case s.Kind != kind && s.Kind != "": // without a kind it is an error already
				d.fail(n, "server %q is of kind %s, and this needs one of kind %s; %s", name, s.Kind, kind, allowed(name, serversOf(t, kind)))
			}
		})
	}
}

// mustExist checks, once all is declared, that the name is.
func (d *decoder) mustExist(n node, name, what string, declared func() []string) {
	d.later = append(d.later, func() {
		names := declared()
		for _, each := range names {
			if each == name {
				return
			}
		}
		d.fail(n, "no %s is called %q; %s", what, name, allowed(name, names))
	})
}

func serverNames(t *Topology) []string {
	return names(t.Servers, func(s Server) (string, bool) { return s.Name, true })
}

func serversOf(t *Topology, kind Kind) []string {
	return names(t.Servers, func(s Server) (string, bool) { return s.Name, s.Kind == kind || s.Kind == "" })
}

func networkNames(t *Topology) []string {
	return names(t.Networks, func(w Network) (string, bool) { return w.Name, true })
}

func volumeNames(t *Topology) []string {
	return names(t.Volumes, func(v Volume) (string, bool) { return v.Name, true })
}

func applicationNames(t *Topology) []string {
	return names(t.Applications, func(a Application) (string, bool) { return a.Name, true })
}

func names[T any](all []T, nameOf func(T) (string, bool)) []string {
	var list []string
	for _, each := range all {
		if name, ok := nameOf(each); ok {
			list = append(list, name)
		}
	}
	return list
}
