// Package process runs a server's core as a process of its own: it receives
// sessions from the supervisor, waits as a warm standby, takes over when told to,
// and drives the core with package ipc's loop. What a server is about, its volumes
// or its ports, is a Service.
//
// Invariants:
//   - A standby maps everything and writes nothing that is shared. Sessions are
//     attached only after Activate, and when the service says that nobody else
//     writes to their memory any more.
//   - A session's memory is unmapped only when the service has let go of it.
//
// Everything runs on one locked thread, except a reader of the control
// connection, which only passes messages on. There are no locks.
//
// Trust: the supervisor is trusted. Clients' memory is checked by packages shm
// and ipc, what clients ask for by the core.
package process
