package broker

import (
	"encoding/json"
	"net/netip"

	"github.com/quintet-os/quintet/ipc"
)

// Body is the content of a message.
type Body interface{ kind() Kind }

// From applications to the supervisor.
type (
	// Hello is the first message of an application.
	Hello struct {
		// Name is what the application calls itself in `quintet ps`.
		Name string `json:"name"`
		// Domain proves that `quintet run` started the application (its token).
		Domain string `json:"domain,omitempty"`
	}
	// Connect asks for a session with the server of a volume or of a network: one of
	// the two. Descriptor: the client segment.
	Connect struct {
		Volume   string       `json:"volume,omitempty"`
		ReadOnly bool         `json:"read_only,omitempty"`
		Network  string       `json:"network,omitempty"`
		Geometry ipc.Geometry `json:"geometry"`
	}
	// Capturing asks for the frames of a port, in the pcap format, until nobody reads
	// the file any more. Descriptor: a seqpacket socket, each message on which is some
	// whole records. The answer is Closed.
	Capturing struct {
		Network string `json:"network"`
		Port    string `json:"port"` // name of the domain, or MAC
	}
	// Leased says, as an uplink, what the DHCP server behind it has given for a port, or
	// that there is no lease any more. There is no answer.
	Leased struct {
		MAC       string          `json:"mac"`
		Interface json.RawMessage `json:"interface,omitempty"` // network.Interface
		Failed    string          `json:"failed,omitempty"`
	}
	// AskResolvers asks, as an uplink, who resolves names for the host now.
	AskResolvers struct{}
	// Resolve asks what a network to which the application has a right says of a name.
	Resolve struct {
		Network string `json:"network"`
		Name    string `json:"name"`
	}
	// Grant makes memory usable as payload in a session. Descriptor: the memory.
	Grant struct {
		Session   uint64 `json:"session"`
		Region    int    `json:"region"`
		Bytes     int64  `json:"bytes"`
		Writable  bool   `json:"writable,omitempty"`
		Delegable bool   `json:"delegable,omitempty"`
	}
	// Close ends a session.
	Close struct {
		Session uint64 `json:"session"`
	}
	// Control asks for an operation on the system: see package supervisor.
	Control struct {
		Verb   string `json:"verb"`
		Target string `json:"target,omitempty"`
	}
)

// From the supervisor to applications. Every answer carries its question's Ref.
type (
	// Welcome answers Hello.
	Welcome struct {
		SupervisorPID int `json:"supervisor_pid"`
	}
	// Connected answers Connect. Descriptors: the server segment, read-only, and
	// the eventfd that wakes the server.
	Connected struct {
		Session uint64 `json:"session"`
		// Terms of the session, in the form of the server's kind: storage.Terms or
		// network.Interface.
		Terms json.RawMessage `json:"terms,omitempty"`
	}
	// Resolved answers Resolve: whether the name is the network's own, the addresses of
	// the domain of that name, and the names of the domain that has the address that it
	// is the name of.
	Resolved struct {
		Own       bool         `json:"own,omitempty"`
		Addresses []netip.Addr `json:"addresses,omitempty"`
		Names     []string     `json:"names,omitempty"`
	}
	// HostResolvers answers AskResolvers.
	HostResolvers struct {
		Addresses []netip.AddrPort `json:"addresses,omitempty"`
	}
	// Granted answers Grant: the server has mapped the region.
	Granted struct{}
	// Closed answers Close: the server has let go of the session's memory.
	Closed struct{}
	// Report answers Control. Descriptor: a memory file with the answer in JSON.
	Report struct {
		Bytes int64 `json:"bytes"`
	}
	// Lease has an uplink get addresses for a port from the DHCP server behind it, and
	// keep them until Release. It answers with Leased, now and when they change.
	Lease struct {
		MAC  string `json:"mac"`
		Host string `json:"host"` // name of the domain
	}
	// Release has an uplink give a port's addresses back.
	Release struct {
		MAC string `json:"mac"`
	}
	// Ended says, unasked, that a session is over.
	Ended struct {
		Session uint64 `json:"session"`
		Reason  string `json:"reason"`
	}
)

