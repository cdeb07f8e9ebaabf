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

func storageServers(t *Topology) []string {
	return names(t.Servers, func(s Server) (string, bool) { return s.Name, s.Kind == Storage || s.Kind == "" })
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
