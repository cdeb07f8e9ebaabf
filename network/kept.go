package network

const (
	// ConnectionsMax is how many TCP connections of one port a network server
	// remembers.
	ConnectionsMax = 2048
	// ConnectionsBytes is the size of the table of connections of all ports: an owner
	// and ConnectionsMax connections for each. What has not been used takes no memory.
	ConnectionsBytes = PortsMax*ownerBytes + PortsMax*ConnectionsMax*connectionBytes
	// KeptBytes is the size of the memory that a supervisor keeps for a network server
	// over the server's deaths: a table of counters, and behind it one of connections.
	KeptBytes = CountersBytes + ConnectionsBytes

	ownerBytes      = 64
	connectionBytes = 64
)