// From the supervisor to a server process, active or standby.
type (
	// Status passes the server's status segment, after all else that a new process
	// is told. Descriptor: the segment, writable.
	Status struct {
		Server string `json:"server"`
	}
	// Volume passes a fresh open description of a device. Descriptor: the device.
	Volume struct {
		Name     string `json:"name"`
		Handle   int    `json:"handle"` // what Session calls it
		ReadOnly bool   `json:"read_only,omitempty"`
		Memory   bool   `json:"memory,omitempty"` // a memory file that the supervisor keeps
		Bytes    int64  `json:"bytes"`            // its size; 0: all of the device
		// BlockSize is the unit of requests; a multiple of the device's own.
		BlockSize int `json:"block_size,omitempty"`
	}
	// Counters passes the memory in which a server counts by session, and which it has
	// for what else its successors are to know. Descriptor: the memory, writable.
	Counters struct {
		Bytes int64 `json:"bytes"`
	}
	// Capture makes the active server write the frames of a session to a file, in the
	// pcap format. Descriptor: that of Capturing. There is no answer.
	Capture struct {
		Session uint64 `json:"session"`
		// Number tells the captures of a session apart.
		Number uint64 `json:"number,omitempty"`
		// Continued: a predecessor has begun the file.
		Continued bool `json:"continued,omitempty"`
	}
	// Session attaches a client. Descriptors: client segment, server segment
	// (writable), eventfd.
	Session struct {
		ID       uint64       `json:"id"`
		Client   string       `json:"client"`
		Geometry ipc.Geometry `json:"geometry"`
		// Terms say what the client may do, in the form of the server's kind:
		// storage.Terms or network.PortConfig.
		Terms json.RawMessage `json:"terms,omitempty"`
	}
	// Region attaches payload memory to a session. Descriptor: the memory.
	Region struct {
		Session   uint64 `json:"session"`
		Region    int    `json:"region"`
		Bytes     int64  `json:"bytes"`
		Writable  bool   `json:"writable,omitempty"`
		Delegable bool   `json:"delegable,omitempty"`
	}
	// Pin makes a standby pin a piece of a region for its device, so that it need not
	// when it takes over. There is no answer.
	Pin struct {
		Session uint64 `json:"session"`
		Region  int    `json:"region"`
		Piece   int    `json:"piece,omitempty"`
	}
	// Drop detaches a session once its device I/O has ended.
	Drop struct {
		Session uint64 `json:"session"`
	}
	// Activate makes a standby take its devices and serve.
	Activate struct {
		Generation uint64 `json:"generation"`
		// Pardon: the last server was killed from outside, so no request is to
		// blame for its death.
		Pardon bool `json:"pardon,omitempty"`
	}
	// Drain asks the active server to finish what it has begun and exit. If
	// Final, there is no successor, and its sessions end.
	Drain struct {
		Final bool `json:"final,omitempty"`
	}
)

// From a server process to the supervisor.
type (
	// Ready says that the process, of a server or of an uplink, is up and inside its
	// sandbox.
	Ready struct {
		// Degraded lists the measures of the sandbox that are not in force.
		Degraded []string `json:"degraded,omitempty"`
		// Release and Layout are of the program: its version, and ipc.Layout.
		Release string `json:"release,omitempty"`
		Layout  int    `json:"layout,omitempty"`
	}
	// Active answers Activate: every session has been recovered.
	Active struct {
		Generation uint64 `json:"generation"`
		// When Activate arrived, the last fence was granted, the last session was
		// attached, and what had been in flight was answered: Unix time in
		// nanoseconds, for the log.
		ReceivedNs int64 `json:"received_ns,omitempty"`
		FencedNs   int64 `json:"fenced_ns,omitempty"`
		AttachedNs int64 `json:"attached_ns,omitempty"`
		AnsweredNs int64 `json:"answered_ns,omitempty"`
	}
	// Pinned says that the active server has pinned a piece of a region for its device.
	Pinned struct {
		Session uint64 `json:"session"`
		Region  int    `json:"region"`
		Piece   int    `json:"piece,omitempty"`
	}
	// Captured says that nobody reads the file of a Capture any more.
	Captured struct {
		Session uint64 `json:"session"`
		Number  uint64 `json:"number,omitempty"`
		Lost    uint64 `json:"lost,omitempty"` // frames for which the file had no room in time
	}
	// VolumeFailed says that the device of a volume is of no use. The process serves
	// the others, and this one once another description of it has come.
	VolumeFailed struct {
		Handle int    `json:"handle"`
		Reason string `json:"reason"`
	}
	// Done answers Status, Region and Drop.
	Done struct{}
	// SessionFailed says that a client broke the protocol; its session is over.
	SessionFailed struct {
		Session uint64 `json:"session"`
		Reason  string `json:"reason"`
	}
)

// What servers and uplinks say to people is shown by others: one that has been taken
// over by its clients must not be able to draw on their screens.
func (b *Ready) makePrintable() {
	b.Release = printable(b.Release)
	for i, each := range b.Degraded {
		b.Degraded[i] = printable(each)
	}
}

func (b *SessionFailed) makePrintable() { b.Reason = printable(b.Reason) }
func (b *VolumeFailed) makePrintable()  { b.Reason = printable(b.Reason) }
func (b *Leased) makePrintable()        { b.Failed = printable(b.Failed) }

