package supervisor

import "github.com/quintet-os/quintet/ipc/broker"

const (
	// applicationsMax bounds the applications connected at a time.
	applicationsMax = 4096
	// applicationsOfUserMax bounds those of one user other than root and the
	// supervisor's own.
	applicationsOfUserMax = applicationsMax / 4
	// applicationsReserved are left for root and the supervisor's user, so that
	// the system can always be looked at and ended.
	applicationsReserved = 16
	// descriptorsReserved are left for the supervisor itself: its servers, their
	// volumes, and messages that have arrived and not been judged yet.
	descriptorsReserved = 512
	// applicationDescriptors are kept for a connection: its socket and its pidfd.
	applicationDescriptors = 2
	// sessionDescriptors are kept for a session: both segments and the doorbell.
	sessionDescriptors = 3
	// connectedDescriptors are made for the answer to Connect and closed when it has
	// been sent: what the application gets of the server segment.
	connectedDescriptors = 1
)

// quota counts the connections of applications, and the descriptors kept for
// them, so that the table of the process never fills: a full one would hit
// whoever asks next, not who filled it. Guarded by Supervisor.mu.
type quota struct {
	share        // descriptors
	own   uint32 // the supervisor's user

	applications       int
	applicationsByUser map[uint32]int
}

// newQuota shares out a limit of open files.
func newQuota(limit uint64, own uint32) quota {
	n := int(min(limit, 1<<30))
	kept := newShare("descriptors kept by the supervisor", "end some sessions, or raise its limit of open files", max(n-descriptorsReserved, n/2))
	return quota{share: kept, own: own, applicationsByUser: make(map[uint32]int)}
}

// privileged tells whether a user may use all there is: root and the supervisor's.
func (q *quota) privileged(uid uint32) bool { return uid == 0 || uid == q.own }

// take counts n more descriptors for a user, or says why not.
func (q *quota) take(uid uint32, n int) *broker.Refused {
	return q.share.take(uid, q.privileged(uid), n)
}

// enter counts one more connection of a user, or says why not.
func (q *quota) enter(uid uint32) *broker.Refused {
	most := applicationsMax
	if !q.privileged(uid) {
		most -= applicationsReserved
		if n := q.applicationsByUser[uid]; n >= applicationsOfUserMax {
			return broker.Refuse(broker.CodeLimit, "uid %d has %d connections already; end some of its applications", uid, n)
		}
	}
	if q.applications >= most {
		return broker.Refuse(broker.CodeLimit, "there are %d applications already; end some of them", q.applications)
	}
	if refusal := q.take(uid, applicationDescriptors); refusal != nil {
		return refusal
	}
	q.applications++
	q.applicationsByUser[uid]++
	return nil
}

// leave takes back what enter has counted.
func (q *quota) leave(uid uint32) {
	q.give(uid, applicationDescriptors)
	q.applications--
	if q.applicationsByUser[uid]--; q.applicationsByUser[uid] == 0 {
		delete(q.applicationsByUser, uid)
	}
}
