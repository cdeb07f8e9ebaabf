// Package topology reads quintet.yaml, the declarative description of a
// running system: which servers there are, what they serve, which
// applications exist and what each may use. It is also the capability list: a
// session is allowed exactly if a [Grant] or a [Port] says so.
//
// [Load] collects all errors of a file rather than the first, each with its
// line, column and key, what is allowed there, and the nearest key if one was
// misspelt. A Topology that Load returned is valid: every name in it refers to
// something, every number is in range. It is not changed afterwards and may be
// read concurrently.
//
// The file belongs to whoever runs the supervisor and is trusted as that user
// is; reading it is still bounded in size and depth (documentBytesMax,
// depthMax), so that a damaged file fails instead of exhausting memory.
package topology

import (
	"path/filepath"
	"time"
)

// Topology is the content of a file. Slices are in the order of the file.
type Topology struct {
	File         string // path it was read from
	Supervisor   Supervisor
	Servers      []Server
	Volumes      []Volume
	Applications []Application
	Grants       []Grant // of applications' volumes sections and of grants
	Networks     []Network
	Uplinks      []Uplink
	Ports        []Port // of applications' networks sections
}

// Supervisor holds the settings of the supervisor itself.
type Supervisor struct {
	HeartbeatTimeout time.Duration // a server silent for longer is hung and killed
	Standby          bool          // keep a warm standby of each server, unless the server says otherwise
	Backoff          Backoff
}

// Backoff bounds the rate of restarts of a server that keeps dying.
type Backoff struct {
	First time.Duration // pause after the second death in a row; doubles with each further
	Limit time.Duration // longest pause
	Reset time.Duration // a server that lived this long starts afresh
}

// Kind is what a server serves.
type Kind string

const (
	// Storage servers serve volumes.
	Storage Kind = "storage"
	// Switch servers switch the frames of networks.
	Switch Kind = "network"
)

// Server is one isolated server.
type Server struct {
	Name    string
	Kind    Kind
	Memory  int64 // bytes, by cgroup; 0: unlimited
	Standby bool
}

// Backing is what a volume is stored on.
type Backing string

const (
	File   Backing = "file"
	Device Backing = "device"
	Memory Backing = "memory" // kept by the supervisor; gone when that ends
)

// Volume is a block device served by a storage server.
type Volume struct {
	Name      string
	Server    string
	Backing   Backing
	Path      string // of the file or device; Load makes it absolute
	Size      int64  // bytes, a multiple of BlockSize; 0: what the file or device has
	Create    bool   // create the file, with this size, if there is none
	ReadOnly  bool
	BlockSize int // bytes, a power of two from 512 to 64 KiB
}

// Application is a program that may connect to servers.
type Application struct {
	Name        string
	UID         int      // user whose processes may connect under this name; AnyUser or SupervisorUser
	Command     []string // what `quintet run` starts; empty: given on its command line
	Directory   string   // where it starts; empty: where `quintet run` was called
	Environment map[string]string
	Memory      int64 // bytes, by cgroup; 0: unlimited
}

// Values of Application.UID that are not users.
const (
	SupervisorUser = -1 // whoever runs the supervisor: the default
	AnyUser        = -2
)

// Access is the right to a volume.
type Access string

const (
	ReadOnly  Access = "ro"
	ReadWrite Access = "rw"
)

// Grant allows an application, or a server acting as a client, to use a volume.
type Grant struct {
	To     string // application or server
	Volume string
	Access Access
	Limits Limits
}

// Limits bound what one session may have in flight.
type Limits struct {
	Requests int   // 1..requestsMax
	Bytes    int64 // at least one block
}

const (
	requestsMax        = 512 // slots of a session
	requestsDefault    = 128
	bytesDefault       = 64 << 20
	blockSizeMin       = 512
	blockSizeMax       = 64 << 10
	blockSizeDefault   = 4096
	heartbeatDefault   = 2 * time.Second
	backoffFirst       = 10 * time.Millisecond
	backoffLimit       = 5 * time.Second
	backoffReset       = 10 * time.Second
	documentBytesMax   = 1 << 20
	depthMax           = 16
	errorsMax          = 50
	nameBytesMax       = 63
	commandWordsMax    = 1024
	declarationsMax    = 4096
	suggestionDistance = 3
)

// Server returns the named server.
func (t *Topology) Server(name string) (Server, bool) {
	return find(t.Servers, name, func(s Server) string { return s.Name })
}

// Volume returns the named volume.
func (t *Topology) Volume(name string) (Volume, bool) {
	return find(t.Volumes, name, func(v Volume) string { return v.Name })
}

// Application returns the named application.
func (t *Topology) Application(name string) (Application, bool) {
	return find(t.Applications, name, func(a Application) string { return a.Name })
}

// Grant returns what the named application or server may do with a volume.
func (t *Topology) Grant(to, volume string) (Grant, bool) {
	for _, g := range t.Grants {
		if g.To == to && g.Volume == volume {
			return g, true
		}
	}
	return Grant{}, false
}

// VolumesOf returns the volumes that a server serves.
func (t *Topology) VolumesOf(server string) []Volume {
	var served []Volume
	for _, v := range t.Volumes {
		if v.Server == server {
			served = append(served, v)
		}
	}
	return served
}

func find[T any](all []T, name string, nameOf func(T) string) (T, bool) {
	for _, each := range all {
		if nameOf(each) == name {
			return each, true
		}
	}
	var none T
	return none, false
}

// resolve makes paths relative to the directory of the file absolute.
func (t *Topology) resolve(directory string) {
	absolute := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(directory, *path)
		}
	}
	for i := range t.Volumes {
		absolute(&t.Volumes[i].Path)
	}
	for i := range t.Applications {
		absolute(&t.Applications[i].Directory)
	}
}