// form of a kind: how to make an empty body, and its number of descriptors.
type form struct {
	body        func() Body
	descriptors int
}

var forms = map[Kind]form{
	"hello":     {func() Body { return new(Hello) }, 0},
	"connect":   {func() Body { return new(Connect) }, 1},
	"grant":     {func() Body { return new(Grant) }, 1},
	"close":     {func() Body { return new(Close) }, 0},
	"control":   {func() Body { return new(Control) }, 0},
	"resolve":   {func() Body { return new(Resolve) }, 0},
	"resolvers": {func() Body { return new(AskResolvers) }, 0},
	"leased":    {func() Body { return new(Leased) }, 0},
	"capturing": {func() Body { return new(Capturing) }, 1},

	"welcome":        {func() Body { return new(Welcome) }, 0},
	"connected":      {func() Body { return new(Connected) }, 2},
	"granted":        {func() Body { return new(Granted) }, 0},
	"closed":         {func() Body { return new(Closed) }, 0},
	"report":         {func() Body { return new(Report) }, 1},
	"resolved":       {func() Body { return new(Resolved) }, 0},
	"host-resolvers": {func() Body { return new(HostResolvers) }, 0},
	"ended":          {func() Body { return new(Ended) }, 0},
	"lease":          {func() Body { return new(Lease) }, 0},
	"release":        {func() Body { return new(Release) }, 0},
	"refused":        {func() Body { return new(Refused) }, 0},

	"status":        {func() Body { return new(Status) }, 1},
	"volume":        {func() Body { return new(Volume) }, 1},
	"counters":      {func() Body { return new(Counters) }, 1},
	"capture":       {func() Body { return new(Capture) }, 1},
	"session":       {func() Body { return new(Session) }, 3},
	"region":        {func() Body { return new(Region) }, 1},
	"volume-failed": {func() Body { return new(VolumeFailed) }, 0},

	"pin":      {func() Body { return new(Pin) }, 0},
	"drop":     {func() Body { return new(Drop) }, 0},
	"activate": {func() Body { return new(Activate) }, 0},
	"drain":    {func() Body { return new(Drain) }, 0},

	"ready":          {func() Body { return new(Ready) }, 0},
	"active":         {func() Body { return new(Active) }, 0},
	"pinned":         {func() Body { return new(Pinned) }, 0},
	"captured":       {func() Body { return new(Captured) }, 0},
	"done":           {func() Body { return new(Done) }, 0},
	"session-failed": {func() Body { return new(SessionFailed) }, 0},
}

func (*Hello) kind() Kind         { return "hello" }
func (*Connect) kind() Kind       { return "connect" }
func (*Grant) kind() Kind         { return "grant" }
func (*Close) kind() Kind         { return "close" }
func (*Control) kind() Kind       { return "control" }
func (*Leased) kind() Kind        { return "leased" }
func (*Lease) kind() Kind         { return "lease" }
func (*Release) kind() Kind       { return "release" }
func (*Capturing) kind() Kind     { return "capturing" }
func (*Resolve) kind() Kind       { return "resolve" }
func (*AskResolvers) kind() Kind  { return "resolvers" }
func (*HostResolvers) kind() Kind { return "host-resolvers" }
func (*Welcome) kind() Kind       { return "welcome" }
func (*Resolved) kind() Kind      { return "resolved" }
func (*Connected) kind() Kind     { return "connected" }
func (*Granted) kind() Kind       { return "granted" }
func (*Closed) kind() Kind        { return "closed" }
func (*Report) kind() Kind        { return "report" }
func (*Ended) kind() Kind         { return "ended" }
func (*Refused) kind() Kind       { return "refused" }
func (*Status) kind() Kind        { return "status" }
func (*Volume) kind() Kind        { return "volume" }
func (*Counters) kind() Kind      { return "counters" }
func (*Capture) kind() Kind       { return "capture" }
func (*Captured) kind() Kind      { return "captured" }
func (*Session) kind() Kind       { return "session" }
func (*Region) kind() Kind        { return "region" }
func (*Pin) kind() Kind           { return "pin" }
func (*Drop) kind() Kind          { return "drop" }
func (*Activate) kind() Kind      { return "activate" }
func (*Drain) kind() Kind         { return "drain" }
func (*Ready) kind() Kind         { return "ready" }
func (*Active) kind() Kind        { return "active" }
func (*Pinned) kind() Kind        { return "pinned" }
func (*VolumeFailed) kind() Kind  { return "volume-failed" }
func (*Done) kind() Kind          { return "done" }
func (*SessionFailed) kind() Kind { return "session-failed" }
